"""Fig. 10: the output features of the two decoders of a Composite Model of moving digits (sec. 3.2).

The weights from the LSTM output units to the output layer, for input reconstruction and for future prediction. The paper shows
the top 200 of each by L2 norm, and says that many more of them are local blobs than among the input features, that the blobs
are somewhat bigger, and the strips much shorter. It prints no numbers of them; the report has areas and smoothness of both kinds
of features, so that these words can be checked. The cell is the model itself, the same as in Figures 7 and 9.
"""

from collections.abc import Collection

from configs.experiment import Experiment
from configs.scales import ScaleKnob
from configs.unsupervised import (
    Batch,
    Glyphs,
    Layers,
    OptimiserKnob,
    PrecisionKnob,
    Rate,
    SpeedKnob,
    Steps,
    Units,
    digits_model,
    find_digits,
    sized,
)
from reports.evidence import Evidence
from reports.published import COMPOSITE


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.weights import fig10 as draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, formats)


def fig10(
    *,
    scale: ScaleKnob = "demo",
    glyphs: Glyphs = None,
    speed: SpeedKnob = "fixed",
    layers: Layers = 1,
    units: Units = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    optimiser: OptimiserKnob = "modern",
    precision: PrecisionKnob = None,
) -> Experiment:
    """Output features of a Composite Model.

    Args:
        scale: sizes of all that is not set by itself.
        glyphs: what moves.
        speed: pixels a frame.
        layers: of encoder and decoders; the highest is shown, which gives the frames.
        units: of a layer.
        steps: optimiser steps.
        batch: sequences a step.
        rate: peak learning rate.
        optimiser: of training.
        precision: of training.

    Raises:
        ValueError: for a value outside its range, before anything is run.
    """
    data = find_digits(glyphs, scale, speed=speed, test_set="generated")
    sizes = sized(
        scale, units=units, steps=steps, batch=batch, rate=rate,
        optimiser=optimiser, precision=precision,
    )  # fmt: skip
    return Experiment(
        title=f"Output features from the two decoders of a Composite Model, {data.name}",
        cells=(digits_model(data, COMPOSITE, sizes, layers=layers),),
        draw=_draw,
        notes=data.notes,
    )
