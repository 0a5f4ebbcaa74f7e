"""Batches drawn while the step before is computed, so that a GPU never waits for one; on a CPU, drawn when they are asked for.

A batch is a function of (seed, step), so who draws it and when alters nothing. One thread draws, in the order of the
steps, and stays at most `AHEAD` batches ahead. With a GPU it copies through pinned memory on a stream of its own: computing
waits, on the device, for the copy of its own batch and for nothing else. On a CPU the thread would take its time from the
very cores that compute, so there is none.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

AHEAD = 2
"""Batches that are drawn or being drawn beside the one that is trained on: one would be late after any hiccup."""


@contextmanager
def batches(
    draw: Callable[[int], Any],
    steps: range,
    device: torch.device,
    *,
    in_background: bool | None = None,
) -> Iterator[Iterator[Any]]:
    """The batches of some steps, in order, on a device.

    Leaving ends the thread: what it is drawing is waited for, what it has not begun is never drawn.

    Args:
        draw: the batch of a step, a NamedTuple of tensors and other things; it draws from no generator that others use.
        steps: in order.
        device: where the batches are wanted.
        in_background: whether to draw ahead; as fits the device, if None.

    Yields:
        An iterator over the batches. An error of `draw` is raised where its own batch is asked for, as if drawn there.
    """
    if not (device.type == "cuda" if in_background is None else in_background):
        yield (to_device(draw(step), device) for step in steps)
        return
    lane = _CudaLane(device) if device.type == "cuda" else _Lane(device)
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        yield _in_order(pool, lane, draw, steps)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        lane.close()


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch (a NamedTuple of tensors and other things) with its tensors on a device."""
    return _each_tensor(batch, lambda tensor: tensor.to(device, non_blocking=True))


class _Lane:
    """How batches get from the thread that draws to the one that computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def bring(self, draw: Callable[[int], Any], step: int) -> tuple[Any, torch.cuda.Event | None]:
        """In the thread that draws: a batch on the device, and what has to have happened before it is used."""
        return to_device(draw(step), self._device), None

    def take(self, batch: Any, arrived: torch.cuda.Event | None) -> Any:
        """In the thread that computes: the batch, ready for what is computed next."""
        del arrived
        return batch

    def close(self) -> None:
        """Let what was left on the device by drawing be used by all."""


class _CudaLane(_Lane):
    """Copies on a stream beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Whatever is on the device already, such as glyphs to draw from, may still be on its way there.
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def bring(self, draw: Callable[[int], Any], step: int) -> tuple[Any, torch.cuda.Event | None]:
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            pinned = _each_tensor(draw(step), _pinned)
            return to_device(pinned, self._device), self._stream.record_event()

    def take(self, batch: Any, arrived: torch.cuda.Event | None) -> Any:
        assert arrived is not None
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(arrived)

        def kept_until_used(tensor: torch.Tensor) -> torch.Tensor:
            # Its memory belongs to the other stream, which would take it for the next batch as soon as Python lets it go.
            tensor.record_stream(computing)
            return tensor

        return _each_tensor(batch, kept_until_used)

    def close(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)


def _in_order(
    pool: ThreadPoolExecutor, lane: _Lane, draw: Callable[[int], Any], steps: range
) -> Iterator[Any]:
    left = iter(steps)
    coming: deque[Future[tuple[Any, torch.cuda.Event | None]]] = deque()

    def send(count: int) -> None:
        coming.extend(pool.submit(lane.bring, draw, step) for step in islice(left, count))

    send(AHEAD)
    while coming:
        batch, arrived = coming.popleft().result()
        send(1)
        yield lane.take(batch, arrived)


def _each_tensor(batch: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    changed = [change(each) if isinstance(each, torch.Tensor) else each for each in batch]
    return type(batch)(*changed)


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.device.type != "cpu" or tensor.is_pinned() else tensor.pin_memory()
