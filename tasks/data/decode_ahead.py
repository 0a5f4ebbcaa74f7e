"""Frames of many videos in pieces, decoded by processes of their own while whoever asks computes.

Beside a GPU one process decodes too slowly, and one that also decodes launches kernels late. A process decodes every
n-th video and waits when its pieces are not taken, so memory does not grow with the length of a video, and a decoder
that crashes ends with a sentence that names the video.

Shapes: T frames of a piece, Y and X pixels.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tasks.data import decode

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    import numpy as np

PIECE = 32
"""Frames of a piece, but for the last one of a video."""
AHEAD = 16
"""Pieces that wait in each process: of 240 x 320 pixels 118 MB, twenty seconds of a video."""
LOOK_S = 1.0
"""Seconds between two looks at whether a silent process is alive."""

Piece: TypeAlias = "np.ndarray | Exception | None"
"""What a process sends: frames; why there are none; or None at the end of a video."""


def decoded(
    paths: Sequence[Path], size: tuple[int, int], *, processes: int = 0
) -> Iterator[Iterable[np.ndarray]]:
    """Decode videos, in order.

    Args:
        paths: the files.
        size: rows and columns that frames are resized to.
        processes: that decode ahead; 0: no other process, when frames are asked for.

    Yields:
        Of each video its pieces, uint8 RGB (T, Y, X, 3); to be taken before the next video is asked for.

    Raises:
        ValueError: while a video is read: it cannot be decoded, or its process was ended.
    """
    if not processes:
        for path in paths:
            yield _pieces(path, size)
        return
    # Not forked: a process with a GPU and threads cannot be copied safely.
    context = multiprocessing.get_context("spawn")
    processes = min(processes, len(paths))
    lanes = [context.Queue(maxsize=AHEAD) for _ in range(processes)]
    workers = [
        context.Process(
            target=_decode_all,
            args=(paths[number::processes], size, lane),
            name=f"decoder {number}",
            daemon=True,
        )
        for number, lane in enumerate(lanes)
    ]
    try:
        for worker in workers:
            worker.start()
        for number, path in enumerate(paths):
            yield _taken(path, lanes[number % processes], workers[number % processes])
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.kill()
                worker.join()


def _pieces(path: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    import numpy as np

    piece: list[np.ndarray] = []
    for frame_YX3 in decode.read_frames(path, size=size):
        piece.append(frame_YX3)
        if len(piece) == PIECE:
            yield np.stack(piece)
            piece = []
    if piece:
        yield np.stack(piece)


def _taken(
    path: Path, lane: multiprocessing.Queue[Piece], worker: SpawnProcess
) -> Iterator[np.ndarray]:
    while True:
        try:
            piece = lane.get(timeout=LOOK_S)
        except queue.Empty:
            if worker.is_alive():
                continue
            raise ValueError(
                f"the process that decoded {path} ended with exit code {worker.exitcode}: leave that file out, or mend it"
            ) from None
        if piece is None:
            return
        if isinstance(piece, Exception):
            raise piece
        yield piece


def _decode_all(
    paths: Sequence[Path], size: tuple[int, int], lane: multiprocessing.Queue[Piece]
) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for path in paths:
        try:
            for piece_TYX3 in _pieces(path, size):
                lane.put(piece_TYX3)
        except (ValueError, OSError) as error:
            lane.put(error)
            return
        lane.put(None)


def _end_with_parent() -> None:
    """End when the parent does, however that happens: nobody takes what is decoded then."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
