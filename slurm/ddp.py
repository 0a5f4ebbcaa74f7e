"""Join and leave a process group from torchrun's environment: one rank and many are one code path.

What listens, and where. One rank has nobody to meet, and opens nothing. The ranks of one machine meet at a port of the loopback
address, which their launcher binds before it starts them; what gloo and NCCL open beside it is on the loopback interface, too.
Over the nodes of a SLURM job it cannot be so: see `slurm.torchrun`.

What ranks tell each other are tensors, and plain values as data (messages.py). Nothing that comes from another process is
unpickled.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch._C._distributed_c10d import TCPStore

from slurm import hung
from slurm.meeting import LISTENING, LOOPBACK
from slurm.messages import packed, unpacked

MOST_S = 7 * 86400.0


def timeout() -> timedelta:
    """How long a rank waits for the others in one collective before it gives up.

    Long enough that whoever looks out for ranks that hang (hung.py) comes first, who has them say where they are: what a rank
    knows by itself is no more than that others did not come.
    """
    return timedelta(seconds=min(MOST_S, 2 * hung.patience_s() + 300))


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
        """Give every rank what rank 0 has: a plain value, or arrays (messages.py)."""
        if self.num_ranks == 1:
            return value
        own = _bytes(value if self.is_first else None)
        size = torch.tensor([len(own)])
        distributed.broadcast(size, src=0)
        box = own if self.is_first else torch.empty(int(size), dtype=torch.uint8)
        distributed.broadcast(box, src=0)
        return value if self.is_first else unpacked(box.numpy().tobytes())

    def gather(self, value: Any) -> list[Any]:
        """Give every rank what all ranks have, in rank order: plain values, or arrays (messages.py)."""
        if self.num_ranks == 1:
            return [value]
        own = _bytes(value)
        sizes = torch.zeros(self.num_ranks, dtype=torch.int64)
        sizes[self.rank] = len(own)
        distributed.all_reduce(sizes)
        longest = int(sizes.max())
        boxes = list(torch.empty(self.num_ranks, longest, dtype=torch.uint8))
        distributed.all_gather(boxes, nn.functional.pad(own, (0, longest - len(own))))
        return [
            unpacked(box[:size].numpy().tobytes())
            for box, size in zip(boxes, sizes.tolist(), strict=True)
        ]

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


def _bytes(value: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(packed(value)), dtype=torch.uint8)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the process group that the environment describes: NCCL with GPUs, gloo without; one rank alone needs none.

    Raises:
        RuntimeError: when torchrun's variables are not set.
        ValueError: when HARNESS_HUNG_AFTER_S is no number of seconds.
    """
    rank, num_ranks, local = (int(each) for each in _variables("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if num_ranks == 1:
        yield Ranks(rank=rank, num_ranks=1, device=device)
        return
    address, port = _variables("MASTER_ADDR", "MASTER_PORT")
    own = address == LOOPBACK and not distributed.is_torchelastic_launched()
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=_store(rank, int(port)) if own else None,
        rank=rank,
        world_size=num_ranks,
        timeout=timeout(),
    )
    try:
        yield Ranks(rank=rank, num_ranks=num_ranks, device=device)
    finally:
        distributed.destroy_process_group()


def _variables(*names: str) -> list[str]:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)} not set: start this process with torchrun, or through a launcher"
        )
    return [os.environ[name] for name in names]


def _store(rank: int, port: int) -> TCPStore:
    """Where the ranks of one machine meet. Left to itself, rank 0 would listen on every interface of its machine."""
    if rank:
        return TCPStore(LOOPBACK, port, timeout=timeout(), wait_for_workers=False)
    inherited = os.environ.pop(LISTENING, None)
    if inherited is None:
        listening = socket.create_server((LOOPBACK, port))
    else:
        listening = socket.socket(fileno=int(inherited))
        listening.set_inheritable(False)
    return TCPStore(
        LOOPBACK, port, is_master=True, timeout=timeout(), wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )  # fmt: skip
