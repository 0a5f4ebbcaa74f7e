"""Run a function on the frames of many videos in batches of one size that do not end where a video ends.

Shapes: T frames of a video or a piece, B rows of a batch, D numbers of a result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(slots=True)
class _Video:
    """One whose frames came, at least in part."""

    parts: list[np.ndarray] = field(default_factory=list)
    due: int = 0
    """Frames whose results have not come yet."""
    ended: bool = False


def across(
    videos: Iterable[Iterable[np.ndarray]],
    rows: int,
    run: Callable[[np.ndarray], torch.Tensor],
) -> Iterator[np.ndarray]:
    """Give each video's results, in order.

    A GPU computes one batch while the next is put together: results are fetched one batch late.

    Args:
        videos: of each its frames, in pieces of any length with the same shape after the first axis.
        rows: B; the last batch may be smaller.
        run: from frames (B, ...) to results (B, D) on any device, perhaps still being computed.

    Yields:
        Results (T, D) as numpy, of a video without frames (0,).
    """
    batches = _Batches(rows, run)
    open_: deque[_Video] = deque()
    for pieces in videos:
        video = _Video()
        open_.append(video)
        for piece in pieces:
            batches.add(video, piece)
        video.ended = True
        yield from _complete(open_)
    batches.finish()
    yield from _complete(open_)


def _complete(open_: deque[_Video]) -> Iterator[np.ndarray]:
    import numpy as np

    while open_ and open_[0].ended and not open_[0].due:
        parts = open_.popleft().parts
        yield np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


class _Batches:
    """Rows that wait for a full batch, and the batch that is being computed."""

    def __init__(self, rows: int, run: Callable[[np.ndarray], torch.Tensor]) -> None:
        self.rows, self.run = rows, run
        self.waiting: deque[tuple[_Video, np.ndarray]] = deque()
        self.num_waiting = 0
        self.launched: tuple[torch.Tensor, list[tuple[_Video, int]]] | None = None

    def add(self, video: _Video, piece: np.ndarray) -> None:
        video.due += len(piece)
        self.waiting.append((video, piece))
        self.num_waiting += len(piece)
        while self.num_waiting >= self.rows:
            self._launch(self.rows)

    def finish(self) -> None:
        if self.num_waiting:
            self._launch(self.num_waiting)
        self._fetch()

    def _launch(self, rows: int) -> None:
        import numpy as np

        taken: list[np.ndarray] = []
        whose: list[tuple[_Video, int]] = []
        wanted = rows
        while wanted:
            video, piece = self.waiting.popleft()
            if len(piece) > wanted:
                self.waiting.appendleft((video, piece[wanted:]))
                piece = piece[:wanted]
            taken.append(piece)
            whose.append((video, len(piece)))
            wanted -= len(piece)
        self.num_waiting -= rows
        results_BD = self.run(np.concatenate(taken) if len(taken) > 1 else taken[0])
        self._fetch()
        self.launched = results_BD, whose

    def _fetch(self) -> None:
        if self.launched is None:
            return
        results_BD, whose = self.launched
        self.launched = None
        fetched_BD, start = results_BD.cpu().numpy(), 0
        for video, count in whose:
            video.parts.append(fetched_BD[start : start + count])
            video.due -= count
            start += count
