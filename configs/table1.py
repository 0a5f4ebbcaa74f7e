"""Table 1: summary of action recognition (sec. 3.3), with all labels of every split's training list.

Columns are streams of datasets: RGB (the pixels of built-in data), single fields of flow, and stacks of ten fields, of which
the paper speaks beside its table. Rows are logistic regression on single frames, the LSTM classifier from random weights,
and the same from those of a Composite model. Published: UCF-101 RGB 72.2, 74.5, 75.8; UCF-101 single fields 72.2, 74.3,
74.6; HMDB-51 RGB 40.1, 42.8, 44.1; UCF-101 stacks of ten 77.5 (single frame) and 77.7 (pretrained). What to expect on the
built-in digits is in docs/tables.md.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from configs.cells import classifier, regression, subset_of
from configs.data import texts
from configs.experiment import Experiment
from configs.scales import (
    FinetuneBatch,
    FinetuneRate,
    FinetuneSteps,
    Layers,
    PretrainBatch,
    PretrainRate,
    PretrainSteps,
    ScaleKnob,
    SingleFrameSteps,
    Splits,
    Units,
    scaled,
)
from configs.streams import (
    FLOW1,
    FLOW10,
    RGB,
    Datasets,
    DropoutKnob,
    Flow10Stores,
    FlowBlock,
    FlowStores,
    FlowUnits,
    FutureFrames,
    PretrainFlow,
    PretrainFlow10,
    PretrainFlowOn,
    PretrainOn,
    PretrainRgb,
    RgbStores,
    Sets,
    chance_of,
    check_once,
    stores_of,
    without,
)
from reports.evidence import Evidence
from tasks.cell import Cell

Method = Literal["single_frame", "lstm", "pretrained"]


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.accuracy_tables import TABLE1, draw  # pandas: only when something is drawn

    return draw(evidence, formats, TABLE1)


def table1(
    *,
    dataset: Datasets = ("digits",),
    rgb: RgbStores = (),
    flow: FlowStores = (),
    flow10: Flow10Stores = (),
    pretrain_on: PretrainOn = "",
    pretrain_rgb: PretrainRgb = (),
    pretrain_flow_on: PretrainFlowOn = "",
    pretrain_flow: PretrainFlow = (),
    pretrain_flow10: PretrainFlow10 = (),
    scale: ScaleKnob = "demo",
    methods: Annotated[tuple[Method, ...], "which rows"] = ("single_frame", "lstm", "pretrained"),
    splits: Splits = None,
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
    finetune_batch: FinetuneBatch = None,
    finetune_rate: FinetuneRate = None,
    single_frame_steps: SingleFrameSteps = None,
) -> Experiment:
    """Accuracy with all labels, of three methods on every stream of every dataset.

    Args:
        dataset: see the knobs (`harness describe table1`).
        rgb: the stores of RGB percepts of indexed sets.
        flow: their stores of percepts of single fields. A net that was trained on the labels of a split serves that split
            alone, so percepts of the temporal stream need one for each.
        flow10: the same of stacks of ten fields.
        pretrain_on: unlabelled videos; empty for the same dataset.
        pretrain_rgb: their stores of RGB percepts.
        pretrain_flow_on: unlabelled videos for the flow streams; empty for the same dataset, as in the paper.
        pretrain_flow: their stores of percepts of single fields.
        pretrain_flow10: the same of stacks of ten fields.
        scale: sizes of all that is not set by itself.
        methods: which rows.
        splits: official splits.
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
        finetune_batch: labelled blocks a step.
        finetune_rate: peak learning rate of a classifier.
        single_frame_steps: optimiser steps of the logistic regression.

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
        finetune_batch=finetune_batch,
        finetune_rate=finetune_rate,
        single_frame_steps=single_frame_steps,
    )
    check_once(methods=methods)
    sets = Sets(
        names=texts(dataset),
        sizes=sizes,
        by_scale=scale if splits is None else "",
        flow_units=flow_units,
        flow_block=flow_block,
    )
    asked = (
        stores_of(RGB, rgb, pretrain_on, pretrain_rgb),
        stores_of(FLOW1, flow, pretrain_flow_on, pretrain_flow),
        stores_of(FLOW10, flow10, pretrain_flow_on, pretrain_flow10),
    )
    found = [sets.frames(each) for each in asked]
    cells: list[Cell] = []
    notes: list[str] = []
    for name in sets.names:
        for by_set in found:
            for split, frames in by_set.get(name, {}).items():
                subset = subset_of(frames.data, split, "all", 0)
                start = frames.pretraining(sizes, future_frames=future_frames)
                for method in methods:
                    if method == "single_frame":
                        cells.append(regression(subset, sizes))
                        continue
                    cells.append(
                        classifier(
                            subset,
                            frames.encoder,
                            sizes,
                            dropout=dropout,
                            start=start if method == "pretrained" else None,
                            block=frames.block,
                        )
                    )
                notes += frames.notes(pretrained="pretrained" in methods)
    for each, by_set in zip(asked, found, strict=True):
        notes += without(sets, by_set, each.kind)
    return Experiment(
        title=f"Summary of action recognition, {', '.join(sets.names)}",
        cells=tuple(cells),
        draw=_draw,
        chance=chance_of(found[0]),
        notes=tuple(dict.fromkeys(notes)),
    )
