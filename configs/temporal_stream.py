"""Temporal: the temporal-stream ConvNet, trained on stored flow of an indexed set of videos (secs. 3.1 and 3.3).

The paper trains it on UCF-101 on single fields and on stacks of ten, and names 72.2 % and 77.5 % (sec. 3.3); the defaults are
the sizes of Simonyan and Zisserman (2014a, sec. 5): 80,000 steps of 256 stacks, which asks for a GPU. --set divisor=16 is a
narrow copy for small machines. Needs flow (`harness run flow`). What it leaves is a file of weights for each split, from which
`harness run percepts --set stream=flow` makes percepts; the report says the command. The net of a split has seen the labels of
that split's training list, so its percepts are good for that split alone, and tasks refuse them for any other.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from configs.data import indexed_set
from configs.experiment import Experiment
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.data.flow_videos import video_flow
from tasks.schedule import Schedule
from tasks.temporal_stream import TemporalStream


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.temporal_stream import draw  # pandas: only when something is drawn

    return draw(evidence, formats)


def temporal(
    *,
    dataset: Annotated[str, "a labelled set that `harness data index` has made"],
    flow: Annotated[
        str, "its store of flow, by the first letters of its name; empty if it has one"
    ] = "",
    flow_fields: Annotated[int, "fields of flow seen at once (paper: 1 and 10)"] = 10,
    splits: Annotated[tuple[int, ...], "official splits; each net is tested on its own split"] = (
        1,
    ),
    steps: Annotated[int, "optimiser steps (2014: 80000)"] = 80_000,
    batch: Annotated[int, "stacks a step, over all ranks together (2014: 256)"] = 256,
    rate: Annotated[float, "learning rate at the start (2014: 0.01)"] = 1e-2,
    dropout: Annotated[float, "ratio of dropped units of fc6 and fc7 (2014: 0.9)"] = 0.9,
    subtract_mean: Annotated[bool, "take each field's mean from it (2014: true)"] = True,
    divisor: Annotated[int, "every width of the net is divided by it; 1 is the paper's net"] = 1,
    test_stacks: Annotated[int, "stacks of a test video, equally spaced (2014: 25)"] = 25,
    test_crops: Annotated[Literal[1, 5], "crops of a stack: centre, or corners too (2014: 5)"] = 5,
    test_flips: Annotated[bool, "look at mirror images too (2014: true)"] = True,
) -> Experiment:
    """Train temporal streams, one a split.

    Args:
        dataset: the set's name.
        flow: its store of flow.
        flow_fields: fields of a stack.
        splits: official splits.
        steps: optimiser steps.
        batch: stacks a step.
        rate: learning rate at the start.
        dropout: ratio of dropped units.
        subtract_mean: whether each field's mean is taken from it.
        divisor: of the widths of the net.
        test_stacks: stacks of a test video.
        test_crops: crops of a stack in a test.
        test_flips: whether mirror images are looked at in a test.

    Raises:
        ValueError: when the set or its flow is not there, or a value is outside its range, in one sentence.
    """
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f"splits={','.join(map(str, splits))}: name at least one, and each once")
    indexed_set(dataset)
    data = video_flow(dataset, flow)
    schedule = Schedule(
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        optimizer="sgd",
        momentum=0.9,
        weight_decay=5e-4,
        warmup_steps=min(1_000, steps // 20),
    )
    cells = tuple(
        Cell(
            task=TemporalStream(
                dataset=data,
                split=split,
                length=flow_fields,
                subtract_mean=subtract_mean,
                dropout=dropout,
                divisor=divisor,
                test_stacks=test_stacks,
                test_crops=test_crops,
                test_flips=test_flips,
                schedule=schedule,
            ),
            label="temporal stream",
        )
        for split in splits
    )
    what = "single fields" if flow_fields == 1 else f"stacks of {flow_fields} fields"
    narrow = f"The net is a narrow copy: every width is divided by {divisor}."
    return Experiment(
        title=f"Temporal stream of {dataset}: {what} of flow",
        cells=cells,
        draw=_draw,
        chance={data.name: 100.0 / len(data.classes)},
        notes=(*data.notes, *((narrow,) if divisor != 1 else ())),
    )
