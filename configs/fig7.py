"""Fig. 7: the activity of a future predictor that runs 100 steps, trained and with random weights (sec. 3.2).

A one-layer unconditioned Composite Model of moving digits, trained on 10 frames in and 10 ahead, is let run on. The paper shows
200 units of 2048 for one test input and says: trained, the dynamics has "a periodic quality which does not die out", though
the model "only outputs blobs after the first 15 frames"; random, it "quickly dies out". It gives no number; `tasks.persistence`
defines ours. Success is a persistence near 1 for trained weights and near 0 for random ones. A small model, or one trained
briefly, moves on for longer than a random one and then settles too: those tried (64 and 256 units) had 0.02 at most.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

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
from tasks.activity import Weights, watched

LABELS: dict[Weights, str] = {
    "trained": "Trained Future Predictor",
    "random": "Randomly Initialized Future Predictor",
}
"""As under the paper's figure."""


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.fig7 import draw  # matplotlib and pandas: only when something is drawn

    return draw(evidence, formats)


def fig7(
    *,
    scale: ScaleKnob = "demo",
    glyphs: Glyphs = None,
    speed: SpeedKnob = "fixed",
    units: Units = None,
    layers: Layers = 1,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    optimiser: OptimiserKnob = "modern",
    precision: PrecisionKnob = None,
    future_steps: Annotated[int, "frames that are predicted (trained on: 10)"] = 100,
    layer: Annotated[int, "whose activity is shown, counted from 1 at the bottom"] = 1,
    units_shown: Annotated[int, "units shown, drawn by the seed"] = 200,
    sequence: Annotated[int, "number of the held-out sequence that is shown, from 0"] = 0,
    measured: Annotated[int, "held-out sequences that the measures are averaged over"] = 64,
    seed: Annotated[int, "of training, of the units shown and of the random weights"] = 0,
) -> Experiment:
    """Watch a future predictor run far beyond what it was trained on.

    Args:
        scale: sizes of all that is not set by itself.
        glyphs: what moves about.
        speed: pixels a frame.
        units: units of an LSTM layer.
        layers: layers of encoder and decoders.
        steps: optimiser steps.
        batch: sequences a step.
        rate: peak learning rate.
        optimiser: of training.
        precision: of training.
        future_steps: frames that are predicted.
        layer: whose activity is shown.
        units_shown: units shown.
        sequence: the held-out sequence that is shown.
        measured: held-out sequences that are measured.
        seed: of training, of the units shown and of the random weights.

    Raises:
        ValueError: for a value outside its range, before anything is run.
    """
    # The official file has 20 frames a sequence: longer ones are drawn, by the same rules, from the test glyphs.
    data = find_digits(glyphs, scale, speed=speed, test_set="generated")
    sizes = sized(
        scale, units=units, steps=steps, batch=batch, rate=rate, optimiser=optimiser, precision=precision
    )  # fmt: skip
    start = replace(digits_model(data, COMPOSITE, sizes, layers=layers, seed=seed), label="")
    cells = tuple(
        watched(
            start,
            weights=weights,
            dataset=data,
            seed=seed,
            label=label,
            steps=future_steps,
            layer=layer,
            units_shown=units_shown,
            sequence=sequence,
            test_sequences=measured,
        )
        for weights, label in LABELS.items()
    )
    return Experiment(
        title=f"Activity of the Future Predictor's LSTM units over {future_steps} steps, {data.name}",
        cells=cells,
        draw=_draw,
        notes=data.notes,
    )
