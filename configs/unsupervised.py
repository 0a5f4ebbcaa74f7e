"""The models of the paper's unsupervised half (secs. 3.2 and 3.4): the same cells in Table 2 and in Figures 5 to 10.

What the paper states is its own: layers of 2048 units (4096 too, on patches), 10 frames in and 10 ahead on digits, 16 in and
13 ahead on patches. Steps, batches and rates are ours. Two artefacts that ask for the same model get the same cell, and it is
trained once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

from configs.scales import ScaleName
from reports.published import (
    COMPOSITE,
    COMPOSITE_CONDITIONAL,
    CONDITIONAL_FUTURE_PREDICTOR,
    FUTURE_PREDICTOR,
)
from tasks.cell import Cell
from tasks.data.dataset import Unlabelled
from tasks.data.moving_digits import TestSet
from tasks.data.moving_mnist import Speed
from tasks.encoders import LSTM
from tasks.pretrain import Decoder, Pretrain
from tasks.registry import load
from tasks.schedule import Schedule

MODELS: Mapping[str, tuple[Decoder, Decoder]] = {
    FUTURE_PREDICTOR: ("none", "unconditioned"),
    COMPOSITE: ("unconditioned", "unconditioned"),
    CONDITIONAL_FUTURE_PREDICTOR: ("none", "conditional"),
    COMPOSITE_CONDITIONAL: ("unconditioned", "conditional"),
}
"""Table 2's four rows, by the names that the paper prints: how the input is reconstructed, how the future is predicted."""

DIGIT_FRAMES = (10, 10)
"""Frames in and frames ahead on moving digits."""
PATCH_FRAMES = (16, 13)
"""The same on patches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes and schedules of the unsupervised models."""

    units: int
    steps: int
    batch: int
    rate: float
    test_sequences: int


SIZES: Mapping[ScaleName, Sizes] = {
    "demo": Sizes(units=256, steps=2000, batch=32, rate=2e-3, test_sequences=512),
    "paper": Sizes(units=2048, steps=150_000, batch=128, rate=5e-4, test_sequences=10_000),
}


def sized(scale: ScaleName, **chosen: object) -> Sizes:
    """A scale's sizes with what was chosen by hand in place of its own; None stands for nothing chosen.

    Raises:
        ValueError: for a name that is no scale.
    """
    if scale not in SIZES:
        raise ValueError(f"scale={scale}: choose from {', '.join(SIZES)}")
    by_hand: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    return replace(SIZES[scale], **by_hand)


BUILT_IN_PATCHES = "panned_photos"


def find_patches(name: str) -> Unlabelled:
    """Image patches by name.

    Args:
        name: "panned_photos" (built in), or an indexed set with a store of patches.

    Raises:
        ValueError: when there is no such set or it has no store of patches, in one sentence.
    """
    if name == BUILT_IN_PATCHES:
        built_in: Unlabelled = load("tasks.data.panned_photos:PannedPhotos")()
        return built_in
    found: Unlabelled = load("tasks.data.patches:find_patches")(name)
    return found


def digits_model(
    data: Unlabelled, model: str, sizes: Sizes, *, layers: int = 2, seed: int = 0
) -> Cell:
    """A model of moving digits.

    Args:
        data: moving digits.
        model: a name of `MODELS`.
        sizes: units and schedule.
        layers: of encoder and decoders.
        seed: of weights and training sequences.
    """
    return _model(data, model, sizes, DIGIT_FRAMES, layers=layers, seed=seed)


def patches_model(
    data: Unlabelled, model: str, sizes: Sizes, *, layers: int = 2, seed: int = 0
) -> Cell:
    """A model of image patches; arguments as for `digits_model`."""
    return _model(data, model, sizes, PATCH_FRAMES, layers=layers, seed=seed)


def _model(
    data: Unlabelled,
    model: str,
    sizes: Sizes,
    frames: tuple[int, int],
    *,
    layers: int,
    seed: int,
) -> Cell:
    reconstruct, predict_future = MODELS[model]
    return Cell(
        task=Pretrain(
            dataset=data,
            encoder=LSTM(units=sizes.units, layers=layers),
            reconstruct=reconstruct,
            predict_future=predict_future,
            input_frames=frames[0],
            future_frames=frames[1],
            schedule=Schedule(
                steps=sizes.steps,
                batch_size=sizes.batch,
                learning_rate=sizes.rate,
                warmup_steps=min(100, sizes.steps // 10),
                clip_norm=200.0,
            ),
            test_sequences=sizes.test_sequences,
        ),
        seed=seed,
        label=model,
    )


def _meaning(name: str, what: str) -> str:
    """A knob's meaning with its value at each scale."""
    values = ", ".join(f"{scale} {getattr(sizes, name):,}" for scale, sizes in SIZES.items())
    return f"{what} ({values})"


# Knobs that every experiment of this half has; None is what the scale says.
Glyphs: TypeAlias = Annotated[
    str,
    "what moves: digits (built in), mnist (`harness data fetch mnist`), or a folder of idx files",
]
SpeedKnob: TypeAlias = Annotated[
    Speed, "pixels a frame: one value, as in the official test file, or drawn from a range"
]
TestSetKnob: TypeAlias = Annotated[
    TestSet, "what is tested on: the official file if it is there (auto), it or nothing, or drawn"
]
PatchesKnob: TypeAlias = Annotated[
    str, "image patches: panned_photos (built in), or an indexed set with a store of patches"
]
Units: TypeAlias = Annotated[int | None, _meaning("units", "units of an LSTM layer")]
Steps: TypeAlias = Annotated[int | None, _meaning("steps", "optimiser steps")]
Batch: TypeAlias = Annotated[int | None, _meaning("batch", "sequences a step")]
Rate: TypeAlias = Annotated[float | None, _meaning("rate", "peak learning rate")]
TestSequences: TypeAlias = Annotated[
    int | None, _meaning("test_sequences", "held-out sequences that losses are averaged over")
]
Layers: TypeAlias = Annotated[Literal[1, 2], "layers of encoder and decoders"]
Show: TypeAlias = Annotated[int, "held-out sequences that are drawn"]
