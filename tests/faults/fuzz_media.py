"""Videos, lists, tables, idx files, arrays and indexes that nobody meant: made from real ones, and put to what reads them.

Every input is read or refused in one sentence that names it, and what is read is held against another reading. Inputs depend on a seed
and a number alone. They are tried in child processes with a limit of memory and of time, many a child: a child that dies says by that
which input it was, and the next goes on behind it.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults import media_inputs, media_readings

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 3 * 2**29
"""Bytes of address space of a child: Python, NumPy and FFmpeg take 0.4 GB of it."""
LIMIT_S = 120
"""Seconds for one input; on a quiet machine the slowest takes about one."""
GOOD = ("taken", "refused")


def fuzz(
    seed: int, count: int, *, kept: Path | None = None, module: str = __name__
) -> Counter[str]:
    """Try so many inputs.

    Args:
        seed: inputs of another seed are others.
        count: how many.
        kept: folder for inputs that went wrong; None: they are forgotten.
        module: whose children try them.

    Returns:
        How many ended how, by "KIND taken", "KIND refused", and whatever is neither: that is a mistake of the program.
    """
    ended: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-media-") as name:
        folder = Path(name)
        media_inputs.make_seeds(folder / "seeds")
        place = 0
        while place < count:
            command = [sys.executable, "-m", module, name, str(seed), str(place), str(count)]
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            said, errors = child.communicate()
            before = place
            for line in said.splitlines():
                ended[f"{media_inputs.KINDS[place % len(media_inputs.KINDS)]} {line}"] += 1
                if line not in GOOD and kept is not None:
                    media_inputs.write_input(
                        folder / "seeds", kept / f"{seed}-{place}", seed, place
                    )
                place += 1
            if child.returncode:
                if place == before and not errors.startswith("begun"):
                    raise RuntimeError(f"a child did not begin: {errors}")
                what = (
                    "hangs"
                    if child.returncode == -signal.SIGALRM
                    else f"ended its process ({child.returncode})"
                )
                ended[f"{media_inputs.KINDS[place % len(media_inputs.KINDS)]} {what}"] += 1
                if kept is not None:
                    media_inputs.write_input(
                        folder / "seeds", kept / f"{seed}-{place}", seed, place
                    )
                place += 1
    return ended


def bad(ended: Counter[str]) -> dict[str, int]:
    """Those that ended as nothing may."""
    return {what: number for what, number in ended.items() if what.partition(" ")[2] not in GOOD}


def main(
    folder: Path, seed: int, first: int, last: int, tries: media_readings.Readings | None = None
) -> None:
    """Try inputs, and say of each in a line how it ended."""
    sys.stderr.write("begun\n")
    sys.stderr.flush()
    whole = (folder / "seeds/npy/mnist_test_seq.npy").read_bytes()
    tries = tries or media_readings.readings(whole)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends a process whatever library it is in
    for number in range(first, last):
        path = media_inputs.write_input(folder / "seeds", folder / "tried", seed, number)
        signal.alarm(LIMIT_S)
        try:
            ended = tries[media_inputs.KINDS[number % len(media_inputs.KINDS)]](path)
        except Exception as error:  # noqa: BLE001  whatever comes here is what is looked for
            ended = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        signal.alarm(0)
        sys.stdout.write(f"{ended}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
