"""How pretraining is optimised, by name: `modern`, which all experiments use unless told, and `as_in_2015`.

The paper names no optimiser; `as_in_2015` is that of its authors' published code: momentum 0.9, rate 1e-4 and weight
decay 1e-4 (not on biases) on gradients SUMMED over a batch of 80, a velocity whose elements are clamped to 1e-4, and a
rate that is multiplied by 0.9 every 10,000 steps.
"""

from typing import Literal, TypeAlias

from tasks.schedule import Schedule, Staircase

OptimiserName: TypeAlias = Literal["modern", "as_in_2015"]


def modern(steps: int, batch_size: int, learning_rate: float) -> Schedule:
    """AdamW: a short warm-up to the peak rate, then a cosine to zero; the gradient's norm is clipped."""
    return Schedule(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=min(100, steps // 10),
        clip_norm=200.0,
    )


def as_in_2015(steps: int, batch_size: int = 80) -> Schedule:
    """The authors' gradient descent, for losses that are means over the batch.

    With B sequences the summed gradient is B times the mean g, so that their step 1e-4 (B g + 1e-4 w) is
    (1e-4 B) (g + (1e-4 / B) w): rate and weight decay of the mean follow. The bound on the velocity stays.
    """
    return Schedule(
        steps=steps,
        batch_size=batch_size,
        learning_rate=1e-4 * batch_size,
        optimizer="sgd",
        momentum=0.9,
        weight_decay=1e-4 / batch_size,
        decay=Staircase(factor=0.9, every=10_000),
        clip_velocity=1e-4,
    )


def schedule(
    name: OptimiserName, *, steps: int, batch_size: int, learning_rate: float | None = None
) -> Schedule:
    """A schedule by the name of its optimiser.

    Args:
        name: of the optimiser.
        steps: of training.
        batch_size: sequences a step.
        learning_rate: the peak rate of `modern`; `as_in_2015` has its own, and takes none.

    Raises:
        ValueError: for a name that is no optimiser, a rate that is missing, or one that would have no effect.
    """
    if name == "modern":
        if learning_rate is None:
            raise ValueError("optimiser=modern has no learning rate of its own: give learning_rate")
        return modern(steps, batch_size, learning_rate)
    if name == "as_in_2015":
        if learning_rate is not None:
            raise ValueError(
                f"learning_rate={learning_rate} with optimiser=as_in_2015, whose rate is 1e-4 times the batch: leave "
                "the rate out, or choose optimiser=modern"
            )
        return as_in_2015(steps, batch_size)
    raise ValueError(f"optimiser={name}: choose from modern, as_in_2015")
