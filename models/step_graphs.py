"""Loops of many small kernels, sent to a GPU as one CUDA graph from the second time that they are asked for.

At small batches a step of an LSTM takes a GPU less time than it takes the host to launch. A graph records the addresses
that its kernels read and write. Here these are the caller's own: a graph is kept for a set of addresses and replayed only
when the same addresses come again, as they do from training step to training step, since torch's allocator repeats
itself. So nothing is copied in or out, and no graph ever writes where its caller did not ask it to; addresses that do not
come again cost nothing, for what is seen once is never recorded. Scratch space alone belongs to the graph: who uses it
after a replay copies what is to stay, on the same stream.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function launches, without running it; gives what runs it."""

Scratch = tuple[Tensor, ...]


def on_cuda(launches: Callable[[], None]) -> Callable[[], None]:
    """Record the launches as a CUDA graph, on a stream beside the current one.

    Raises:
        RuntimeError: CUDA cannot record them.
    """
    graph = torch.cuda.CUDAGraph()
    current = torch.cuda.current_stream()
    beside = _beside(current.device_index, current.cuda_stream)
    beside.wait_stream(current)
    with torch.cuda.stream(beside):
        # Not "global": another thread, such as NCCL's watchdog, may ask CUDA whatever it likes in the meantime.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            launches()
        finally:
            graph.capture_end()
    current.wait_stream(beside)
    return graph.replay


@cache
def _beside(device: int, stream: int) -> torch.cuda.Stream:
    """Give the one stream to record on for what runs on another.

    cuBLAS has 32 MiB of work space a stream, which graphs recorded on the same stream share: so they may, since they also
    run on the same one, in turn.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def addresses(tensors: Sequence[Tensor]) -> Hashable:
    """All that a kernel is told of tensors: where they are and how they lie."""
    return tuple((each.data_ptr(), each.dtype, each.shape, each.stride()) for each in tensors)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A graph, and the memory that is its own."""

    replay: Callable[[], None]
    scratch: Scratch


class StepGraphs:
    """The graphs of one process, by what they were recorded from."""

    def __init__(self, record: Record = on_cuda, *, at_most: int = 48, remembered: int = 512):
        """Make an empty set.

        Args:
            record: Records a loop.
            at_most: Graphs to keep. Once there are so many, everything else is launched as ever: a loop whose addresses
                change at every call would otherwise be recorded at every call.
            remembered: Loops seen once to remember, the latest.
        """
        self._record = record
        self._at_most = at_most
        self._remembered = remembered
        self._kept: dict[Hashable, Kept] = {}
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._refused = False
        self._lock = threading.Lock()  # a backward pass has a thread of its own

    def __len__(self) -> int:
        """Give the number of graphs kept."""
        return len(self._kept)

    def clear(self) -> None:
        """Forget all graphs, when the device has done with them."""
        with self._lock:
            if self._kept and torch.cuda.is_available():
                torch.cuda.synchronize()
            self._kept.clear()
            self._seen.clear()

    def run(
        self,
        key: Hashable,
        make_scratch: Callable[[], Scratch],
        launches: Callable[[Scratch], None],
    ) -> Scratch:
        """Do what `launches` does, and give the scratch space that it used.

        Args:
            key: Everything that the launches depend on, addresses and stream included.
            make_scratch: Makes the scratch space.
            launches: Launches kernels. It may not allocate, wait for the device or depend on a value of it.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is None and key in self._seen and self._may_record():
                kept = self._keep(key, make_scratch(), launches)
            if kept is not None:
                kept.replay()
                return kept.scratch
            self._seen[key] = None
            if len(self._seen) > self._remembered:
                self._seen.popitem(last=False)
        scratch = make_scratch()
        launches(scratch)
        return scratch

    def _may_record(self) -> bool:
        return not self._refused and len(self._kept) < self._at_most

    def _keep(
        self, key: Hashable, scratch: Scratch, launches: Callable[[Scratch], None]
    ) -> Kept | None:
        try:
            replay = self._record(lambda: launches(scratch))
        except RuntimeError as error:
            # Graphs are a matter of speed alone, and the loop has run without one before.
            self._refused = True
            warnings.warn(f"no CUDA graphs from now on, launching one by one: {error}", stacklevel=3)  # fmt: skip
            return None
        kept = self._kept[key] = Kept(replay=replay, scratch=scratch)
        del self._seen[key]
        return kept
