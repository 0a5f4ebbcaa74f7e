"""RGB, flow, and both: split-wise accuracy of each stream and of their fusion (sec. 3.3, Table 4).

Each stream's classifier is trained on a split's training list and tested on that split's test list; their probabilities
are averaged by video id, weighted. On flow the paper's classifiers have 128 units and read 4 frames at a time. It
states no weights of the fusion; ours are (RGB + 2 flow) / 3, fixed beforehand. Published: UCF-101, Composite
pretraining, RGB 75.8, stacks of 10 flows 77.7, both 84.3 %.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from configs.cells import Shots, classifier, subset_of
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
    ANY_FLOW,
    DropoutKnob,
    FlowBlock,
    FlowUnits,
    FutureFrames,
    PretrainOn,
    RgbWeight,
    Sets,
    chance_of,
    check_once,
    check_resamples,
    check_weight,
    fusion_note,
    stores_of,
)
from configs.streams import RGB as ONE_RGB
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.fusion import fused

RGB, FLOW, BOTH = ", RGB", ", flow", ", RGB + flow"
"""What the labels of methods end in."""

Method = Literal["lstm", "pretrained"]


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
    pretrain_on: PretrainOn = "",
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
    rgb_weight: RgbWeight = 1 / 3,
    units: Units = None,
    flow_units: FlowUnits = 128,
    flow_block: FlowBlock = 4,
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
    check_resamples(resamples)
    check_weight(rgb_weight)
    check_once(methods=methods, shots=shots)
    sets = Sets(
        names=(dataset,),
        sizes=sizes,
        by_scale=scale if splits is None else "",
        flow_units=flow_units,
        flow_block=flow_block,
    )
    streams = [
        (suffix, sets.frames(stores)[dataset])
        for suffix, stores in (
            (RGB, stores_of(ONE_RGB, rgb, pretrain_on, pretrain_rgb if pretrain_on else ())),
            (FLOW, stores_of(ANY_FLOW, flow, pretrain_on, pretrain_flow if pretrain_on else ())),
        )
    ]
    cells = []
    notes: list[str] = []
    for split in sizes.splits:
        for _, by_split in streams:
            notes += by_split[split].notes(pretrained="pretrained" in methods)
        for many in shots:
            for resample in range(resamples):
                for method in methods:
                    pair = []
                    for suffix, by_split in streams:
                        frames = by_split[split]
                        start = frames.pretraining(sizes, future_frames=future_frames)
                        pair.append(
                            classifier(
                                subset_of(frames.data, split, many, resample),
                                frames.encoder,
                                sizes,
                                dropout=dropout,
                                start=start if method == "pretrained" else None,
                                block=frames.block,
                                suffix=suffix,
                            )
                        )
                    both = fused(
                        pair[0],
                        pair[1],
                        weights=(rgb_weight, 1 - rgb_weight),
                        label=pair[0].label.removesuffix(RGB) + BOTH,
                    )
                    cells += [*pair, both]
    notes.append(fusion_note(rgb_weight))
    return Experiment(
        title=f"RGB, flow and both, {dataset}",
        cells=tuple(sorted(cells, key=_place)),
        draw=_draw,
        chance=chance_of({dataset: streams[0][1]}),
        notes=tuple(dict.fromkeys(notes)),
    )


def _place(cell: Cell) -> int:
    """RGB first, then flow, then both: the order of the report's rows."""
    return next(at for at, end in enumerate((BOTH, FLOW, RGB)) if cell.label.endswith(end)) * -1
