"""Frames of many videos in pieces, decoded by processes of their own while whoever asks computes.

Beside a GPU one process decodes too slowly, and one that also decodes launches kernels late. A process decodes every
n-th video and waits when its pieces are not taken, so memory does not grow with the length of a video, and a decoder
that crashes or hangs ends with a sentence that names the video.

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
from multiprocessing.connection import Connection
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
STUCK_S = 600
"""Seconds that are waited for a piece. They are counted one by one while this process runs: where all were stopped, none has passed."""
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
        ValueError: while a video is read: it cannot be decoded, its process was ended, or gave nothing for STUCK_S seconds.
    """
    if not processes:
        for path in paths:
            yield _pieces(path, size)
        return
    # Not forked: a process with a GPU and threads cannot be copied safely.
    context = multiprocessing.get_context("spawn")
    processes = min(processes, len(paths))
    lanes: list[Connection] = []
    workers: list[SpawnProcess] = []
    try:
        for number in range(processes):
            lane, sink = context.Pipe(duplex=False)
            worker = context.Process(
                target=_decode_all,
                args=(paths[number::processes], size, sink),
                name=f"decoder {number}",
                daemon=True,
            )
            lanes.append(lane)
            worker.start()
            workers.append(worker)
            # With the only end for writing in the worker, its death is the end of the pipe, and nobody waits for more.
            sink.close()
        for number, path in enumerate(paths):
            yield _taken(path, lanes[number % processes], workers[number % processes])
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
        for lane in lanes:
            lane.close()


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


def _taken(path: Path, lane: Connection, worker: SpawnProcess) -> Iterator[np.ndarray]:
    while True:
        # A process that died has something to read, too: the end.
        if not any(lane.poll(1) for _ in range(STUCK_S)):
            worker.kill()
            raise ValueError(
                f"the process that decoded {path} gave no frame for {STUCK_S} s and was ended: leave that file out, or mend it"
            )
        try:
            piece: Piece = lane.recv()
        except (EOFError, OSError):  # between two pieces, or in the middle of one
            worker.join()
            raise ValueError(
                f"the process that decoded {path} ended with exit code {worker.exitcode}: leave that file out, or mend it"
            ) from None
        if piece is None:
            return
        if isinstance(piece, Exception):
            raise piece
        yield piece


def _decode_all(paths: Sequence[Path], size: tuple[int, int], sink: Connection) -> None:
    """What a process does: decode, while a thread sends what is ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    ready: queue.Queue[tuple[Piece] | None] = queue.Queue(maxsize=AHEAD)
    sender = threading.Thread(target=_send, args=(ready, sink), daemon=True)
    sender.start()
    for path in paths:
        try:
            for piece_TYX3 in _pieces(path, size):
                ready.put((piece_TYX3,))
        except (ValueError, OSError) as error:
            ready.put((error,))
            break
        ready.put((None,))
    ready.put(None)
    sender.join()


def _send(ready: queue.Queue[tuple[Piece] | None], sink: Connection) -> None:
    while (item := ready.get()) is not None:
        sink.send(item[0])


def _end_with_parent() -> None:
    """End when the parent does, however that happens: nobody takes what is decoded then."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
