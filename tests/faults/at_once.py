"""Many processes accept results at the same moment, and one reads all the while.

Run as a module it takes a work folder, how many cells, how many attempts at each, and the error that making a hard link raises,
if any. It prints JSON: by cell the attempts that were told they are the accepted one, and with what the reader ended: 0 when
nothing it read was damaged.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from harness import result
from harness.workdir import Workdir

ACCEPTED, NOT_ACCEPTED, FAILED = 0, 3, 99


def key_of(number: int) -> str:
    """Of a made-up cell."""
    return f"{number:016x}" * 4


def refuse_links(name: str) -> None:
    """Have hard links refused in this process and its children."""
    code = getattr(errno, name)

    def link(source: object, target: object) -> None:
        raise OSError(code, os.strerror(code), str(source), None, str(target))

    os.link = link


def started(work: Callable[[], int], gate: tuple[int, int]) -> int:
    """A process that works once nobody holds the gate's other end any more, and exits with what comes of it."""
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        os.close(gate[1])
        os.read(gate[0], 1)
        code = work()
    finally:
        os._exit(code)


def read_until_terminated(workdir: Workdir, cells: int) -> int:
    """Read every cell's result again and again."""
    ended: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    while not ended:
        for cell in range(cells):
            try:
                result.read_key(workdir, key_of(cell))
            except result.DamagedResult as error:
                sys.stderr.write(f"{error}\n")
                return 1
    return 0


def code_of(pid: int) -> int:
    """With which a process ends."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: str, cells: int, attempts: int, refusal: str = "") -> None:
    """Do it."""
    if refusal:
        refuse_links(refusal)
    workdir = Workdir(Path(folder))
    told: dict[str, list[str]] = {key_of(cell): [] for cell in range(cells)}
    sealed = []
    for key in told:
        for attempt in range(attempts):
            place = workdir.accepted(key).parent / f"attempt-{attempt:03d}"
            place.mkdir(parents=True)
            # So large that to write it takes more than one moment.
            body = {"cell": key, "scores": [], "note": f"{attempt:03d}" * 20_000}
            result.seal(place, body, {"weights.bin": b"12345"})
            sealed.append((key, place))
    gate = os.pipe()
    reader = started(lambda: read_until_terminated(workdir, cells), gate)
    processes = [
        started(lambda place=place: ACCEPTED if result.accept(place) else NOT_ACCEPTED, gate)
        for _, place in sealed
    ]
    os.close(gate[0])
    os.close(gate[1])
    for pid, (key, place) in zip(processes, sealed, strict=True):
        code = code_of(pid)
        if code == ACCEPTED:
            told[key].append(place.name)
        elif code != NOT_ACCEPTED:
            sys.exit(f"{place} ended with {code}")
    os.kill(reader, signal.SIGTERM)
    sys.stdout.write(json.dumps({"accepted": told, "reader": code_of(reader)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
