"""Fig. 6: reconstruction and future prediction of natural image patches by the Composite Model (sec. 3.2).

Two sizes of the two-layer model are shown the same held-out patches; the paper's have 2048 and 4096 units. They read 16 frames, of
which the last 10 are drawn, reconstruct them and predict the next 13. The paper finds both blurry with 2048 units, and the
reconstructions much sharper with 4096; it prints no losses with this figure. The smaller model is that of Table 2, and trained
once for both.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

from configs.experiment import Experiment
from configs.scales import ScaleKnob
from configs.unsupervised import (
    Batch,
    OptimiserKnob,
    PatchesKnob,
    PrecisionKnob,
    Rate,
    Show,
    Steps,
    TestSequences,
    Units,
    find_patches,
    patches_model,
    sized,
)
from reports.evidence import Evidence
from reports.published import COMPOSITE
from tasks.data.dataset import Unlabelled
from tasks.pictures import picture_shape, pictured

LAST_INPUT = 10
"""Of the frames read, those that the paper draws."""
PAPER_DATA, PAPER_SIDE = "ucf101", 32
"""Whose patches the paper's are, and their rows and columns; whether they are gray it does not say."""


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.filmstrips import (
        draw_models,
    )  # matplotlib and pandas: only when something is drawn

    return draw_models(evidence, formats, last_input=LAST_INPUT)


def fig6(
    *,
    patches: PatchesKnob = None,
    show: Show = 2,
    scale: ScaleKnob = "demo",
    units: Units = None,
    larger_units: Annotated[
        int | None, "units of an LSTM layer of the larger model (twice units, as in the paper)"
    ] = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    optimiser: OptimiserKnob = "modern",
    precision: PrecisionKnob = None,
    test_sequences: TestSequences = None,
) -> Experiment:
    """Image patches, reconstructed and predicted.

    Args:
        patches: what moves.
        show: held-out sequences that are drawn.
        scale: sizes of all that is not set by itself.
        units: units of an LSTM layer of the smaller model.
        larger_units: the same of the larger model; None for twice as many.
        steps: optimiser steps.
        batch: sequences a step.
        rate: peak learning rate.
        optimiser: of training.
        precision: of training.
        test_sequences: held-out sequences that losses are averaged over.

    Raises:
        ValueError: for a value outside its range, before anything is run.
    """
    sizes = sized(
        scale, "patches", units=units, steps=steps, batch=batch, rate=rate, test_sequences=test_sequences,
        optimiser=optimiser, precision=precision,
    )  # fmt: skip
    larger = 2 * sizes.units if larger_units is None else larger_units
    if larger <= sizes.units:
        raise ValueError(
            f"larger_units={larger}: the larger model needs more than the {sizes.units} units of the smaller one"
        )
    data = find_patches(patches, scale)
    return Experiment(
        title="Reconstruction and future prediction of image patches by the Composite Model",
        cells=tuple(
            pictured(
                patches_model(data, COMPOSITE, replace(sizes, units=size)),
                label=f"Two Layer Composite Model with {size:,} LSTM units",
                show=show,
                dataset=data,
                test_sequences=sizes.test_sequences,
            )
            for size in (sizes.units, larger)
        ),
        draw=_draw,
        notes=(*data.notes, *_other_data(data)),
    )


def _other_data(data: Unlabelled) -> tuple[str, ...]:
    """What to say of frames that are not the paper's; nothing of gray patches of its data and size."""
    if data.name != PAPER_DATA:
        return (
            "The paper's figure is of patches of UCF-101: these are other data, with other losses.",
        )
    shape = picture_shape(data.frame_size)
    if shape is None or shape == (PAPER_SIDE, 1):
        return ()  # what is no picture at all is refused where the cells are made
    return (
        f"The paper's figure is of {PAPER_SIDE} x {PAPER_SIDE} patches of UCF-101, and it does not say whether gray: these are "
        f"{shape.side} x {shape.side} {'in colour' if shape.channels == 3 else 'in gray'}, and losses are sums over "
        f"{data.frame_size:,} numbers.",
    )
