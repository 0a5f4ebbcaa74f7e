"""Join and leave a process group from torchrun's environment: one rank and many are one code path."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

TIMEOUT = timedelta(minutes=5)
"""How long a rank waits for the others in one collective before it gives up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This process's place among the processes that carry out a job together."""

    rank: int
    num_ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that writes."""
        return self.rank == 0

    def share(self, value: Any) -> Any:
        """Give every rank what rank 0 has."""
        if self.num_ranks == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Give every rank what all ranks have, in rank order."""
        if self.num_ranks == 1:
            return [value]
        boxes: list[Any] = [None] * self.num_ranks
        distributed.all_gather_object(boxes, value)
        return boxes

    def gather_numbers(self, value: float) -> list[float]:
        """As `gather`, of one number: a single small message from host to host."""
        if self.num_ranks == 1:
            return [value]
        numbers = torch.zeros(self.num_ranks, dtype=torch.float64)
        numbers[self.rank] = value
        distributed.all_reduce(numbers)  # the others add 0, which is exact
        return [float(each) for each in numbers.tolist()]

    def begin_any(self, flags: Callable[[], Sequence[bool]]) -> Callable[[], list[bool]]:
        """Begin to ask all ranks which of some flags any of them raises; the message goes from host to host in the background.

        Every rank begins and ends as often as the others, and in the same order among its other collectives. One rank alone
        has nobody to ask, and looks at its flags when the answer is wanted.

        Returns:
            Waits for all ranks and gives the answer. It does not wait for a GPU.
        """
        if self.num_ranks == 1:
            return lambda: list(flags())
        raised = torch.tensor(flags(), dtype=torch.uint8)
        work = distributed.all_reduce(raised, distributed.ReduceOp.MAX, async_op=True)

        def end() -> list[bool]:
            work.wait()
            return [bool(each) for each in raised.tolist()]

        return end


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the process group that the environment describes: NCCL with GPUs, gloo without.

    Raises:
        RuntimeError: when torchrun's variables are not set.
    """
    missing = [
        name
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if name not in os.environ
    ]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)} not set: start this process with torchrun, or through a launcher"
        )
    rank, num_ranks, local = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    )
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        rank=rank,
        world_size=num_ranks,
        timeout=TIMEOUT,
    )
    try:
        yield Ranks(rank=rank, num_ranks=num_ranks, device=device)
    finally:
        distributed.destroy_process_group()
