"""Looks at every file of a folder of videos: in parallel, and at none twice.

What was found is remembered beside the index by (path, size, time of change), so that a survey that was interrupted
goes on where it was, and a later one decodes only what changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from tasks.data import decode
from tasks.data.decode import Examined
from tasks.data.sheet import VIDEO_ENDINGS
from tasks.data.writing import write_whole

SAVE_EVERY_S = 15.0
"""Seconds between two batches of remembered files."""
STUCK_S = 300.0
"""Seconds without a further packet of a video after which its decoder is taken to hang, and its process is ended. It is tried once more
alone: a machine may have been asleep."""
MOST_MEMORY = 2**33
"""Bytes of address space of a process that decodes: what a file claims beyond that is refused as no memory, and the machine goes on."""

CRASHES = "the decoder crashes on it"
HANGS = "the decoder hangs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """One file: what it is, and what decoding it found."""

    bytes: int
    mtime_ns: int
    sha256: str
    examined: Examined

    @classmethod
    def in_vain(cls, path: Path, problem: str) -> Surveyed:
        """A file of which nothing is known but that it cannot be decoded, and why.

        Raises:
            OSError: when it cannot be read.
        """
        state = path.stat()
        return cls(
            bytes=state.st_size,
            mtime_ns=state.st_mtime_ns,
            sha256=_sha256(path),
            examined=Examined(
                num_frames=0, claimed=0, fps=0.0, height=0, width=0, duration=0.0, problem=problem
            ),
        )


class Look(Protocol):
    """What a process does with a file: `look_at`."""

    def __call__(self, path: Path, *, progress: Callable[[], object]) -> Surveyed: ...  # noqa: D102


def find_videos(videos_dir: Path) -> tuple[str, ...]:
    """Paths of all videos below a folder, relative to it, with / between folders, sorted.

    A video is told by its ending. Hidden files and folders are left out (macOS puts a `._x.avi` beside `x.avi` on other
    systems' disks); links to folders are followed, once each.

    Raises:
        OSError: when the folder or one below it cannot be listed.
        ValueError: for a file whose name is not UTF-8.
    """
    found: list[str] = []
    seen: set[Path] = set()

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(videos_dir, followlinks=True, onerror=fail):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and not _been(Path(folder, name), seen)
        ]
        for name in files:
            if name.startswith(".") or not name.lower().endswith(VIDEO_ENDINGS):
                continue
            path = Path(folder, name).relative_to(videos_dir).as_posix()
            try:
                path.encode()
            except UnicodeEncodeError:
                shown = os.fsencode(path).decode(errors="backslashreplace")
                raise ValueError(
                    f"the name {shown} in {videos_dir} is not UTF-8: rename the file"
                ) from None
            found.append(path)
    return tuple(sorted(found))


def _been(folder: Path, seen: set[Path]) -> bool:
    real = folder.resolve()
    been = real in seen
    seen.add(real)
    return been


def survey(
    videos_dir: Path, files: Sequence[str], *, memory: Path, jobs: int
) -> Generator[tuple[str, Surveyed], None, None]:
    """Decode files in parallel processes, and yield each as it is done: those remembered first, then in any order.

    Args:
        videos_dir: the folder of videos.
        files: paths relative to it.
        memory: the file that remembers; written in batches, and when the survey ends or is interrupted.
        jobs: processes at the same time.

    Raises:
        OSError: when a file cannot be read, or the memory cannot be written.
    """
    root = videos_dir.resolve()
    known = _recall(memory)
    todo = []
    for file in files:
        state = (root / file).stat()
        before = known.get(str(root / file))
        if before and (before.bytes, before.mtime_ns) == (state.st_size, state.st_mtime_ns):
            yield file, before
        else:
            todo.append(file)
    if not todo:
        return
    saved_at, unsaved = time.monotonic(), False
    try:
        for file, seen in _in_parallel(root, todo, jobs):
            known[str(root / file)] = seen
            unsaved = True
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                _remember(memory, known)
                saved_at, unsaved = time.monotonic(), False
            yield file, seen
    finally:
        if unsaved:
            _remember(memory, known)


def look_at(path: Path, *, progress: Callable[[], object] = bool) -> Surveyed:
    """Hash and decode one file.

    Args:
        path: the file.
        progress: called while decoding comes further (`decode.examine`).

    Raises:
        OSError: when it cannot be read.
    """
    state = path.stat()
    return Surveyed(
        bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        sha256=_sha256(path),
        examined=decode.examine(path, progress=progress),
    )


def _look_in_time(look: Look, path: Path, seconds: float) -> Surveyed:
    """Look at a file in a process of its own, which SIGALRM ends when decoding comes no further for so long.

    No handler of Python's would run while a library is in a loop of its own, so the signal's default has to do.
    """
    try:
        return look(path, progress=partial(signal.setitimer, signal.ITIMER_REAL, seconds))
    except MemoryError:
        return Surveyed.in_vain(
            path, f"decoding it takes more than {MOST_MEMORY:,} bytes of memory"
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _sha256(path: Path) -> str:
    if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
        return ""  # a pipe or a device may have no end
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _in_parallel(
    root: Path, files: Sequence[str], jobs: int
) -> Generator[tuple[str, Surveyed], None, None]:
    suspects: list[str] = []
    waiting = deque(files)
    while waiting:
        running: dict[Future[Surveyed], str] = {}
        pool = _pool(jobs)
        try:
            while True:
                while waiting and len(running) < 2 * jobs:
                    task = pool.submit(_look_in_time, look_at, root / waiting[0], STUCK_S)
                    running[task] = waiting[0]
                    waiting.popleft()  # only now: a broken pool takes nothing
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    seen = future.result()
                    yield running.pop(future), seen
        except BrokenProcessPool:
            # A file that kills its process takes the pool along: whatever was on its way is tried again alone.
            suspects += running.values()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    for file in suspects:
        yield file, _alone(root / file)


def _alone(path: Path) -> Surveyed:
    """Look at a file in a process for it alone, and say what became of that."""
    context = get_context("spawn")
    answers, sink = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(look_at, path, STUCK_S, sink), daemon=True)
    process.start()
    sink.close()  # its only other end is the process's: where that ends, so does waiting
    try:
        answer: Surveyed | OSError = answers.recv()
    except EOFError:
        process.join()
        stuck = process.exitcode == -signal.SIGALRM
        problem = f"{HANGS}: nothing came for {STUCK_S:g} s" if stuck else CRASHES
        return Surveyed.in_vain(path, problem)
    finally:
        process.kill()
        process.join()
        answers.close()
    if isinstance(answer, OSError):
        raise answer
    return answer


def _answer(look: Look, path: Path, seconds: float, sink: Connection) -> None:
    _begin(MOST_MEMORY)
    try:
        sink.send(_look_in_time(look, path, seconds))
    except OSError as error:
        sink.send(error)


def _pool(jobs: int) -> ProcessPoolExecutor:
    # Fresh processes: a fork of one that draws a progress bar in a thread may hang.
    return ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(MOST_MEMORY,)
    )


def _begin(most_memory: int) -> None:
    """An interrupt is the parent's to handle, no process outlives it, and none takes all memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    least = most_memory if hard == resource.RLIM_INFINITY else min(most_memory, hard)
    with suppress(ValueError, OSError):  # a system without such limits
        resource.setrlimit(resource.RLIMIT_AS, (least, hard))
    parent = parent_process()
    if parent is not None:

        def leave() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=leave, daemon=True).start()


def _recall(memory: Path) -> dict[str, Surveyed]:
    """What is remembered; nothing if the file is damaged or of another decoder, as it only saves time."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(memory.read_bytes())
        if content["decoder"] == _decoder():
            return {
                path: Surveyed(**{**fields, "examined": Examined(**fields["examined"])})
                for path, fields in content["files"].items()
            }
    return {}


def _remember(memory: Path, known: Mapping[str, Surveyed]) -> None:
    files: dict[str, Any] = {
        path: asdict(seen)
        for path, seen in known.items()
        # A disk that did not answer looks the same, and will answer another day.
        if not seen.examined.problem.startswith(HANGS)
    }
    content = json.dumps({"decoder": _decoder(), "files": files}, sort_keys=True)
    write_whole(memory, content.encode())


def _decoder() -> str:
    """Whose answers they are: another FFmpeg may decode a damaged file otherwise."""
    import importlib.metadata

    return f"{decode.VERSION}, av {importlib.metadata.version('av')}"
