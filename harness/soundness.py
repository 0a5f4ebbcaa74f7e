"""Whether training is still made of numbers: what every step has seen, unread until a loop looks, and what it would save.

A NaN in a gradient makes every weight NaN, and a checkpoint of those would hand it on to every attempt that follows. So each
step leaves its loss and the size of its gradient on the device, where a host does not wait for them; a loop looks at them
at every point of its curve, before it saves, and at its end. What it saves is looked at whole.

Letters: S steps since the last look, R replicas (one, where a model is trained alone).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasks.schedule import Schedule

MOST_UNREAD = 1024
"""Steps between two looks, at most: each leaves two numbers on the device."""


class DivergedError(Exception):
    """The loss, its gradient, or what would be saved is not finite any more."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What the steps between two looks have seen: S lists of R numbers."""

    losses_SR: list[list[float]]
    sizes_SR: list[list[float]]

    def first_unsound(self, replica: int = 0) -> int | None:
        """The first of these steps whose loss or gradient is not finite, counted from 0; None where all are."""
        pairs = zip(self.losses_SR, self.sizes_SR, strict=True)
        return next(
            (
                number
                for number, (loss_R, size_R) in enumerate(pairs)
                if not math.isfinite(loss_R[replica] + size_R[replica])
            ),
            None,
        )


class Seen:
    """Losses and sizes of gradients, step by step, on the device; the losses' sum since the last point of the curve."""

    def __init__(self, totals: Sequence[float]) -> None:
        """Begin with what was summed up before, a number a replica."""
        self.total_R = list(totals)
        self._losses: list[Tensor] = []
        self._sizes: list[Tensor | float] = []

    def note(self, loss: Tensor, size: Tensor | float) -> None:
        """Take note of a step, and wait for nothing: both hold a number, or one a replica."""
        self._losses.append(loss.detach())
        self._sizes.append(size)

    @property
    def full(self) -> bool:
        """Whether it is time to look, whatever else is due."""
        return len(self._losses) >= MOST_UNREAD

    def look(self) -> Rows:
        """Read what was noted, and add the losses up one after the other: when they are looked at alters no bit of a sum."""
        rows = Rows(_read(self._losses), _read(self._sizes))
        for loss_R in rows.losses_SR:
            self.total_R = [total + loss for total, loss in zip(self.total_R, loss_R, strict=True)]
        self._losses.clear()
        self._sizes.clear()
        return rows

    def begin_anew(self) -> None:
        """Begin the sum of the next point of the curve."""
        self.total_R = [0.0] * len(self.total_R)


def _read(numbers: Sequence[Tensor | float]) -> list[list[float]]:
    """S lists of R; from a GPU all at once."""
    on_gpu = [each for each in numbers if isinstance(each, Tensor) and each.is_cuda]
    values = (
        torch.stack(on_gpu).tolist()
        if on_gpu
        else [each.tolist() if isinstance(each, Tensor) else each for each in numbers]
    )
    return [each if isinstance(each, list) else [each] for each in values]


def size_of_gradient(parameters: Sequence[nn.Parameter], clip_norm: float | None) -> Tensor | float:
    """Clip the gradient of a model's parameters by its L2 norm, if that is asked for, and give its `size`.

    Where it is clipped, that is this norm, which clipping needs anyway.
    """
    if clip_norm is not None:
        return nn.utils.clip_grad_norm_(parameters, clip_norm)
    return size([each.grad for each in parameters if each.grad is not None])


def size(tensors: Sequence[Tensor]) -> Tensor | float:
    """A number that is finite if and only if all numbers of some tensors are, on their device: one pass, nothing beside them.

    On a CPU it is their L2 norm, which takes a tenth of the time of the largest absolute value there, but can overflow where
    that does not; then, and on a GPU, it is that value.
    """
    dense = [each.coalesce().values() if each.is_sparse else each for each in tensors]
    some = [each.detach() for each in dense if each.numel()]
    if not any(each.is_cuda for each in some):
        norm = math.hypot(*(torch.linalg.vector_norm(each).item() for each in some))
        if math.isfinite(norm):
            return norm
    return nn.utils.get_total_norm(some, math.inf)


