"""Stochastic gradient descent as it was done in 2015: the velocity is the step itself, and can be clamped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class VelocitySGD(torch.optim.Optimizer):
    """Gradient descent with momentum and a bound on every element of its step.

        v <- clamp(m v - e (g + d w), -b, b)
        w <- w + v

    with weights w, gradient g, velocity v (0 at first), learning rate e, momentum m, weight decay d and bound b: the
    update of the authors' published code. torch.optim.SGD has v <- m v + g, w <- w - e v instead: there the rate is
    outside the velocity, so that a lower rate also slows what was gathered at a higher one, and no bound on v bounds
    the step.

    Parameters without a gradient are left alone, their velocity too.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        clip_velocity: float,
        weight_decay: float = 0.0,
    ) -> None:
        """Make an optimiser.

        Args:
            params: parameters, or groups of them with values of their own.
            lr: e.
            momentum: m.
            clip_velocity: b.
            weight_decay: d.
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "clip_velocity": clip_velocity,
            },
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step down the gradients that lie in the parameters.

        Args:
            closure: computes the gradients anew, and gives the loss, which is then returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [(each, each.grad) for each in group["params"] if each.grad is not None]
            if not moved:
                continue
            weights = tuple(weight for weight, _ in moved)
            gradients = tuple(gradient for _, gradient in moved)
            velocities = [self._velocity(weight) for weight in weights]
            # All tensors of a group at once: on a GPU a few launches a step, not a few for every tensor.
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            torch._foreach_clamp_min_(velocities, -group["clip_velocity"])
            torch._foreach_clamp_max_(velocities, group["clip_velocity"])
            torch._foreach_add_(weights, velocities)
        return loss

    def _velocity(self, weight: Tensor) -> Tensor:
        """The velocity of a weight, zero before its first step; the name is that in checkpoints."""
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity: Tensor = state["velocity"]
        return velocity
