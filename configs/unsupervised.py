"""The models of the paper's unsupervised half (secs. 3.2 and 3.4): the same cells in Table 2 and in Figures 5 to 10.

What the paper states is its own: layers of 2048 units (4096 too, on patches), 10 frames in and 10 ahead on digits, 16 in and
13 ahead on patches. Steps, batches and rates are ours. Two artefacts that ask for the same model get the same cell, and it is
trained once. Training and testing are cells of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

from configs.optimisers import OptimiserName, schedule
from configs.scales import ScaleName
from reports.published import (
    COMPOSITE,
    COMPOSITE_CONDITIONAL,
    CONDITIONAL_FUTURE_PREDICTOR,
    FUTURE_PREDICTOR,
)
from tasks.cell import Cell
from tasks.data.dataset import Unlabelled
from tasks.data.glyphs import BUILT_IN
from tasks.data.moving_digits import MovingDigits, TestSet, moving_digits
from tasks.data.moving_mnist import Speed
from tasks.encoders import LSTM
from tasks.pretrain import Decoder, Pretrain, TrainingPrecision
from tasks.registry import load

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


Data: TypeAlias = Literal["digits", "patches"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes and schedules of the unsupervised models."""

    units: int
    steps: int
    batch: int
    rate: float | None
    """Peak learning rate; None where the optimiser has its own."""
    test_sequences: int
    precision: TrainingPrecision
    optimiser: OptimiserName = "modern"


SIZES: Mapping[Data, Mapping[ScaleName, Sizes]] = {
    "digits": {
        "demo": Sizes(
            units=256, steps=1500, batch=32, rate=2e-3, test_sequences=512, precision="float32"
        ),
        "paper": Sizes(
            units=2048,
            steps=150_000,
            batch=128,
            rate=5e-4,
            test_sequences=10_000,
            precision="bfloat16",
        ),
    },
    "patches": {
        "demo": Sizes(
            units=128, steps=800, batch=32, rate=2e-3, test_sequences=512, precision="float32"
        ),
        "paper": Sizes(
            units=2048,
            steps=150_000,
            batch=128,
            rate=5e-4,
            test_sequences=10_000,
            precision="bfloat16",
        ),
    },
}
SCORED_ON = 512
"""Held-out sequences that a training is scored on by itself, whatever `test_sequences` says: see `_model`."""
BATCH_IN_2015 = 80
"""Sequences a step in the authors' code."""


def sized(
    scale: ScaleName,
    data: Data = "digits",
    *,
    optimiser: OptimiserName = "modern",
    **chosen: object,
) -> Sizes:
    """A scale's sizes with what was chosen by hand in place of its own; None stands for nothing chosen.

    With optimiser=as_in_2015 batch and rate are the authors', unless chosen.

    Raises:
        ValueError: for a name that is no scale.
    """
    if scale not in SIZES[data]:
        raise ValueError(f"scale={scale}: choose from {', '.join(SIZES[data])}")
    by_hand: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    own = {"batch": BATCH_IN_2015, "rate": None} if optimiser == "as_in_2015" else {}
    return replace(SIZES[data][scale], **{**own, **by_hand}, optimiser=optimiser)


BUILT_IN_PATCHES = "panned_photos"
GLYPHS: Mapping[ScaleName, str] = {"demo": BUILT_IN, "paper": "mnist"}
PATCHES: Mapping[ScaleName, str] = {"demo": BUILT_IN_PATCHES, "paper": "ucf101"}


def find_digits(
    glyphs: str | None, scale: ScaleName, *, speed: Speed, test_set: TestSet, num_digits: int = 2
) -> MovingDigits:
    """Moving digits, of the scale's own glyphs where none are named.

    Raises:
        ValueError: when they are not there, in one sentence.
    """
    return moving_digits(
        glyphs or _own(GLYPHS, scale), num_digits=num_digits, speed=speed, test_set=test_set
    )


def find_patches(name: str | None, scale: ScaleName = "demo") -> Unlabelled:
    """Image patches by name.

    Args:
        name: "panned_photos" (built in), or an indexed set with a store of patches; None for the scale's own.
        scale: which that is.

    Raises:
        ValueError: when there is no such set or it has no store of patches, in one sentence.
    """
    name = name or _own(PATCHES, scale)
    if name == BUILT_IN_PATCHES:
        built_in: Unlabelled = load("tasks.data.panned_photos:PannedPhotos")()
        return built_in
    found: Unlabelled = load("tasks.data.patches:find_patches")(name)
    return found