def sizes(tensors: Sequence[Tensor]) -> Tensor:
    """As `size`, of each replica of stacked tensors (R, ...): (R,)."""
    flat = [each.detach().reshape(len(each), -1) for each in tensors if each.numel()]
    if not any(each.is_cuda for each in flat):
        norms_PR = torch.stack([torch.linalg.vector_norm(each, dim=1) for each in flat])
        norm_R: Tensor = torch.linalg.vector_norm(norms_PR, dim=0)
        if norm_R.isfinite().all():
            return norm_R
    return torch.stack([torch.linalg.vector_norm(each, math.inf, dim=1) for each in flat]).amax(0)


def is_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of some tensors are finite; whole numbers are."""
    broken = [each for each in tensors if each.is_floating_point() or each.is_complex()]
    return math.isfinite(size(broken))


def unsound_part(model: nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """The first of a model's weights that is not finite, or its part of the optimiser's state, by name; empty if all are.

    Buffers and what is not trained may hold what they like: a mask is often infinite.
    """
    named = _trained(model)
    states = {name: _tensors(optimizer.state.get(each, {})) for name, each in named.items()}
    # All at once first: that they are finite is what nearly every look finds.
    if is_finite([*named.values(), *(each for state in states.values() for each in state)]):
        return ""
    for name, each in named.items():
        if not is_finite([each]):
            return name
    return next(f"the optimiser's state of {name}" for name, state in states.items() if not is_finite(state))  # fmt: skip


def unsound_parts(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """As `unsound_part`, for each replica of a stacked model."""
    named = _trained(model)
    weights = [sizes([each]).tolist() for each in named.values()]
    states = [
        sizes(
            [state for state in (each, *_tensors(optimizer.state.get(each, {}))) if state.ndim]
        ).tolist()
        for each in named.values()
    ]
    found = []
    for replica in range(len(weights[0])):
        told = (
            name
            for names, rows in ((list(named), weights), ([f"the optimiser's state of {name}" for name in named], states))
            for name, row in zip(names, rows, strict=True)
            if not math.isfinite(row[replica])
        )  # fmt: skip
        found.append(next(told, ""))
    return found


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def _tensors(state: Mapping[str, object]) -> list[Tensor]:
    return [each for each in state.values() if isinstance(each, Tensor)]


def diverged(
    *, step: int, loss: float, size: float, saved: str | None, schedule: Schedule
) -> DivergedError:
    """The error of a step whose loss or gradient is not finite.

    Args:
        step: counted from 1.
        loss: seen there, over the whole batch.
        size: of the gradient there, as `size_of_gradient` gives it.
        saved: file name of the last checkpoint, of a step before this one; None if there is none.
        schedule: what was trained by.
    """
    return DivergedError(
        f"the loss is {loss:g} and the size of its gradient {size:g} at step {step} of {schedule.steps}: lower the learning rate "
        f"({schedule.learning_rate}) or clip_norm ({schedule.clip_norm}); {_last(saved)}"
    )


def overflown(*, step: int, part: str, saved: str | None, schedule: Schedule) -> DivergedError:
    """The error of weights that are not finite after a step, though its loss and gradient were.

    Args:
        step: counted from 1.
        part: which.
        saved: as for `diverged`.
        schedule: what was trained by.
    """
    return DivergedError(
        f"{part} is not finite after step {step} of {schedule.steps}: lower the learning rate "
        f"({schedule.learning_rate}) or clip_norm ({schedule.clip_norm}); {_last(saved)}"
    )


def _last(saved: str | None) -> str:
    return f"the last good checkpoint is {saved}" if saved else "there is no checkpoint before it"
