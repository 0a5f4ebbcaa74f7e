"""Training of several cells as one stacked model: `loop.train` with an axis of replicas before everything.

Each replica is its own cell: its own batches and masks, its gradient clipped by its own norm, its loss curve, and
checkpoints in the very form that training alone writes and reads, so that an interrupted group goes on alone, or in
another group. One that diverges ends by itself, and the others go on. Numbers equal those of training alone to
rounding: sums inside batched products may be taken in another order.

Letters: R replicas, P parameters.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harness import ahead, checkpoint, loop
from harness.loop import CHECKPOINT_EVERY_S, LOGGED_POINTS, Trained
from harness.soundness import (
    DivergedError,
    Seen,
    diverged,
    overflown,
    sizes,
    unsound_parts,
)
from slurm.job import Interrupted
from tasks.task import Shard, Task, TrainsTogether


class TogetherTask(Task, TrainsTogether, Protocol):
    """A task that can be trained together with others of its kind."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Member:
    """A cell that is trained with others."""

    key: str
    """The cell's, written into checkpoints."""
    task: TogetherTask
    seed: int
    model: nn.Module
    """As built, on any device; gets the trained weights."""
    folder: Path
    """Where checkpoints are written."""
    start: tuple[int, Mapping[str, Any]] | None = None
    """The newest checkpoint (`checkpoint.newest`); None for a beginning."""
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that could not be gone on from, each with the reason."""
    history: dict[str, list[float]] = field(
        default_factory=lambda: {"step": [], "loss": [], "learning_rate": [], "time": []}
    )
    """The loss curve, as it grows."""


@dataclass(kw_only=True, slots=True)
class _Stack:
    """What is trained: all members as one model."""

    members: list[Member]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    seen: Seen
    """What each replica's steps have seen; its losses since the last point of the curve."""

    @classmethod
    def of(
        cls, members: list[Member], states: Sequence[Mapping[str, Any]], device: torch.device
    ) -> "_Stack":
        """Stack members as they are, or as their states are (one for each, or none at all)."""
        task = members[0].task
        for member, state in zip(members, states, strict=False):
            member.model.load_state_dict(state["model"])
        model = task.stack([member.model for member in members]).to(device).train()
        optimizer = loop.build_optimizer(task.schedule, model)
        totals = [0.0] * len(members)
        if states:
            optimizer.load_state_dict(joined([state["optimizer"] for state in states]))
            totals = [sum(loop.totals(state)) for state in states]
        return cls(members=members, model=model, optimizer=optimizer, seen=Seen(totals))

    def states(self, since: int) -> Iterator[dict[str, Any]]:
        """Everything that each member needs to go on, as `loop.train` keeps it; one at a time, as all are a copy of the model."""
        optimizer, totals = self.optimizer.state_dict(), self.seen.total_R
        for replica, member in enumerate(self.members):
            yield {
                "model": weights_of(self.model, replica),
                "optimizer": part(optimizer, replica),
                "history": member.history,
                "totals": [totals[replica]],
                "since": since,
            }


def weights_of(model: nn.Module, replica: int) -> dict[str, Tensor]:
    """One replica's weights as the state dict of its own model, copied."""
    return {name: each.detach()[replica].clone() for name, each in model.named_parameters()}


def part(optimizer: Mapping[str, Any], replica: int) -> dict[str, Any]:
    """One replica's part of a stacked model's optimiser state: what it would have alone.

    Tensors with axes have the replicas on the first; others, such as the number of steps, are everybody's.
    """
    state = {
        index: {
            name: each[replica].clone() if isinstance(each, Tensor) and each.ndim else each
            for name, each in of_parameter.items()
        }
        for index, of_parameter in optimizer["state"].items()
    }
    return {**optimizer, "state": state}


