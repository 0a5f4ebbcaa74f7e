"""Looks at every file of a folder of videos: in parallel, and at none twice.

What was found is remembered beside the index by (path, size, time of change), so that a survey that was interrupted
goes on where it was, and a later one decodes only what changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tasks.data import decode
from tasks.data.decode import Examined
from tasks.data.sheet import VIDEO_ENDINGS
from tasks.data.writing import write_whole

SAVE_EVERY_S = 15.0
"""Seconds between two batches of remembered files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """One file: what it is, and what decoding it found."""

    bytes: int
    mtime_ns: int
    sha256: str
    examined: Examined


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


def look_at(path: Path) -> Surveyed:
    """Hash and decode one file.

    Raises:
        OSError: when it cannot be read.
    """
    state = path.stat()
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return Surveyed(
        bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        sha256=digest,
        examined=decode.examine(path),
    )


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
                    running[pool.submit(look_at, root / waiting[0])] = waiting[0]
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
        with _pool(1) as alone:
            try:
                seen = alone.submit(look_at, root / file).result()
            except BrokenProcessPool:
                seen = _crashed(root / file)
        yield file, seen


def _crashed(path: Path) -> Surveyed:
    state = path.stat()
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    examined = Examined(
        num_frames=0,
        claimed=0,
        fps=0.0,
        height=0,
        width=0,
        duration=0.0,
        problem="the decoder crashes on it",
    )
    return Surveyed(
        bytes=state.st_size, mtime_ns=state.st_mtime_ns, sha256=digest, examined=examined
    )


def _pool(jobs: int) -> ProcessPoolExecutor:
    # Fresh processes: a fork of one that draws a progress bar in a thread may hang.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """An interrupt is the parent's to handle, and no process outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
    files: dict[str, Any] = {path: asdict(seen) for path, seen in known.items()}
    content = json.dumps({"decoder": _decoder(), "files": files}, sort_keys=True)
    write_whole(memory, content.encode())


def _decoder() -> str:
    """Whose answers they are: another FFmpeg may decode a damaged file otherwise."""
    import importlib.metadata

    return f"{decode.VERSION}, av {importlib.metadata.version('av')}"
