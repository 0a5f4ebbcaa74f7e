"""Whether a checkpoint fits what is to go on from it: a whole file of the right cell may still be another version's.

A key says what is asked, not how a model's parts are called or what an optimiser remembers. All of it is looked at before
any of it is put in place, so that what does not fit leaves a model as built.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness import soundness
from harness.checkpoint import Check

CURVE = frozenset({"step", "loss", "learning_rate", "time"})
_SETTINGS = ("weight_decay", "momentum", "betas", "eps", "clip_velocity")
"""Of an optimiser, which loading a state would set as they were; the learning rate is set at every step."""

Build = Callable[[nn.Module], torch.optim.Optimizer]


def to_resume(model: nn.Module, steps: int, build: Build) -> Check:
    """What is asked of a checkpoint that this model may go on from.

    Args:
        model: as built.
        steps: of its schedule.
        build: makes the optimiser of a model.
    """

    def check(step: int, state: Mapping[str, Any]) -> None:
        _check_progress(step, state, steps)
        _check_weights(state["model"], model)
        _check_optimizer(state["optimizer"], model, build)

    return check


def _check_progress(step: int, state: Mapping[str, Any], steps: int) -> None:
    if not isinstance(state, Mapping):  # of a file, not of a caller
        raise ValueError("it holds no state of a training")  # noqa: TRY004  # noqa: TRY004 - of a file, not of a caller
    lacking = {"model", "optimizer", "history", "since"} - state.keys()
    if not {"totals", "total"} & state.keys():  # the sum over all ranks, in those of before
        lacking.add("totals")
    if lacking:
        raise ValueError(f"it has no {' and no '.join(sorted(lacking))}")
    if not 0 < step <= steps:
        raise ValueError(f"it is of step {step}, and training has {steps}")
    history, since = state["history"], state["since"]
    if not isinstance(history, Mapping) or set(history) != CURVE:
        raise ValueError(f"its curve is not of {', '.join(sorted(CURVE))}")
    if len({len(column) for column in history.values()}) != 1:
        raise ValueError("its curve has columns of different lengths")
    totals = list(state["totals"] if "totals" in state else [float(state["total"])])
    numbers = [*totals, *(each for column in history.values() for each in column)]
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in numbers):
        raise ValueError("its curve is not made of finite numbers")
    if not isinstance(since, int) or not 0 <= since <= step:
        raise ValueError(f"it counts {since} steps since the last point of its curve")


def _check_weights(saved: Mapping[str, Any], model: nn.Module) -> None:
    wanted = model.state_dict()
    for names, what in (
        (wanted.keys() - saved.keys(), "has no"),
        (saved.keys() - wanted.keys(), "has an unknown"),
    ):
        if names:
            raise ValueError(f"it {what} {min(names)}: it is of another model")
    for name, own in wanted.items():
        if isinstance(own, Tensor):
            _check_tensor(name, saved[name], own)
            if saved[name].dtype != own.dtype:
                raise ValueError(f"its {name} is of {saved[name].dtype}, and the model's of {own.dtype}")  # fmt: skip
    for name, own in model.named_parameters():
        if own.requires_grad and not soundness.is_finite([saved[name]]):
            raise ValueError(f"its {name} is not finite")


def _check_tensor(name: str, saved: object, own: Tensor) -> None:
    if not isinstance(saved, Tensor):
        raise ValueError(f"its {name} is no tensor")  # noqa: TRY004  # noqa: TRY004
    if saved.shape != own.shape:
        raise ValueError(f"its {name} has shape {tuple(saved.shape)}, and the model's {tuple(own.shape)}: it is of another model")  # fmt: skip


def _check_optimizer(saved: Mapping[str, Any], model: nn.Module, build: Build) -> None:
    optimizer = build(model)
    groups: Sequence[Mapping[str, Any]] = saved["param_groups"]
    own_groups = optimizer.state_dict()["param_groups"]
    if [len(group["params"]) for group in groups] != [len(each["params"]) for each in own_groups]:
        raise ValueError("its optimiser moves other weights: it is of another model")
    for group, own in zip(groups, own_groups, strict=True):
        for name in _SETTINGS:
            if name in own and (name not in group or _plain(group[name]) != _plain(own[name])):
                raise ValueError(f"its optimiser has {name} {group.get(name)}, and this one {own[name]}")  # fmt: skip
    names = _remembered(build)
    weights = dict(
        zip(
            (index for group in groups for index in group["params"]),
            (each for group in optimizer.param_groups for each in group["params"]),
            strict=True,
        )
    )
    for index, state in saved["state"].items():
        if index not in weights or set(state) != names:
            raise ValueError(f"its optimiser remembers {', '.join(sorted(state))}, and this one {', '.join(sorted(names))}")  # fmt: skip
        for name, each in state.items():
            if isinstance(each, Tensor):
                if each.ndim:
                    _check_tensor(f"optimiser's {name}", each, weights[index])
                if not soundness.is_finite([each]):
                    raise ValueError(f"its optimiser's {name} is not finite")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _remembered(build: Build) -> set[str]:
    """What an optimiser of this kind remembers of a weight after a step, found out with one of its own."""
    scratch, weight = nn.Module(), nn.Parameter(torch.zeros(1, 1))
    scratch.register_parameter("weight", weight)
    optimizer = build(scratch)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return set(optimizer.state[weight])
