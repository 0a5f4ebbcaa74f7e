"""Table 4: comparison with published systems in three sets: RGB, flow, and both (sec. 3.5).

Ours are the pretrained classifiers of Table 1 on RGB and on flow, the very same cells, and the fusion of their predictions by
video id. On flow it is that of stacks of ten fields where there are some, as in the paper, else that of single fields. The
paper states no weights of the fusion; ours are (RGB + 2 flow) / 3, fixed beforehand. Published, UCF-101: RGB 75.8, flow 77.7,
both 84.3; HMDB-51: RGB 44.0. The other systems' numbers stand in reports/published.py.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Literal

from configs.cells import classifier, subset_of
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
    Frames,
    FutureFrames,
    PretrainFlow,
    PretrainFlow10,
    PretrainFlowOn,
    PretrainOn,
    PretrainRgb,
    RgbStores,
    RgbWeight,
    Sets,
    chance_of,
    check_weight,
    fusion_note,
    stores_of,
)
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.fusion import fused

COMPOSITE_LSTM = "Composite LSTM Model"
"""What the paper calls its own rows; the streams tell them apart."""


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.accuracy_tables import TABLE4, draw  # pandas: only when something is drawn

    return draw(evidence, formats, TABLE4)


def table4(
    *,
    dataset: Datasets = ("digits",),
    rgb: RgbStores = (),
    flow: FlowStores = (),
    flow10: Flow10Stores = (),
    flow_fields: Annotated[
        Literal[1, 10] | None,
        "fields of flow seen at once; none: 10 where there are such percepts, else 1 (paper: 10)",
    ] = None,
    pretrain_on: PretrainOn = "",
    pretrain_rgb: PretrainRgb = (),
    pretrain_flow_on: PretrainFlowOn = "",
    pretrain_flow: PretrainFlow = (),
    pretrain_flow10: PretrainFlow10 = (),
    scale: ScaleKnob = "demo",
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
    finetune_batch: FinetuneBatch = None,
    finetune_rate: FinetuneRate = None,
) -> Experiment:
    """Accuracy of the Composite LSTM model on RGB, on flow, and of their fusion, beside published systems.

    Args:
        dataset: see the knobs (`harness describe table4`).
        rgb: the stores of RGB percepts of indexed sets.
        flow: their stores of percepts of single fields, one for each split where a net has seen labels.
        flow10: the same of stacks of ten fields.
        flow_fields: fields of flow seen at once.
        pretrain_on: unlabelled videos; empty for the same dataset.
        pretrain_rgb: their stores of RGB percepts.
        pretrain_flow_on: unlabelled videos for the flow streams; empty for the same dataset, as in the paper.
        pretrain_flow: their stores of percepts of single fields.
        pretrain_flow10: the same of stacks of ten fields.
        scale: sizes of all that is not set by itself.
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
        finetune_batch=finetune_batch,
        finetune_rate=finetune_rate,
    )
    check_weight(rgb_weight)
    sets = Sets(
        names=texts(dataset),
        sizes=sizes,
        by_scale=scale if splits is None else "",
        flow_units=flow_units,
        flow_block=flow_block,
    )
    seen = sets.frames(stores_of(RGB, rgb, pretrain_on, pretrain_rgb))
    moving: dict[str, dict[int, Frames]] = {}
    if flow_fields != 1:
        moving = sets.frames(stores_of(FLOW10, flow10, pretrain_flow_on, pretrain_flow10))
    if flow_fields != 10 and len(moving) < len(sets.names):
        # Only where it is needed: a set may have many stores of single fields, and none of them be meant.
        single = stores_of(FLOW1, flow, pretrain_flow_on, pretrain_flow)
        moving |= sets.frames(single, but=moving)

    def ours(frames: Frames, split: int) -> Cell:
        return replace(
            classifier(
                subset_of(frames.data, split, "all", 0),
                frames.encoder,
                sizes,
                dropout=dropout,
                start=frames.pretraining(sizes, future_frames=future_frames),
                block=frames.block,
            ),
            label=COMPOSITE_LSTM,
        )

    cells: list[Cell] = []
    notes: list[str] = []
    for name, by_split in seen.items():
        pairs = {split: [ours(frames, split)] for split, frames in by_split.items()}
        for split, frames in moving.get(name, {}).items():
            pairs[split].append(ours(frames, split))
            pairs[split].append(
                fused(*pairs[split], weights=(rgb_weight, 1 - rgb_weight), label=COMPOSITE_LSTM)
            )
        for one_stream in zip(*pairs.values(), strict=True):
            cells += one_stream
        for frames in (*by_split.values(), *moving.get(name, {}).values()):
            notes += frames.notes(pretrained=True)
        if name not in moving:
            notes.append(
                f"{name} is seen as RGB alone: no percepts of flow were named or found, so there is neither a flow row nor a fusion."
            )
    if moving:
        notes.append(fusion_note(rgb_weight))
    return Experiment(
        title=f"Comparison with published systems, {', '.join(sets.names)}",
        cells=tuple(cells),
        draw=_draw,
        chance=chance_of(seen),
        notes=tuple(dict.fromkeys(notes)),
    )
