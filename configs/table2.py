"""Table 2: how well the future is predicted, by four models, on moving digits and on image patches (sec. 3.4).

Each model has two layers. On digits: 10 frames in, 10 ahead, cross entropy; on patches: 16 in, 13 ahead, squared loss. The
paper's numbers, on Moving MNIST (64 x 64 pixels, 2048 units) and on patches of UCF-101 (32 x 32): Future Predictor 350.2 and
225.2, Composite Model 344.9 and 210.7, Conditional Future Predictor 343.5 and 221.3, Composite Model with Conditional Future
Predictor 341.2 and 208.1. So the Composite is ahead of the Future Predictor, and each conditional model of its unconditioned
one, by 1 to 7 %. The models are those of Figures 5 to 10 where these have two layers; testing them is apart from training them.
"""

from collections.abc import Collection
from typing import Annotated

from configs.experiment import Experiment
from configs.scales import ScaleKnob
from configs.unsupervised import (
    MODELS,
    Batch,
    Data,
    Glyphs,
    OptimiserKnob,
    PatchesKnob,
    PrecisionKnob,
    Rate,
    SpeedKnob,
    Steps,
    TestSequences,
    TestSetKnob,
    Units,
    digits_model,
    find_digits,
    find_patches,
    patches_model,
    sized,
)
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.data.dataset import Unlabelled
from tasks.evaluate import evaluated


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.table2 import draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, formats)


def table2(
    *,
    columns: Annotated[tuple[Data, ...], "the table's columns: which data"] = ("digits", "patches"),
    glyphs: Glyphs = None,
    speed: SpeedKnob = "fixed",
    test_set: TestSetKnob = "auto",
    patches: PatchesKnob = None,
    seeds: Annotated[tuple[int, ...], "of weights and training sequences; a mean is over them"] = (
        0,
    ),
    scale: ScaleKnob = "demo",
    units: Units = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    optimiser: OptimiserKnob = "modern",
    precision: PrecisionKnob = None,
    test_sequences: TestSequences = None,
) -> Experiment:
    """Loss of predicted frames: four models, two kinds of data.

    Args:
        columns: which data.
        glyphs: what moves.
        speed: how fast.
        test_set: the official file, or drawn sequences.
        patches: image patches by name.
        seeds: of weights and training sequences.
        scale: sizes of all that is not set by itself.
        units: units of an LSTM layer.
        steps: optimiser steps.
        batch: sequences a step.
        rate: peak learning rate.
        optimiser: of training.
        precision: of training.
        test_sequences: held-out sequences that losses are averaged over.

    Raises:
        ValueError: for a value outside its range, or data that are not there, before anything is run.
    """
    for name, given in (("columns", columns), ("seeds", seeds)):
        if len(set(given)) < len(given) or not given:
            raise ValueError(
                f"{name}={','.join(map(str, given))}: name at least one, and each once"
            )
    cells: list[Cell] = []
    notes: list[str] = []
    for column in columns:
        digits = column == "digits"
        data: Unlabelled = (
            find_digits(glyphs, scale, speed=speed, test_set=test_set)
            if digits
            else find_patches(patches, scale)
        )
        make = digits_model if digits else patches_model
        sizes = sized(
            scale, column, optimiser=optimiser, units=units, steps=steps, batch=batch, rate=rate,
            test_sequences=test_sequences, precision=precision,
        )  # fmt: skip
        cells += [
            evaluated(
                make(data, model, sizes, seed=seed),
                label=model,
                dataset=data,
                test_sequences=sizes.test_sequences,
            )
            for model in MODELS
            for seed in seeds
        ]
        notes += data.notes
    return Experiment(
        title="Table 2: future prediction on " + " and ".join(_WORDS[each] for each in columns),
        cells=tuple(cells),
        draw=_draw,
        notes=tuple(notes),
    )


_WORDS: dict[Data, str] = {"digits": "moving digits", "patches": "image patches"}
