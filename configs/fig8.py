"""Fig. 8: out-of-domain inputs: one and three moving digits for a model that was trained on two (sec. 3.2).

The paper tests "this model", the Composite Model of one layer that its preceding figure shows; ours is that by default. It finds
that the model does well on one digit but hallucinates a second one towards the end of the future, and that it merges three digits into blobs
whose overall motion is right. It prints no losses. Here the losses on two digits stand beside the others, as what
the model can do.
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
from reports.published import COMPOSITE
from tasks.pictures import pictured

MORE_TO_PREDICT = "Losses on different numbers of digits compare with caution: more digits are more pixels that are hard to predict."


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.filmstrips import draw_out_of_domain  # matplotlib and pandas: only when drawn

    return draw_out_of_domain(evidence, formats)


def fig8(
    *,
    glyphs: Glyphs = None,
    speed: SpeedKnob = "fixed",
    test_set: TestSetKnob = "auto",
    layers: Layers = 1,
    show: Show = 1,
    scale: ScaleKnob = "demo",
    units: Units = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    optimiser: OptimiserKnob = "modern",
    precision: PrecisionKnob = None,
    test_sequences: TestSequences = None,
) -> Experiment:
    """One and three moving digits, reconstructed and predicted by a model of two.

    Args:
        glyphs: what moves.
        speed: pixels a frame.
        test_set: what the model of two digits is tested on; sequences of one and three are always drawn.
        layers: of encoder and decoders.
        show: held-out sequences that are drawn, of one digit and of three each.
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
    two = find_digits(glyphs, scale, speed=speed, test_set=test_set)
    one, three = (
        find_digits(glyphs, scale, num_digits=number, speed=speed, test_set="generated")
        for number in (1, 3)
    )
    model = digits_model(two, COMPOSITE, sizes, layers=layers)
    shown = {
        "One moving digit": one,
        "Two moving digits, as in training": two,
        "Three moving digits": three,
    }
    other_data = (
        ()
        if two.name == "mnist"
        else ("The paper's figure is of MNIST digits: these are other data, with other losses.",)
    )
    depth = "one layer" if layers == 1 else "two layers"
    return Experiment(
        title="Out-of-domain runs: one and three moving digits",
        cells=tuple(
            pictured(
                model,
                label=label,
                show=show,
                dataset=data,
                test_sequences=sizes.test_sequences,
            )
            for label, data in shown.items()
        ),
        draw=_draw,
        notes=(
            f"The model is a Composite Model of {depth} of {sizes.units:,} units that was trained on sequences of two moving digits alone.",
            MORE_TO_PREDICT,
            *one.notes,
            *two.notes,
            *three.notes,
            *other_data,
        ),
    )