def joined(optimizers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The optimiser state of a stacked model from those of its replicas, which are after equally many steps."""
    first = optimizers[0]
    state = {
        index: {
            name: torch.stack([each["state"][index][name] for each in optimizers])
            if isinstance(value, Tensor) and value.ndim
            else value
            for name, value in of_parameter.items()
        }
        for index, of_parameter in first["state"].items()
    }
    return {**first, "state": state}


def clip_grad_norms_(model: nn.Module, most: float | None) -> Tensor:
    """Clip each replica's gradient by its own L2 norm over all parameters, as `nn.utils.clip_grad_norm_` does of one.

    Returns:
        The size of each replica's gradient, (R,), as `soundness.size_of_gradient` has it of one.
    """
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    if most is None:
        return sizes(gradients)
    norms_PR = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
    norm_R: Tensor = torch.linalg.vector_norm(norms_PR, dim=0)
    # A norm that is no number must not reach another replica: every factor falls on its own gradient alone.
    factor_R = (most / (norm_R + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_R.view(-1, *[1] * (gradient.ndim - 1)))
    return norm_R


def train(
    members: Sequence[Member],
    *,
    device: torch.device,
    should_stop: Callable[[], bool],
    on_step: Callable[[int, int], None],
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> dict[str, Trained | DivergedError]:
    """Train cells to the end of their schedule, side by side.

    Args:
        members: of one `together()`, after equally many steps.
        device: where to train.
        should_stop: asked at every step boundary.
        on_step: told (steps done, steps) now and then, for all that are left.
        checkpoint_every_s: seconds between checkpoints of all.

    Returns:
        By key, what `loop.train` would return, or the error that it would raise. `Trained.seconds` is the time of all: what
        one of them took alone is not known.

    Raises:
        Interrupted: when a stop was asked for; checkpoints of all that are left are on disk.
        ValueError: when they cannot be stacked.
    """
    firsts = {0 if member.start is None else member.start[0] for member in members}
    if len({member.task.together() for member in members}) != 1 or len(firsts) != 1:
        raise ValueError(
            "these cells cannot be trained together: they must be of one kind and after equally many steps; train "
            "them apart"
        )
    task, (step,) = members[0].task, firsts
    schedule = task.schedule
    states = [member.start[1] for member in members if member.start is not None]
    members = [
        replace(member, start=None, history=member.start[1]["history"]) if member.start else member
        for member in members
    ]
    since = int(states[0]["since"]) if states else 0
    ended: dict[str, Trained | DivergedError] = {}
    stack = _Stack.of(list(members), states, device)
    del states  # as large as the models
    saved = checkpoint.name(step) if step else None
    first, began, pace = step, time.monotonic(), checkpoint.Pace(checkpoint_every_s)
    every = max(1, schedule.steps // LOGGED_POINTS)
    shard = Shard(device=str(device))

    def draw(of_step: int) -> Any:
        return task.stack_batches(
            [member.task.batch(member.seed, of_step, shard) for member in stack.members]
        )

    with ahead.batches(draw, range(step, schedule.steps), device) as drawn:
        while step < schedule.steps:
            learning_rate = schedule.learning_rate_at(step)
            for group in stack.optimizer.param_groups:
                group["lr"] = learning_rate
            batch = next(drawn)
            stack.optimizer.zero_grad(set_to_none=True)
            loss_R = task.losses(stack.model, batch)
            # Each replica's loss reaches its own weights alone: the gradient of the sum is that of each.
            torch.autograd.backward(loss_R.sum())
            stack.seen.note(loss_R, clip_grad_norms_(stack.model, schedule.clip_norm))
            stack.optimizer.step()
            step += 1
            since += 1

            stop, save = should_stop(), pace.due(last=step == schedule.steps)
            point = step % every == 0 or step == schedule.steps
            if point or stop or save or stack.seen.full:
                whole = stop or save or step == schedule.steps
                ended.update(_diverged(stack, step, saved, whole=whole, but=ended.keys()))
                # What diverged stays in the stack, where it reaches no other, and is not looked at any more.
                left = [member for member in stack.members if member.key not in ended]
                if not left:
                    return ended
            if point:
                means = dict(zip(stack.members, (total / since for total in stack.seen.total_R), strict=True))  # fmt: skip
                for member in left:
                    for name, value in (
                        ("step", step),
                        ("loss", means[member]),
                        ("learning_rate", learning_rate),
                        ("time", time.time()),
                    ):
                        member.history[name].append(value)
                stack.seen.begin_anew()
                since = 0
                on_step(step, schedule.steps)
            if stop or save:
                with pace.saving():
                    for member, state in zip(stack.members, stack.states(since), strict=True):
                        if member.key not in ended:
                            checkpoint.save(member.folder, cell=member.key, step=step, state=state)
                saved = checkpoint.name(step)
            if stop:
                raise Interrupted(f"stopped after step {step} of {schedule.steps}")
    seconds = 0.0 if first == schedule.steps else time.monotonic() - began
    for replica, member in enumerate(stack.members):
        if member.key in ended:
            continue
        member.model.load_state_dict(weights_of(stack.model, replica))
        ended[member.key] = Trained(
            history=member.history,
            resumed_from=first,
            seconds=seconds,
            passed_over=member.passed_over,
        )
    return ended


def _diverged(
    stack: _Stack, step: int, saved: str | None, *, whole: bool, but: Collection[str]
) -> dict[str, DivergedError]:
    """Look at what was seen up to `step`, and at all weights where `whole`; by key, the error of each that is unsound now.

    Those of `but` are not looked at any more.
    """
    rows, schedule = stack.seen.look(), stack.members[0].task.schedule
    parts = unsound_parts(stack.model, stack.optimizer) if whole else [""] * len(stack.members)
    found = {}
    for replica, (member, unsound) in enumerate(zip(stack.members, parts, strict=True)):
        at = rows.first_unsound(replica)
        if member.key in but or (at is None and not unsound):
            continue
        found[member.key] = (
            overflown(step=step, part=unsound, saved=saved, schedule=schedule)
            if at is None
            else diverged(
                step=step - len(rows.losses_SR) + at + 1,
                loss=rows.losses_SR[at][replica],
                size=rows.sizes_SR[at][replica],
                saved=saved,
                schedule=schedule,
            )
        )
    return found
