"""Many altered files, each read in a child process with limits, and what came of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.faults.fuzzed import SUBJECTS
from tests.faults.points import ROOT

AT_ONCE = 1000
"""Inputs of a child."""
CHILD_S = 1200
"""After which a child that neither ends nor computes is ended."""
Input: TypeAlias = tuple[str, int]
"""Its subject's name and its number."""
FINE = ("refused", "same", "other", "contained")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of inputs."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By subject and outcome: refused by name; same (what was altered does not matter); other (a legitimate file of other
    numbers, with another digest); contained (libhdf5 crashed, hung or asked for too much in its own process, and one sentence
    says so)."""
    faults: list[str] = field(default_factory=list)
    """Inputs that came to anything else, with what makes them again."""

    def of(self, outcome: str, subject: str | None = None) -> int:
        """How many came to it."""
        return sum(
            count
            for (name, found), count in self.counts.items()
            if found == outcome and subject in (None, name)
        )

    def __str__(self) -> str:
        lines = []
        for name in SUBJECTS:
            told = ", ".join(
                f"{self.of(each, name)} {each}" for each in FINE if self.of(each, name)
            )
            if told:
                lines.append(f"{name}: {told}")
        return "\n".join([*lines, *self.faults])


def fuzz(seed: int, count: int, subjects: Sequence[str] = tuple(SUBJECTS)) -> Found:
    """Alter and read files.

    Args:
        seed: the same inputs come of the same one.
        count: of inputs, evenly over the subjects.
        subjects: names in `fuzzed.SUBJECTS`.
    """
    found = Found()
    inputs = [(name, number) for name in subjects for number in range(-(-count // len(subjects)))]
    for (name, number), outcome in _outcomes(seed, inputs):
        if outcome in FINE:
            found.counts[name, outcome] += 1
        else:
            found.faults.append(f"{name}, seed {seed}, number {number}: {outcome}")
    return found


def _outcomes(seed: int, inputs: Sequence[Input]) -> Iterator[tuple[Input, str]]:
    while inputs:
        told = told_by_a_child(seed, inputs[:AT_ONCE])
        for each, outcome in zip(inputs, told, strict=False):
            if outcome.startswith("ended by") and "HDF5" in each[0]:
                # In the program libhdf5 has a process of its own.
                (whole,) = told_by_a_child(seed, [each], whole=True)
                yield each, "contained" if whole == "refused" else f"{outcome}, and then {whole}"
            else:
                yield each, outcome
        inputs = inputs[len(told) :]


def told_by_a_child(seed: int, inputs: Sequence[Input], *, whole: bool = False) -> list[str]:
    """What came of inputs, up to the one, if any, that ended the child."""
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=_fast())
    asked = {"seed": seed, "folder": folder, "inputs": inputs, "whole": whole}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.fuzzed"],
            input=json.dumps(asked),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=CHILD_S,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = done.stdout.splitlines()
    told = [str(json.loads(line)) for line in lines[1::2]]
    if len(lines) > 2 * len(told):
        how = signal.Signals(-done.returncode).name if done.returncode < 0 else done.returncode
        told.append(f"ended by {how} {done.stderr[-300:]!r}")
    elif len(told) < len(inputs):
        raise AssertionError(f"exit {done.returncode}\n{done.stderr[-3000:]}")
    return told


def _fast() -> str | None:
    """A folder in memory, if there is one: each input is written and flushed."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    result = fuzz(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or tuple(SUBJECTS))
    sys.stdout.write(f"{result}\n")
    sys.exit(bool(result.faults))
