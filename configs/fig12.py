"""Fig. 12: accuracy as the number of labelled videos per class is varied (sec. 3.3).

Three methods: logistic regression on single frames, the LSTM classifier from random weights, and the same classifier
from the weights of a Composite model that was pretrained on unlabelled video. Error bars are over 10 samples of
training sets. The paper's fixed points, one labelled video per class: UCF-101 29.6 % -> 34.3 %, HMDB-51 14.4 % ->
19.1 %; all labels: UCF-101 74.5 -> 75.8, HMDB-51 42.8 -> 44.0 (Tables 1 and 3 say 44.1). What to expect on the
built-in digits is in docs/first-run.md.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from configs.cells import (
    ONE_PRETRAINING,
    Shots,
    classifier,
    pretraining,
    regression,
    subset_of,
)
from configs.data import check_alike, find_dataset, find_labelled, notes_on_pretraining, texts
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
    ScaleName,
    SingleFrameSteps,
    Splits,
    Units,
    scaled,
)
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.data.dataset import Dataset
from tasks.encoders import LSTM, EncoderSpec

PAPER_SHOTS: dict[str, tuple[Shots, ...]] = {
    "ucf101": (1, 2, 4, 10, 20, 50, "all"),
    "hmdb51": (1, 2, 4, 8, 16, 32, "all"),
}
"""The paper draws its points and does not list them; 1, 10 ("small" UCF-101), 4 ("small" HMDB-51) and all it names."""
SHOTS = (1, 2, 4, 8, 16)

Method = Literal["single_frame", "lstm", "pretrained"]


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.fig12 import FORMATS, draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, [form for form in FORMATS if form in formats])


def fig12(
    *,
    dataset: Annotated[
        tuple[str, ...],
        "labelled videos: digits, or sets made by `harness data index`; a panel each",
    ] = ("digits",),
    percepts: Annotated[
        tuple[str, ...],
        "of indexed sets: the store of percepts by the first letters of its name, one for all or one each",
    ] = (),
    pretrain_on: Annotated[str, "unlabelled videos to pretrain on; empty: the same dataset"] = "",
    pretrain_percepts: Annotated[str, "the store of percepts of pretrain_on"] = "",
    scale: ScaleKnob = "demo",
    methods: Annotated[tuple[Method, ...], "which curves"] = ("single_frame", "lstm", "pretrained"),
    shots: Annotated[
        tuple[Shots, ...] | None,
        "labelled videos per class (1,2,4,8,16,all as far as classes are so large; scale=paper: those of the paper)",
    ] = None,
    resamples: Annotated[int, "resampled subsets per number of labels"] = 10,
    splits: Splits = None,
    units: Units = None,
    layers: Layers = None,
    dropout: Annotated[
        float, "ratio of dropped activations in the classifiers (paper: not stated)"
    ] = 0.2,
    future_frames: Annotated[int, "frames that pretraining predicts (paper: 13)"] = 13,
    pretrain_steps: PretrainSteps = None,
    pretrain_batch: PretrainBatch = None,
    pretrain_rate: PretrainRate = None,
    finetune_steps: FinetuneSteps = None,
    finetune_steps_few: FinetuneStepsFew = None,
    finetune_batch: FinetuneBatch = None,
    finetune_rate: FinetuneRate = None,
    single_frame_steps: SingleFrameSteps = None,
    encoder: EncoderSpec | None = None,
) -> Experiment:
    """Few-shot accuracy with and without unsupervised pretraining.

    Args:
        dataset: see the knobs (`harness describe fig12`).
        percepts: the stores of percepts of indexed sets.
        pretrain_on: unlabelled videos; empty for the same dataset.
        pretrain_percepts: the store of percepts of pretrain_on.
        scale: sizes of all that is not set by itself.
        methods: which curves.
        shots: labelled videos per class.
        resamples: resampled subsets per number of labels.
        splits: official splits.
        units: units of an LSTM layer.
        layers: layers of encoder and decoders.
        dropout: of the classifiers.
        future_frames: frames that pretraining predicts.
        pretrain_steps: optimiser steps of pretraining.
        pretrain_batch: unlabelled sequences a step.
        pretrain_rate: peak learning rate of pretraining.
        finetune_steps: optimiser steps of a classifier.
        finetune_steps_few: the same, with at most `configs.cells.FEW` labelled videos per class.
        finetune_batch: labelled blocks a step.
        finetune_rate: peak learning rate of a classifier.
        single_frame_steps: optimiser steps of the logistic regression.
        encoder: an encoder of your own (`tasks.encoders.own`) in place of the LSTM stack, for Python callers; `units`
            and `layers` are then those of the decoders that start from it.

    Raises:
        ValueError: for a value outside its range, before anything is run.
    """
    dataset, percepts = texts(dataset), texts(percepts)
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
        single_frame_steps=single_frame_steps,
    )
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: a curve needs at least 1")
    for name, given in (
        *(("dataset", dataset), ("methods", methods), ("splits", sizes.splits)),
        *((("shots", shots),) if shots is not None else ()),
    ):
        if len(set(given)) < len(given) or not given:
            raise ValueError(
                f"{name}={','.join(map(str, given))}: name at least one, and each once"
            )
    paper = LSTM(units=sizes.units, layers=sizes.layers)
    spec: EncoderSpec = (
        paper if encoder is None else replace(encoder, units=sizes.units, layers=sizes.layers)  # type: ignore[type-var]
    )
    cells: list[Cell] = []
    notes: list[str] = []
    chance: dict[str, float] = {}
    by_scale = scale if splits is None else ""
    for data in _datasets(dataset, percepts, sizes.splits, by_scale):
        unlabelled = (
            find_dataset(pretrain_on, pretrain_percepts, "pretrain_percepts")
            if pretrain_on
            else data
        )
        check_alike(data, unlabelled)
        start = pretraining(unlabelled, spec, sizes, future_frames=future_frames)
        for split in sizes.splits:
            for many in shots or _shots(data, sizes.splits, scale):
                for resample in range(resamples):
                    subset = subset_of(data, split, many, resample)
                    for method in methods:
                        if method == "single_frame":
                            cells.append(regression(subset, sizes))
                            continue
                        needed = start if method == "pretrained" else None
                        cells.append(classifier(subset, spec, sizes, dropout=dropout, start=needed))
        chance[data.name] = 100.0 / len(data.classes)
        notes += [*data.notes, *(unlabelled.notes if unlabelled != data else ())]
        if "pretrained" in methods:
            notes += notes_on_pretraining(data, unlabelled)
    if "pretrained" in methods:
        notes.append(ONE_PRETRAINING)
    return Experiment(
        title=f"Effect of pretraining against the number of labelled videos, {', '.join(dataset)}",
        cells=tuple(cells),
        draw=_draw,
        chance=chance,
        notes=tuple(dict.fromkeys(notes)),
    )


def _datasets(
    names: Sequence[str], percepts: Sequence[str], splits: Sequence[int], by_scale: str
) -> list[Dataset]:
    """The datasets, each with its store."""
    if len(percepts) not in (0, 1, len(names)):
        raise ValueError(
            f"percepts={','.join(percepts)}: name one store for all, or one for each of dataset={','.join(names)}"
        )
    stores = percepts if len(percepts) == len(names) else [*percepts, ""][:1] * len(names)
    return [
        find_labelled(name, store, "percepts", splits, by_scale=by_scale)
        for name, store in zip(names, stores, strict=True)
    ]


def _shots(data: Dataset, splits: Sequence[int], scale: ScaleName) -> tuple[Shots, ...]:
    """Numbers of labelled videos per class for who names none."""
    if scale == "paper" and data.name in PAPER_SHOTS:
        return PAPER_SHOTS[data.name]
    check = [split for split in splits if split in data.splits]
    counts = [Counter(video.label for video in data.train(split)) for split in check]
    smallest = min((min(count.values()) for count in counts), default=0)
    return (*(many for many in SHOTS if many < smallest), "all")
