"""RGB, flow, and both: split-wise accuracy of each stream and of their fusion (sec. 3.3, Table 4).

Each stream's classifier is trained on a split's training list and tested on that split's test list; their probabilities
are averaged by video id, weighted. On flow the paper's classifiers have 128 units and read 4 frames at a time. It
states no weights of the fusion; ours are (RGB + 2 flow) / 3, fixed beforehand. Published: UCF-101, Composite
pretraining, RGB 75.8, stacks of 10 flows 77.7, both 84.3 %.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from configs.cells import Shots, classifier, pretraining, subset_of
from configs.data import (
    check_alike,
    check_same_flow,
    find_dataset,
    find_labelled,
    notes_on_pretraining,
    texts,
)
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
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.data.dataset import Dataset
from tasks.encoders import LSTM
from tasks.fusion import fused

RGB, FLOW, BOTH = ", RGB", ", flow", ", RGB + flow"
"""What the labels of methods end in."""

Method = Literal["lstm", "pretrained"]


class _Stream(NamedTuple):
    """One stream's percepts, and what is trained on them."""

    suffix: str
    data: Dataset
    encoder: LSTM
    block: int
    start: Cell


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.two_stream import draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, formats)


def two_stream(
    *,
    dataset: Annotated[
        str, "a set that `harness data index` has made, with percepts of both streams"
    ],
    rgb: Annotated[str, "its store of RGB percepts, by the first letters of its name"] = "rgb",
    flow: Annotated[
        tuple[str, ...],
        "its stores of flow percepts, by the first letters of their names: one for all splits, or one for each",
    ] = ("flow",),
    pretrain_on: Annotated[str, "unlabelled videos to pretrain on; empty: the same dataset"] = "",
    pretrain_rgb: Annotated[str, "the store of RGB percepts of pretrain_on"] = "rgb",
    pretrain_flow: Annotated[
        tuple[str, ...], "the stores of flow percepts of pretrain_on, as many as of flow"
    ] = ("flow",),
    scale: ScaleKnob = "demo",
    methods: Annotated[tuple[Method, ...], "from random weights, or pretrained"] = (
        "lstm",
        "pretrained",
    ),
    shots: Annotated[tuple[Shots, ...], "labelled videos per class"] = ("all",),
    resamples: Annotated[int, "resampled subsets per number of labels (of all: seeds)"] = 1,
    splits: Splits = None,
    rgb_weight: Annotated[
        float, "of RGB in the fusion; flow has the rest, never chosen by test scores"
    ] = 1 / 3,
    units: Units = None,
    flow_units: Annotated[int, "units of an LSTM layer on flow (paper: 128)"] = 128,
    flow_block: Annotated[int, "frames that a classifier of flow reads at a time (paper: 4)"] = 4,
    layers: Layers = None,
    dropout: Annotated[float, "ratio of dropped activations in the classifiers"] = 0.2,
    future_frames: Annotated[int, "frames that pretraining predicts (paper: 13)"] = 13,
    pretrain_steps: PretrainSteps = None,
    pretrain_batch: PretrainBatch = None,
    pretrain_rate: PretrainRate = None,
    finetune_steps: FinetuneSteps = None,
    finetune_steps_few: FinetuneStepsFew = None,
    finetune_batch: FinetuneBatch = None,
    finetune_rate: FinetuneRate = None,
) -> Experiment:
    """Accuracy of RGB, flow, and their fusion, split by split.

    Args:
        dataset: the set's name.
        rgb: its store of RGB percepts.
        flow: its stores of flow percepts. A net that was trained on the labels of a split serves that split alone, so
            percepts of the temporal stream need one for each.
        pretrain_on: unlabelled videos; empty for the same dataset.
        pretrain_rgb: the store of RGB percepts of pretrain_on.
        pretrain_flow: the stores of flow percepts of pretrain_on.
        scale: sizes of all that is not set by itself.
        methods: from random weights, or pretrained.
        shots: labelled videos per class.
        resamples: resampled subsets per number of labels.
        splits: official splits.
        rgb_weight: of RGB in the fusion, between 0 and 1.
        units: units of an LSTM layer on RGB.
        flow_units: units of an LSTM layer on flow.
        flow_block: frames that a classifier of flow reads at a time.
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
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: there is at least 1")
    if not 0 <= rgb_weight <= 1:
        raise ValueError(f"rgb_weight={rgb_weight}: it lies between 0 and 1, flow has the rest")
    for name, given in (("methods", methods), ("shots", shots), ("splits", sizes.splits)):
        if len(set(given)) < len(given) or not given:
            raise ValueError(
                f"{name}={','.join(map(str, given))}: name at least one, and each once"
            )
    flow, pretrain_flow = texts(flow), texts(pretrain_flow)
    for name, stores in (("flow", flow), ("pretrain_flow", pretrain_flow)):
        if len(stores) not in (1, len(sizes.splits)):
            raise ValueError(
                f"{name}={','.join(stores)}: name one store for all splits, or one for each of "
                f"splits={','.join(map(str, sizes.splits))}"
            )
    by_scale = scale if splits is None else ""
    notes: list[str] = []

    @lru_cache
    def stream(suffix: str, store: str, other: str, split: int | None) -> _Stream:
        of_flow = suffix == FLOW
        knob = "flow" if of_flow else "rgb"
        asked = sizes.splits if split is None else (split,)
        data = find_labelled(dataset, store, knob, asked, by_scale=by_scale)
        if data.stream.startswith("flow") != of_flow:
            raise ValueError(
                f"{knob}={store}: these percepts of {dataset} are of the {data.stream} stream, name a store of {knob}"
            )
        unlabelled = find_dataset(pretrain_on, other, f"pretrain_{knob}") if pretrain_on else data
        check_alike(data, unlabelled)
        encoder = LSTM(units=flow_units if of_flow else sizes.units, layers=sizes.layers)
        block = flow_block if of_flow else 16
        start = pretraining(
            unlabelled, encoder, sizes, future_frames=future_frames, input_frames=block
        )
        notes.extend([*data.notes, *(unlabelled.notes if unlabelled != data else ())])
        if "pretrained" in methods:
            notes.extend(notes_on_pretraining(data, unlabelled))
        return _Stream(suffix, data, encoder, block, start)

    cells = []
    for place, split in enumerate(sizes.splits):
        own = place if len(flow) > 1 else 0, place if len(pretrain_flow) > 1 else 0
        only = split if len(flow) > 1 else None
        streams = (
            stream(RGB, rgb, pretrain_rgb, None),
            stream(FLOW, flow[own[0]], pretrain_flow[own[1]], only),
        )
        if place == 0:
            first_flow = streams[1].data
        check_same_flow(first_flow, streams[1].data)
        for many in shots:
            for resample in range(resamples):
                for method in methods:
                    pair = [
                        classifier(
                            subset_of(each.data, split, many, resample),
                            each.encoder,
                            sizes,
                            dropout=dropout,
                            start=each.start if method == "pretrained" else None,
                            block=each.block,
                            suffix=each.suffix,
                        )
                        for each in streams
                    ]
                    both = fused(
                        pair[0],
                        pair[1],
                        weights=(rgb_weight, 1 - rgb_weight),
                        label=pair[0].label.removesuffix(RGB) + BOTH,
                    )
                    cells += [*pair, both]
    data = stream(RGB, rgb, pretrain_rgb, None).data
    notes.append(
        f"Fusion: {rgb_weight:.3g} of RGB's probabilities and {1 - rgb_weight:.3g} of flow's, joined by video id; the weights were "
        "fixed beforehand."
    )
    return Experiment(
        title=f"RGB, flow and both, {dataset}",
        cells=tuple(sorted(cells, key=_place)),
        draw=_draw,
        chance={data.name: 100.0 / len(data.classes)},
        notes=tuple(dict.fromkeys(notes)),
    )


def _place(cell: Cell) -> int:
    """RGB first, then flow, then both: the order of the report's rows."""
    return next(at for at, end in enumerate((BOTH, FLOW, RGB)) if cell.label.endswith(end)) * -1
