"""Two tiny artefacts that share a cell under different names, and the two as one experiment."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Literal

from configs.experiment import Experiment
from configs.fig12 import fig12
from configs.knobs import OfParts, PartSettings
from configs.paper import compose
from reports.evidence import Evidence

OTHER_NAME = "frames alone"


def _small(*, resamples: int, steps: int) -> Experiment:
    return fig12(
        methods=("single_frame",), shots=(1,), resamples=resamples, single_frame_steps=steps
    )


def fig1(*, resamples: int = 2, steps: int = 2) -> Experiment:
    return replace(_small(resamples=resamples, steps=steps), title="First <b>artefact</b>")


def table2(
    *, steps: int = 2, fails: Literal["", "always", "when drawn", "with a refusal"] = ""
) -> Experiment:
    made = _small(resamples=1, steps=steps)

    def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
        if fails == "always" or (fails == "when drawn" and "html" in formats):
            raise KeyError("no such colour")
        if fails == "with a refusal" and "html" in formats:
            raise ValueError("these numbers cannot stand together")
        assert made.draw is not None
        return made.draw(evidence, formats)

    cells = tuple(replace(cell, label=OTHER_NAME) for cell in made.cells)
    return replace(made, title="Second artefact", cells=cells, draw=draw)


alone = table2
"""Under a name that no experiment of the package has."""


def needy(*, word: str) -> Experiment:
    return replace(fig1(), title=word)


def _functions() -> Mapping[str, Callable[..., Experiment]]:
    return {"fig1": fig1, "table2": table2}


def both(
    *,
    only: tuple[str, ...] = (),
    steps: Annotated[int | None, "steps of all"] = None,
    parts: Annotated[PartSettings | None, OfParts(_functions)] = None,
) -> Experiment:
    return compose(
        title="Both artefacts",
        functions=_functions(),
        only=only,
        for_all={} if steps is None else {"steps": steps},
        parts=parts or {},
    )
