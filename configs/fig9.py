"""Fig. 9: the input features of a Composite Model of moving digits (sec. 3.2).

The weights from each input frame to the four sets of units of the encoder: the input units and the input, forget and output
gates. The paper shows the top 200 by the L2 norm of the input features, and says that a lot of them look like thin strips,
others like strips of higher frequency, and that local blobs are rare. It prints no numbers of them; the report's are ours.
The cell is the model itself, the same as in Figures 7 and 10: nothing else is run. Features take longer to form than losses
to fall: a model of scale=demo shows some, and noise in the units that it has not come to use.
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
    from reports.weights import fig9 as draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, formats)


def fig9(
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
    """Input features of a Composite Model.

    Args:
        scale: sizes of all that is not set by itself.
        glyphs: what moves.
        speed: pixels a frame.
        layers: of encoder and decoders; the lowest is shown, which reads the frames.
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
        title=f"Input features from a Composite Model, {data.name}",
        cells=(digits_model(data, COMPOSITE, sizes, layers=layers),),
        draw=_draw,
        notes=data.notes,
    )
