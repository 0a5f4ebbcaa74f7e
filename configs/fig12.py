"""Fig. 12: accuracy as the number of labelled videos per class is varied (sec. 3.3).

Three methods: logistic regression on single frames, the LSTM classifier from random weights, and the same classifier
from the weights of a Composite model that was pretrained on unlabelled video. Error bars are over 10 samples of
training sets. The paper's fixed points, one labelled video per class: UCF-101 29.6 % -> 34.3 %, HMDB-51 14.4 % ->
19.1 %; all labels: UCF-101 74.5 -> 75.8, HMDB-51 42.8 -> 44.0 (Tables 1 and 3 say 44.1). What to expect on the
built-in digits is in docs/first-run.md.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Literal

from configs.data import check_alike, find_dataset
from configs.experiment import Experiment
from reports.evidence import Evidence
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from tasks.cell import Cell
from tasks.encoders import LSTM, EncoderSpec
from tasks.fewshot import FewShot
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.single_frame import SingleFrame
from tasks.subset import Subset

FEW = 4
"""Up to so many labelled videos per class a classifier needs fewer steps; more only cost time (LOG.md)."""

ONE_PRETRAINING = (
    "One pretrained model serves all resamples, as in the paper: what another seed of pretraining would give is not in the "
    "error bars."
)

Method = Literal["single_frame", "lstm", "pretrained"]


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.fig12 import draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, formats)


def fig12(
    *,
    dataset: Annotated[
        str, "labelled videos: digits, or a set made by `harness data index`"
    ] = "digits",
    percepts: Annotated[
        str, "of an indexed set: its store of percepts, by the first letters of its name"
    ] = "",
    pretrain_on: Annotated[str, "unlabelled videos to pretrain on; empty: the same dataset"] = "",
    pretrain_percepts: Annotated[str, "the store of percepts of pretrain_on"] = "",
    methods: Annotated[tuple[Method, ...], "which curves"] = ("single_frame", "lstm", "pretrained"),
    shots: Annotated[tuple[int | Literal["all"], ...], "labelled videos per class"] = (
        1,
        2,
        4,
        8,
        16,
        "all",
    ),
    resamples: Annotated[int, "resampled subsets per number of labels"] = 10,
    splits: Annotated[tuple[int, ...], "official splits; each is tested on its own test list"] = (
        1,
    ),
    units: Annotated[int, "units of an LSTM layer (paper: 2048)"] = 128,
    layers: Annotated[int, "layers of encoder and decoders (paper: 2)"] = 2,
    dropout: Annotated[
        float, "ratio of dropped activations in the classifiers (paper: not stated)"
    ] = 0.2,
    future_frames: Annotated[int, "frames that pretraining predicts (paper: 13)"] = 13,
    pretrain_steps: Annotated[int, "optimiser steps of pretraining"] = 2000,
    pretrain_batch: Annotated[int, "unlabelled sequences a step"] = 32,
    pretrain_rate: Annotated[float, "peak learning rate of pretraining"] = 4e-3,
    finetune_steps: Annotated[int, "optimiser steps of a classifier"] = 250,
    finetune_steps_few: Annotated[int, "the same, with at most 4 labelled videos per class"] = 150,
    finetune_batch: Annotated[int, "labelled 16-frame blocks a step"] = 16,
    finetune_rate: Annotated[float, "peak learning rate of a classifier"] = 3e-3,
    single_frame_steps: Annotated[int, "optimiser steps of the logistic regression"] = 300,
    encoder: EncoderSpec | None = None,
) -> Experiment:
    """Few-shot accuracy with and without unsupervised pretraining.

    Args:
        dataset: see the knobs (`harness describe fig12`).
        percepts: the store of percepts of an indexed set.
        pretrain_on: unlabelled videos; empty for the same dataset.
        pretrain_percepts: the store of percepts of pretrain_on.
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
        finetune_steps_few: the same, with at most FEW labelled videos per class.
        finetune_batch: labelled blocks a step.
        finetune_rate: peak learning rate of a classifier.
        single_frame_steps: optimiser steps of the logistic regression.
        encoder: an encoder of your own (`tasks.encoders.own`) in place of the LSTM stack, for Python callers; `units`
            and `layers` are then those of the decoders that start from it.

    Raises:
        ValueError: for a value outside its range, before anything is run.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: a curve needs at least 1")
    for name, given in (("methods", methods), ("shots", shots), ("splits", splits)):
        if len(set(given)) < len(given) or not given:
            raise ValueError(
                f"{name}={','.join(map(str, given))}: name at least one, and each once"
            )
    data = find_dataset(dataset, percepts)
    unlabelled = find_dataset(pretrain_on, pretrain_percepts) if pretrain_on else data
    check_alike(data, unlabelled)
    paper = LSTM(units=units, layers=layers)
    spec: EncoderSpec = paper if encoder is None else replace(encoder, units=units, layers=layers)  # type: ignore[type-var]
    pretrained = Cell(
        task=Pretrain(
            dataset=unlabelled,
            encoder=spec,
            future_frames=future_frames,
            schedule=Schedule(
                steps=pretrain_steps,
                batch_size=pretrain_batch,
                learning_rate=pretrain_rate,
                warmup_steps=min(100, pretrain_steps // 10),
                clip_norm=200.0,
            ),
        ),
    )

    def finetuning(many: int | Literal["all"]) -> Schedule:
        steps = finetune_steps if many == "all" or many > FEW else finetune_steps_few
        return Schedule(
            steps=steps,
            batch_size=finetune_batch,
            learning_rate=finetune_rate,
            weight_decay=1e-3,
            warmup_steps=steps // 10,
            clip_norm=20.0,
        )

    regression = Schedule(
        steps=single_frame_steps, batch_size=128, learning_rate=1e-2, weight_decay=1e-2
    )
    cells = []
    for split in splits:
        for many in shots:
            for resample in range(resamples):
                subset = Subset(
                    dataset=data,
                    split=split,
                    shots=None if many == "all" else many,
                    resample=resample,
                )
                for method in methods:
                    if method == "single_frame":
                        cell = Cell(
                            task=SingleFrame(subset=subset, schedule=regression),
                            seed=resample,
                            label=SINGLE_FRAME,
                        )
                    else:
                        task = FewShot(
                            subset=subset, encoder=spec, dropout=dropout, schedule=finetuning(many)
                        )
                        needs, label = (
                            ((pretrained,), PRETRAINED)
                            if method == "pretrained"
                            else ((), BASELINE)
                        )
                        cell = Cell(
                            task=task,
                            seed=resample,
                            needs=needs,
                            label=label.replace("LSTM", spec.title),
                        )
                    cells.append(cell)
    return Experiment(
        title=f"Effect of pretraining against the number of labelled videos, {dataset}",
        cells=tuple(cells),
        draw=_draw,
        chance={data.name: 100.0 / len(data.classes)},
        notes=(
            *data.notes,
            *(unlabelled.notes if unlabelled != data else ()),
            *((ONE_PRETRAINING,) if "pretrained" in methods else ()),
        ),
    )
