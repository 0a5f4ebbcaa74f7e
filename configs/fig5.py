"""Fig. 5: reconstruction and future prediction of moving digits by the Composite Model (sec. 3.2).

Three models are shown the same held-out sequences: of one layer, of two layers, and of two layers with a conditional future
predictor. They read 10 frames, reconstruct them and predict the next 10. The paper finds that depth makes better predictions and the
conditional predictor sharper ones; it prints no losses with this figure (those of its two-layer models are in Table 2). The
models of two layers are those of Table 2, and trained once for both.
"""

from collections.abc import Collection

from configs.experiment import Experiment
from configs.scales import ScaleKnob
from configs.unsupervised import (
    Batch,
    Glyphs,
    OptimiserKnob,
    PrecisionKnob,
    Rate,
    Show,
    SpeedKnob,
    Steps,
    TestSequences,
    TestSetKnob,
    Units,
    digits_model,
    find_digits,
    sized,
)
from reports.evidence import Evidence
from reports.published import COMPOSITE, COMPOSITE_CONDITIONAL
from tasks.pictures import pictured

SHOWN: dict[str, tuple[str, int]] = {
    "One Layer Composite Model": (COMPOSITE, 1),
    "Two Layer Composite Model": (COMPOSITE, 2),
    "Two Layer Composite Model with a Conditional Future Predictor": (COMPOSITE_CONDITIONAL, 2),
}
"""The figure's three models as the paper calls them there: which they are, and of how many layers."""


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.filmstrips import (
        draw_models,
    )  # matplotlib and pandas: only when something is drawn

    return draw_models(evidence, formats)


def fig5(
    *,
    glyphs: Glyphs = None,
    speed: SpeedKnob = "fixed",
    test_set: TestSetKnob = "auto",
    show: Show = 2,
    scale: ScaleKnob = "demo",
    units: Units = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    optimiser: OptimiserKnob = "modern",
    precision: PrecisionKnob = None,
    test_sequences: TestSequences = None,
) -> Experiment:
    """Moving digits, reconstructed and predicted.

    Args:
        glyphs: what moves.
        speed: pixels a frame.
        test_set: what is tested on.
        show: held-out sequences that are drawn.
        scale: sizes of all that is not set by itself.
        units: units of an LSTM layer.
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
        scale, units=units, steps=steps, batch=batch, rate=rate, test_sequences=test_sequences,
        optimiser=optimiser, precision=precision,
    )  # fmt: skip
    data = find_digits(glyphs, scale, speed=speed, test_set=test_set)
    other_data = (
        ()
        if data.name == "mnist"
        else ("The paper's figure is of Moving MNIST: these are other data, with other losses.",)
    )
    return Experiment(
        title="Reconstruction and future prediction of moving digits by the Composite Model",
        cells=tuple(
            pictured(
                digits_model(data, model, sizes, layers=layers),
                label=label,
                show=show,
                dataset=data,
                test_sequences=sizes.test_sequences,
            )
            for label, (model, layers) in SHOWN.items()
        ),
        draw=_draw,
        notes=(*data.notes, *other_data),
    )
