"""How a model is trained: steps, batch, optimiser and learning rate. Plain values; the loop reads them."""

import math
from dataclasses import dataclass, field
from typing import Literal

from tasks.keyed import KEYED_UNLESS_DEFAULT


@dataclass(frozen=True, kw_only=True, slots=True)
class Staircase:
    """A learning rate that stays for `every` steps and is then multiplied by `factor`, again and again.

    Raises:
        ValueError: for a value outside its range.
    """

    factor: float
    every: int
    """Steps, counted from the first of training, those of a warm-up included."""

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            raise ValueError(
                f"factor={self.factor}: a staircase goes down, by a factor above 0 and up to 1"
            )
        if self.every < 1:
            raise ValueError(f"every={self.every}: a stair is at least 1 step long")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A training schedule.

    Raises:
        ValueError: for a value outside its range.
    """

    steps: int
    """Optimiser steps; 0 evaluates the model as it is built."""
    batch_size: int
    """Sequences a step, over all ranks together."""
    learning_rate: float
    """Peak learning rate, for losses that are means over the batch."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    """Of sgd only."""
    weight_decay: float = 0.0
    """Decoupled for adamw, L2 for sgd; on matrices only, never on biases or peepholes."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly to its peak."""
    decay: Literal["cosine", "constant"] | Staircase = "cosine"
    clip_norm: float | None = None
    """The gradient's L2 norm over all parameters is clipped to this."""
    clip_velocity: float | None = field(default=None, metadata=KEYED_UNLESS_DEFAULT)
    """Of sgd only: each element of the velocity v, which a step adds to the weights, stays within plus and minus this."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}: a schedule has 0 steps or more")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: a batch holds at least 1 sequence")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}: it must be above 0")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay}: it must be 0 or more")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps}: it must lie between 0 and steps={self.steps}"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(
                f"clip_norm={self.clip_norm}: it must be above 0, or None for no clipping"
            )
        if self.clip_velocity is not None and not self.clip_velocity > 0:
            raise ValueError(
                f"clip_velocity={self.clip_velocity}: it must be above 0, or None for no clamping"
            )
        if self.clip_velocity is not None and self.optimizer != "sgd":
            raise ValueError(
                f"clip_velocity={self.clip_velocity} with optimizer={self.optimizer}: only sgd has a velocity to "
                "clamp; choose sgd or leave clip_velocity out"
            )

    @property
    def title(self) -> str:
        """The optimiser and its rates in words."""
        if self.optimizer == "adamw":
            name = "AdamW"
        else:
            name = f"gradient descent with momentum {self.momentum:g}"
        if self.clip_velocity is not None:
            name += f" and steps of at most {self.clip_velocity:g}"
        rate = (
            f"{name}, learning rate {'up to ' if self.warmup_steps else ''}{self.learning_rate:g}"
        )
        if isinstance(self.decay, Staircase):
            return f"{rate}, times {self.decay.factor:g} every {self.decay.every:,} steps"
        return f"{rate}, {self.decay}"

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step `step` (counted from 0)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        if isinstance(self.decay, Staircase):
            return float(self.learning_rate * self.decay.factor ** (step // self.decay.every))
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