def _own(names: Mapping[ScaleName, str], scale: ScaleName) -> str:
    """A scale's own data.

    Raises:
        ValueError: for a name that is no scale.
    """
    if scale not in names:
        raise ValueError(f"scale={scale}: choose from {', '.join(names)}")
    return names[scale]


def digits_model(
    data: Unlabelled, model: str, sizes: Sizes, *, layers: int = 2, seed: int = 0
) -> Cell:
    """The training of a model of moving digits; what it is tested on is for other cells to say (`tasks.evaluate`).

    Args:
        data: moving digits. An official test file is left out: the same cell with and without one.
        model: a name of `MODELS`.
        sizes: units and schedule; not `test_sequences`.
        layers: of encoder and decoders.
        seed: of weights and training sequences.
    """
    if isinstance(data, MovingDigits):
        data = replace(data, test_file=None)
    return _model(data, model, sizes, DIGIT_FRAMES, layers=layers, seed=seed)


def patches_model(
    data: Unlabelled, model: str, sizes: Sizes, *, layers: int = 2, seed: int = 0
) -> Cell:
    """The training of a model of image patches; arguments as for `digits_model`."""
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
    """A training cell, whose key nothing alters that concerns evaluation alone: what is tested on may change every day."""
    reconstruct, predict_future = MODELS[model]
    return Cell(
        task=Pretrain(
            dataset=data,
            encoder=LSTM(units=sizes.units, layers=layers),
            reconstruct=reconstruct,
            predict_future=predict_future,
            input_frames=frames[0],
            future_frames=frames[1],
            schedule=schedule(
                sizes.optimiser,
                steps=sizes.steps,
                batch_size=sizes.batch,
                learning_rate=sizes.rate,
            ),
            precision=sizes.precision,
            test_sequences=SCORED_ON,
        ),
        seed=seed,
        label=model,
    )


def _meaning(name: str, what: str) -> str:
    """A knob's meaning with its value at each scale, that of patches too where it is another."""

    def text(value: object) -> str:
        return f"{value:,}" if isinstance(value, int | float) else str(value)

    values = []
    for scale, sizes in SIZES["digits"].items():
        of_digits, of_patches = (getattr(each, name) for each in (sizes, SIZES["patches"][scale]))
        other = "" if of_patches == of_digits else f", on patches {text(of_patches)}"
        values.append(f"{scale} {text(of_digits)}{other}")
    return f"{what} ({'; '.join(values)})"


# Knobs that every experiment of this half has; None is what the scale says.
Glyphs: TypeAlias = Annotated[
    str | None,
    "what moves: digits (built in), mnist (`harness data fetch mnist`), or a folder of idx files (demo digits; paper mnist)",
]
SpeedKnob: TypeAlias = Annotated[
    Speed, "pixels a frame: one value, as in the official test file, or drawn from a range"
]
TestSetKnob: TypeAlias = Annotated[
    TestSet, "what is tested on: the official file if it is there (auto), it or nothing, or drawn"
]
PatchesKnob: TypeAlias = Annotated[
    str | None,
    "image patches: panned_photos (built in), or an indexed set with a store of patches (demo panned_photos; paper ucf101)",
]
Units: TypeAlias = Annotated[int | None, _meaning("units", "units of an LSTM layer")]
Steps: TypeAlias = Annotated[int | None, _meaning("steps", "optimiser steps")]
Batch: TypeAlias = Annotated[int | None, _meaning("batch", "sequences a step")]
Rate: TypeAlias = Annotated[float | None, _meaning("rate", "peak learning rate")]
TestSequences: TypeAlias = Annotated[
    int | None,
    _meaning(
        "test_sequences",
        "held-out sequences that losses are averaged over; nothing is trained for it",
    ),
]
PrecisionKnob: TypeAlias = Annotated[
    TrainingPrecision | None,
    _meaning("precision", "numbers in which matrix products of training are computed"),
]
OptimiserKnob: TypeAlias = Annotated[
    OptimiserName, "AdamW with warm-up and cosine, or the authors' momentum (batch and rate too)"
]
Layers: TypeAlias = Annotated[Literal[1, 2], "layers of encoder and decoders"]
Show: TypeAlias = Annotated[int, "held-out sequences that are drawn"]
