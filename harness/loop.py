"""The training loop and the evaluation, one function each: what every number of this project comes out of.

The loop asks the task for batches and losses and is never called by it. A batch is a function of (seed, step), so
that a run resumed from a checkpoint, or spread over more ranks, sees the same sequences in the same order.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from harness import ahead, checkpoint, fitting
from harness.soundness import (
    DivergedError,
    Rows,
    Seen,
    diverged,
    overflown,
    size_of_gradient,
    unsound_part,
)
from harness.velocity_sgd import VelocitySGD
from slurm.ddp import Ranks
from slurm.job import Interrupted
from tasks.schedule import Schedule
from tasks.task import Predictions, Shard, Task

LOG = logging.getLogger(__name__)
LOGGED_POINTS = 100
"""About so many points of the loss curve are kept."""
CHECKPOINT_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What training left behind."""

    history: dict[str, list[float]]
    """The loss curve: step, loss (mean over the steps since the last point), learning_rate, time (s since 1970)."""
    resumed_from: int
    """The step that this attempt began at."""
    seconds: float
    """Spent in training by this attempt."""
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that could not be gone on from, each with the reason."""


class TaskLoss(nn.Module):
    """The task's loss as a module, so that DistributedDataParallel sees one forward pass."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        """Wrap a model."""
        super().__init__()
        self.task = task
        self.model = model

    def forward(self, batch: Any) -> torch.Tensor:
        """This rank's part of the batch's loss."""
        return self.task.loss(self.model, batch)


def build_optimizer(schedule: Schedule, model: nn.Module) -> torch.optim.Optimizer:
    """The schedule's optimiser; weight decay falls on matrices only, not on biases and peepholes."""
    matrices = [p for name, p in model.named_parameters() if "weight" in name]
    others = [p for name, p in model.named_parameters() if "weight" not in name]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if schedule.optimizer == "adamw":
        # One pass over all numbers of a parameter in place of a dozen: equal to rounding, and a third of the time on a CPU.
        # It knows no complex numbers, which a user's encoder may have.
        fused = all(parameter.is_floating_point() for parameter in model.parameters())
        return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=fused)
    if schedule.clip_velocity is not None:
        return VelocitySGD(
            groups,
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            clip_velocity=schedule.clip_velocity,
        )
    return torch.optim.SGD(groups, lr=schedule.learning_rate, momentum=schedule.momentum)


