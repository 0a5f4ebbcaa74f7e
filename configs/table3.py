"""Table 3: kinds of unsupervised pretraining, by what the classifier makes of them (sec. 3.4).

Rows are the LSTM classifier from random weights and from those of six models: Autoencoder, Future Predictor, both with a
conditional decoder, Composite, and Composite with a conditional future predictor. Columns are a few labelled videos per
class, resampled ten times on every split, and all of them. Published, UCF-101 small (10 per class), UCF-101, HMDB-51 small
(4), HMDB-51: baseline 63.7, 74.5, 25.3, 42.8; Composite 67.0, 75.8, 29.1, 44.1; all seven rows stand in reports/published.py.
What to expect on the built-in digits is in docs/tables.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

from configs.cells import ONE_PRETRAINING, Shots, classifier, subset_of
from configs.data import texts
from configs.experiment import Experiment
from configs.scales import (
    FinetuneBatch,
    FinetuneRate,
    FinetuneSteps,
    FinetuneStepsFew,
    Layers,
    PretrainBatch,
    PretrainRate,
    PretrainSteps,
    ScaleKnob,
    Splits,
    Units,
    scaled,
)
from configs.streams import (
    RGB,
    Datasets,
    DropoutKnob,
    FutureFrames,
    PretrainOn,
    PretrainRgb,
    RgbStores,
    Sets,
    chance_of,
    check_once,
    check_resamples,
    stores_of,
)
from reports.evidence import Evidence
from reports.published import BASELINE, PRETRAINED
from tasks.cell import Cell
from tasks.pretrain import Decoder

SMALL: Mapping[str, int] = {"ucf101": 10, "hmdb51": 4}
"""Labelled videos per class of the paper's small sets."""
SMALL_OF_OTHERS = 4

Method = Literal[
    "lstm",
    "autoencoder",
    "future",
    "conditional_autoencoder",
    "conditional_future",
    "composite",
    "composite_conditional_future",
]


class Pretrained(NamedTuple):
    """A row's name, and the model that it starts from."""

    label: str
    reconstruct: Decoder
    predict_future: Decoder


def _row(model: str, reconstruct: Decoder, predict_future: Decoder) -> Pretrained:
    return Pretrained(f"{BASELINE} + {model} pretraining", reconstruct, predict_future)


ROWS: Mapping[Method, Pretrained | None] = {
    "lstm": None,
    "autoencoder": _row("Autoencoder", "unconditioned", "none"),
    "future": _row("Future Predictor", "none", "unconditioned"),
    "conditional_autoencoder": _row("Conditional Autoencoder", "conditional", "none"),
    "conditional_future": _row("Conditional Future Predictor", "none", "conditional"),
    "composite": Pretrained(PRETRAINED, "unconditioned", "unconditioned"),
    "composite_conditional_future": _row(
        "Composite with Conditional Future Predictor", "unconditioned", "conditional"
    ),
}
"""The paper's rows in its order, named as in reports/published.py."""


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.accuracy_tables import TABLE3, draw  # pandas: only when something is drawn

    return draw(evidence, formats, TABLE3)


