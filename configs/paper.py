"""The paper as one experiment: every artefact that needs no data of the user's own (`harness run paper`).

Which they are stands in configs/registry.py. Artefacts that rest on the same trained model share its cell: it is trained
once. A knob that is set here is passed to every artefact that has one of this name; `--set PART.NAME=VALUE` sets a knob of
one artefact alone, such as `--set fig12.resamples=2`, and goes before what is set for all.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from configs.experiment import Experiment, of_parts
from configs.knobs import OfParts, PartSettings, did_you_mean, knobs
from configs.optimisers import OptimiserName
from configs.registry import EXPERIMENTS
from configs.scales import ScaleKnob
from tasks.data.moving_digits import TestSet
from tasks.data.moving_mnist import Speed
from tasks.pretrain import TrainingPrecision
from tasks.registry import load

TITLE = "Unsupervised Learning of Video Representations using LSTMs: figures and tables"


def artefacts() -> Mapping[str, Callable[..., Experiment]]:
    """The functions of the paper's artefacts by name, in the order of the registry."""
    return {name: load(entry.place) for name, entry in EXPERIMENTS.items() if entry.in_paper}


def paper(
    *,
    only: Annotated[
        tuple[str, ...],
        "artefacts, such as fig12; all of them if not set (at scale=paper those of labelled videos, fig12 and tables 1, 3 and 4, "
        "only if told their dataset, as in fig12.dataset=ucf101: not on built-in digits)",
    ] = (),
    scale: ScaleKnob = "demo",
    glyphs: Annotated[str | None, "what moves, in every artefact with moving digits"] = None,
    speed: Annotated[Speed | None, "how fast, in every artefact with moving digits"] = None,
    test_set: Annotated[
        TestSet | None, "what every artefact with moving digits is tested on"
    ] = None,
    patches: Annotated[str | None, "image patches, in every artefact that has some"] = None,
    units: Annotated[int | None, "units of an LSTM layer, in every artefact"] = None,
    steps: Annotated[int | None, "optimiser steps of models of digits and patches"] = None,
    batch: Annotated[int | None, "sequences a step, there"] = None,
    rate: Annotated[float | None, "peak learning rate, there"] = None,
    optimiser: Annotated[OptimiserName | None, "of training, there"] = None,
    precision: Annotated[TrainingPrecision | None, "of training, there"] = None,
    test_sequences: Annotated[
        int | None, "held-out sequences that losses are averaged over, there"
    ] = None,
    parts: Annotated[PartSettings | None, OfParts(artefacts)] = None,
) -> Experiment:
    """Every artefact of the paper that needs no data of the user's own.

    Args:
        only: names of artefacts; empty for all.
        scale: sizes of all that is not set by itself.
        glyphs: what moves; None for what each artefact has by default, as for those below.
        speed: of the digits.
        test_set: what losses are measured on.
        patches: image patches.
        units: units of an LSTM layer.
        steps: optimiser steps of the unsupervised half's models.
        batch: sequences a step.
        rate: peak learning rate.
        optimiser: of training.
        precision: of training.
        test_sequences: held-out sequences that losses are averaged over.
        parts: arguments for single artefacts.

    Raises:
        ValueError: for an unknown artefact, a knob that no chosen artefact has, or a value that one refuses.
    """
    for_all = {
        "scale": scale,
        "glyphs": glyphs,
        "speed": speed,
        "test_set": test_set,
        "patches": patches,
        "units": units,
        "steps": steps,
        "batch": batch,
        "rate": rate,
        "optimiser": optimiser,
        "precision": precision,
        "test_sequences": test_sequences,
    }
    parts = parts or {}
    if scale == "paper" and not only:
        only = tuple(
            name
            for name, function in artefacts().items()
            if "dataset" not in knobs(function) or "dataset" in parts.get(name, {})
        )
    return compose(
        title=TITLE,
        functions=artefacts(),
        only=only,
        for_all={name: value for name, value in for_all.items() if value is not None},
        parts=parts,
    )


def compose(
    *,
    title: str,
    functions: Mapping[str, Callable[..., Experiment]],
    only: tuple[str, ...],
    for_all: Mapping[str, Any],
    parts: PartSettings,
) -> Experiment:
    """An experiment of the parts that are asked for.

    Args:
        title: of the whole.
        functions: of the parts, by name.
        only: names of parts; empty for all.
        for_all: arguments for every part that has such a knob.
        parts: arguments for single parts; they go before `for_all`.

    Raises:
        ValueError: for an unknown part, a knob that no chosen part has, or a value that one refuses.
    """
    for name in (*only, *parts):
        if name not in functions:
            raise ValueError(
                f"there is no part '{name}'{did_you_mean(name, functions)} (parts: {', '.join(functions)})"
            )
    chosen = [name for name in functions if not only or name in only]
    for name in parts:
        if name not in chosen:
            raise ValueError(
                f"a knob of {name} is set, which is not among only={','.join(only)}: leave it out, or add {name} there"
            )
    known = {name: knobs(functions[name]) for name in chosen}
    for name, value in for_all.items():
        if not any(name in of_part for of_part in known.values()):
            raise ValueError(f"{name}={value}: none of {', '.join(chosen)} has this knob")
    made: dict[str, Experiment] = {}
    for name in chosen:
        arguments = {knob: value for knob, value in for_all.items() if knob in known[name]}
        arguments |= parts.get(name, {})
        for knob in known[name].values():
            if knob.default is inspect.Parameter.empty and knob.name not in arguments:
                raise ValueError(
                    f"{name} needs to be told its {knob.name}: add --set {name}.{knob.name}=..."
                )
        try:
            made[name] = functions[name](**arguments)
        except ValueError as error:
            others = ",".join(each for each in chosen if each != name)
            without = f" (without {name}: --set only={others})" if others else ""
            raise ValueError(f"{name}: {error}{without}") from None
    return of_parts(title=title, parts=made)