def train(
    task: Task,
    model: nn.Module,
    *,
    cell: str,
    seed: int,
    ranks: Ranks,
    folder: Path,
    earlier: list[Path],
    should_stop: Callable[[], bool],
    on_step: Callable[[int, int], None],
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Trained:
    """Train a model to the end of its schedule.

    Args:
        task: asked for batches and losses.
        model: on this rank's device; trained in place.
        cell: the cell's key, written into checkpoints.
        seed: the cell's seed.
        ranks: this process's place; gradients are summed over ranks.
        folder: where rank 0 writes checkpoints.
        earlier: folders of all attempts, in which the newest complete checkpoint is looked for.
        should_stop: asked before every step; all ranks leave together after it.
        on_step: told (steps done, steps) now and then.
        checkpoint_every_s: seconds between checkpoints.

    Raises:
        Interrupted: when a stop was asked for; a checkpoint is on disk.
        DivergedError: when a loss, a gradient or what would be saved is not finite; no checkpoint is of that step or later.
    """
    schedule = task.schedule
    shard = Shard(rank=ranks.rank, num_ranks=ranks.num_ranks, device=str(ranks.device))
    history: dict[str, list[float]] = {"step": [], "loss": [], "learning_rate": [], "time": []}
    if schedule.steps == 0:  # a model that is only applied may have nothing to train
        return Trained(history=history, resumed_from=0, seconds=0.0)
    optimizer = build_optimizer(schedule, model)
    # This rank's part of the loss of the batches since the last point of the curve, and how many they are.
    step, total, since = 0, 0.0, 0
    passed: list[str] = []
    fits = fitting.to_resume(model, schedule.steps, partial(build_optimizer, schedule))
    found = (
        checkpoint.find(earlier, cell=cell, check=fits, passed=passed) if ranks.is_first else None
    )
    loaded = _loaded(found, cell, ranks)
    if loaded is not None:
        step, state = loaded
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history, since = state["history"], state["since"]
        total = _own_part(totals(state), ranks)
        LOG.info("resumed after step %d of %d", step, schedule.steps)
    seen, saved = Seen([total]), checkpoint.name(step) if step else None
    first, began, pace = step, time.monotonic(), checkpoint.Pace(checkpoint_every_s)
    if step == schedule.steps:
        return Trained(history=history, resumed_from=first, seconds=0.0, passed_over=tuple(passed))

    def flags(*, last: bool) -> tuple[bool, bool]:
        return should_stop(), ranks.is_first and pace.due(last=last)

    parallel: nn.Module = TaskLoss(task, model)
    if ranks.num_ranks > 1:
        # Unused parameters are looked for, which also keeps DDP's buckets as first laid out: gradients are then summed
        # in the same order before and after a resume, to the last bit (docs/decisions/0005).
        parallel = DistributedDataParallel(
            parallel, find_unused_parameters=True, gradient_as_bucket_view=True
        )
    every, parameters = max(1, schedule.steps // LOGGED_POINTS), list(model.parameters())
    model.train()
    with ahead.batches(
        lambda each: task.batch(seed, each, shard), range(step, schedule.steps), ranks.device
    ) as drawn:
        while step < schedule.steps:
            # Ranks agree on what follows this step while it is computed: whether any has to stop, whether the first saves.
            wishes = ranks.begin_any(partial(flags, last=step + 1 == schedule.steps))
            learning_rate = schedule.learning_rate_at(step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            batch = next(drawn)
            # A user's encoder may draw from torch's own generator (nn.Dropout): what it draws is a function of the step too.
            (step_seed,) = np.random.SeedSequence([seed, step, ranks.rank]).generate_state(1)
            _seed(ranks.device, int(step_seed))
            optimizer.zero_grad(set_to_none=True)
            loss = parallel(batch)
            # A rank's loss is its rows' sum over the GLOBAL batch. DDP averages gradients over ranks: times num_ranks,
            # that average is the gradient of the batch's mean.
            (loss * ranks.num_ranks).backward()
            seen.note(loss, size_of_gradient(parameters, schedule.clip_norm))
            optimizer.step()
            step += 1
            since += 1

            stop, save = wishes()
            point = step % every == 0 or step == schedule.steps
            if point or stop or save or seen.full:  # nothing else waits for the device
                rows = seen.look()
                sound = rows.first_unsound() is None
                parts = ranks.gather_numbers(seen.total_R[0] if sound else math.nan)
                if not math.isfinite(sum(parts)):
                    raise _diverged(rows, ranks, step=step, saved=saved, schedule=schedule)
                mean = sum(parts) / since
            if stop or save or step == schedule.steps:  # the same on all ranks, as the weights are
                part = unsound_part(model, optimizer)
                if part:
                    raise overflown(step=step, part=part, saved=saved, schedule=schedule)
            if point:
                for name, value in (
                    ("step", step),
                    ("loss", mean),
                    ("learning_rate", learning_rate),
                    ("time", time.time()),
                ):
                    history[name].append(value)
                seen.begin_anew()
                parts, since = [0.0] * ranks.num_ranks, 0
                on_step(step, schedule.steps)
            if (stop or save) and ranks.is_first:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "history": history,
                    "totals": parts,
                    "since": since,
                }
                with pace.saving():
                    checkpoint.save(folder, cell=cell, step=step, state=state)
            if stop or save:
                saved = checkpoint.name(step)
            if stop:
                raise Interrupted(f"stopped after step {step} of {schedule.steps}")
    seconds = time.monotonic() - began
    return Trained(history=history, resumed_from=first, seconds=seconds, passed_over=tuple(passed))


def _diverged(
    rows: Rows, ranks: Ranks, *, step: int, saved: str | None, schedule: Schedule
) -> DivergedError:
    """The error of the first step that any rank finds unsound; all ranks ask for it, and say the same."""
    steps = len(rows.losses_SR)
    own = rows.first_unsound()
    at = int(min(steps - 1, *ranks.gather_numbers(steps if own is None else own)))
    loss = sum(ranks.gather_numbers(rows.losses_SR[at][0]))
    size = rows.sizes_SR[at][0]
    return diverged(
        step=step - steps + at + 1, loss=loss, size=size, saved=saved, schedule=schedule
    )


def _loaded(
    found: checkpoint.Found | None, cell: str, ranks: Ranks
) -> tuple[int, dict[str, Any]] | None:
    """Steps done and the state of the checkpoint that rank 0 found; every rank reads the file itself.

    Raises:
        ValueError: on all ranks, when one of them cannot read it.
    """
    path = ranks.share(str(found.path) if found else None)
    if path is None:
        return None
    loaded, why = (found.step, found.state) if found else None, ""
    try:
        loaded = loaded or checkpoint.load(Path(path), cell)
    except Exception as error:  # noqa: BLE001 - the others have to know
        why = str(error) or type(error).__name__
    for rank, each in enumerate(ranks.gather(why)):
        if each:
            raise ValueError(
                f"rank {rank} cannot read {path}, from which rank 0 goes on ({each}): all ranks need to see the same work folder"
            )
    return loaded


def totals(state: Mapping[str, Any]) -> list[float]:
    """The loss since the last point that a checkpoint has of every rank; those of before had the sum over all alone."""
    return list(state["totals"]) if "totals" in state else [float(state["total"])]


def _own_part(totals: list[float], ranks: Ranks) -> float:
    """What this rank had summed up when a checkpoint was written; the first has all of it where ranks were more or fewer."""
    if len(totals) == ranks.num_ranks:
        return totals[ranks.rank]
    return sum(totals) if ranks.is_first else 0.0


def _seed(device: torch.device, seed: int) -> None:
    """As `torch.manual_seed`, for the CPU and this device alone: on a machine without a GPU that takes a hundredth of the time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def evaluate(
    task: Task, model: nn.Module, ranks: Ranks, should_stop: Callable[[], bool]
) -> Predictions:
    """Predict every chunk once, spread over ranks; every rank gets all predictions, in the chunks' order.

    Chunks do not depend on the number of ranks, so neither do the predictions.
    """
    model.eval()
    own: dict[int, Predictions] = {}
    stopped = False
    with torch.no_grad():
        for chunk in range(ranks.rank, task.num_chunks(), ranks.num_ranks):
            stopped = stopped or should_stop()
            if not stopped:
                own[chunk] = task.predict(model, chunk)
    gathered = ranks.gather((own, stopped))
    if any(each_stopped for _, each_stopped in gathered):
        raise Interrupted("stopped during evaluation")
    merged: dict[int, Predictions] = {}
    for part, _ in gathered:
        merged.update(part)
    chunks = [merged[chunk] for chunk in range(task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