def table3(
    *,
    dataset: Datasets = ("digits",),
    rgb: RgbStores = (),
    pretrain_on: PretrainOn = "",
    pretrain_rgb: PretrainRgb = (),
    scale: ScaleKnob = "demo",
    methods: Annotated[tuple[Method, ...], "which rows"] = tuple(ROWS),
    columns: Annotated[tuple[Literal["small", "all"], ...], "which columns of each dataset"] = (
        "small",
        "all",
    ),
    small: Annotated[
        tuple[int, ...],
        "labelled videos per class of the small columns, one number for all datasets or one each (ucf101 10; others 4)",
    ] = (),
    resamples: Annotated[int, "resampled subsets of the small columns (paper: 10)"] = 10,
    splits: Splits = None,
    units: Units = None,
    layers: Layers = None,
    dropout: DropoutKnob = 0.2,
    future_frames: FutureFrames = 13,
    pretrain_steps: PretrainSteps = None,
    pretrain_batch: PretrainBatch = None,
    pretrain_rate: PretrainRate = None,
    finetune_steps: FinetuneSteps = None,
    finetune_steps_few: FinetuneStepsFew = None,
    finetune_batch: FinetuneBatch = None,
    finetune_rate: FinetuneRate = None,
) -> Experiment:
    """Accuracy of the LSTM classifier after seven beginnings, with few labels and with all.

    Args:
        dataset: see the knobs (`harness describe table3`).
        rgb: the stores of RGB percepts of indexed sets.
        pretrain_on: unlabelled videos; empty for the same dataset.
        pretrain_rgb: their stores of RGB percepts.
        scale: sizes of all that is not set by itself.
        methods: which rows.
        columns: which columns of each dataset.
        small: labelled videos per class of the small columns.
        resamples: resampled subsets of the small columns.
        splits: official splits.
        units: units of an LSTM layer.
        layers: layers of encoder and decoders.
        dropout: of the classifiers.
        future_frames: frames that pretraining predicts.
        pretrain_steps: optimiser steps of pretraining.
        pretrain_batch: unlabelled sequences a step.
        pretrain_rate: peak learning rate of pretraining.
        finetune_steps: optimiser steps of a classifier.
        finetune_steps_few: the same, with few labels.
        finetune_batch: labelled blocks a step.
        finetune_rate: peak learning rate of a classifier.

    Raises:
        ValueError: for a value outside its range, before anything is run.
    """
    sizes = scaled(
        scale,
        splits=splits,
        units=units,
        layers=layers,
        pretrain_steps=pretrain_steps,
        pretrain_batch=pretrain_batch,
        pretrain_rate=pretrain_rate,
        finetune_steps=finetune_steps,
        finetune_steps_few=finetune_steps_few,
        finetune_batch=finetune_batch,
        finetune_rate=finetune_rate,
    )
    check_resamples(resamples)
    check_once(methods=methods, columns=columns)
    sets = Sets(names=texts(dataset), sizes=sizes, by_scale=scale if splits is None else "")
    few = _small(sets.names, small)
    found = sets.frames(stores_of(RGB, rgb, pretrain_on, pretrain_rgb))
    pretrained = methods != ("lstm",)
    cells: list[Cell] = []
    notes: list[str] = []
    for name, by_split in found.items():
        wanted: list[tuple[Shots, int]] = [
            *((few[name], resample) for resample in range(resamples) if "small" in columns),
            *((("all", 0),) if "all" in columns else ()),
        ]
        for split, frames in by_split.items():
            for many, resample in wanted:
                subset = subset_of(frames.data, split, many, resample)
                for method in methods:
                    row, start = ROWS[method], None
                    if row is not None:
                        start = frames.pretraining(
                            sizes,
                            future_frames=future_frames,
                            reconstruct=row.reconstruct,
                            predict_future=row.predict_future,
                        )
                    cell = classifier(subset, frames.encoder, sizes, dropout=dropout, start=start)
                    cells.append(cell if row is None else replace(cell, label=row.label))
            notes += frames.notes(pretrained=pretrained)
    if "small" in columns:
        if pretrained:
            notes.append(ONE_PRETRAINING)
        numbers = ", ".join(f"{name} {many}" for name, many in few.items())
        notes.append(f"Labelled videos per class of small columns: {numbers}.")
    return Experiment(
        title=f"Kinds of unsupervised pretraining, {', '.join(sets.names)}",
        cells=tuple(cells),
        draw=_draw,
        chance=chance_of(found),
        notes=tuple(dict.fromkeys(notes)),
    )


def _small(names: tuple[str, ...], given: tuple[int, ...]) -> dict[str, int]:
    """Labelled videos per class of every dataset's small column.

    Raises:
        ValueError: unless one number is given for all, one each, or none; and for a number below 1.
    """
    if not given:
        return {name: SMALL.get(name, SMALL_OF_OTHERS) for name in names}
    if len(given) not in (1, len(names)) or min(given) < 1:
        raise ValueError(
            f"small={','.join(map(str, given))}: give one number of at least 1 for all, or one for each of "
            f"dataset={','.join(names)}"
        )
    return dict(zip(names, given * (len(names) if len(given) == 1 else 1), strict=True))
