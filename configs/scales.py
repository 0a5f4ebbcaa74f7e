"""The sizes at which an experiment is run, by name: `--set scale=paper`.

What the paper states is its own: 2 layers of 2048 units, 13 future frames, three splits. It states no steps, batches
or rates. Those of `paper` come from its hours: pretraining took 18 to 20 hours and a classifier 5 to 15 minutes on a
Titan; at half of that card's 5 TFLOP/s this is 75,000 steps of 128 sequences, and 1,500 steps of 128 blocks. They
were not tuned: nobody has run this code on the paper's videos yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

ScaleName: TypeAlias = Literal["demo", "paper"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Sizes and schedules."""

    splits: tuple[int, ...]
    units: int
    layers: int
    pretrain_steps: int
    pretrain_batch: int
    pretrain_rate: float
    finetune_steps: int
    finetune_steps_few: int
    finetune_batch: int
    finetune_rate: float
    single_frame_steps: int


SCALES: Mapping[ScaleName, Scale] = {
    "demo": Scale(
        splits=(1,),
        units=128,
        layers=2,
        pretrain_steps=2000,
        pretrain_batch=32,
        pretrain_rate=4e-3,
        finetune_steps=250,
        finetune_steps_few=150,
        finetune_batch=16,
        finetune_rate=3e-3,
        single_frame_steps=300,
    ),
    "paper": Scale(
        splits=(1, 2, 3),
        units=2048,
        layers=2,
        pretrain_steps=75_000,
        pretrain_batch=128,
        pretrain_rate=5e-4,
        finetune_steps=1500,
        finetune_steps_few=500,
        finetune_batch=128,
        finetune_rate=5e-4,
        single_frame_steps=3000,
    ),
}


def scaled(name: ScaleName, **chosen: object) -> Scale:
    """A scale with what was chosen by hand in place of its own; None stands for nothing chosen.

    Raises:
        ValueError: for a name that is no scale.
    """
    if name not in SCALES:
        raise ValueError(f"scale={name}: choose from {', '.join(SCALES)}")
    by_hand: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    return replace(SCALES[name], **by_hand)


def _meaning(name: str, what: str) -> str:
    """A knob's meaning with its value at each scale."""

    def text(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}"

    values = ", ".join(f"{key} {text(getattr(scale, name))}" for key, scale in SCALES.items())
    return f"{what} ({values})"


# Knobs that every experiment of this kind has; None is what the scale says.
ScaleKnob: TypeAlias = Annotated[ScaleName, "sizes of all that is not set by itself"]
Splits: TypeAlias = Annotated[
    tuple[int, ...] | None,
    _meaning("splits", "official splits; each is tested on its own test list"),
]
Units: TypeAlias = Annotated[int | None, _meaning("units", "units of an LSTM layer")]
Layers: TypeAlias = Annotated[int | None, _meaning("layers", "layers of encoder and decoders")]
PretrainSteps: TypeAlias = Annotated[
    int | None, _meaning("pretrain_steps", "optimiser steps of pretraining")
]
PretrainBatch: TypeAlias = Annotated[
    int | None, _meaning("pretrain_batch", "unlabelled sequences a step")
]
PretrainRate: TypeAlias = Annotated[
    float | None, _meaning("pretrain_rate", "peak learning rate of pretraining")
]
FinetuneSteps: TypeAlias = Annotated[
    int | None, _meaning("finetune_steps", "optimiser steps of a classifier")
]
FinetuneStepsFew: TypeAlias = Annotated[
    int | None, _meaning("finetune_steps_few", "the same, with at most 4 labelled videos per class")
]
FinetuneBatch: TypeAlias = Annotated[
    int | None, _meaning("finetune_batch", "labelled blocks a step")
]
FinetuneRate: TypeAlias = Annotated[
    float | None, _meaning("finetune_rate", "peak learning rate of a classifier")
]
SingleFrameSteps: TypeAlias = Annotated[
    int | None, _meaning("single_frame_steps", "optimiser steps of the logistic regression")
]
