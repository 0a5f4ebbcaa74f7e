"""An experiment: a named artefact of the paper, or a user's own, as the cells it needs and the report of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain

from reports.evidence import NAMES_OF_FILES, Evidence, name_of_files
from tasks.cell import Cell

Draw = Callable[[Evidence, Collection[str]], dict[str, bytes]]
"""From evidence and formats to the report's files, by name."""


FORMATS = ("png", "pdf", "svg", "gif", "md", "tex", "csv", "html", "json")
"""The forms that a report may have; a drawing function leaves out those that its report does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What an experiment function returns.

    Raises:
        ValueError: when there is no cell, or neither a report of its own nor parts that have one each.
    """

    title: str
    cells: tuple[Cell, ...]
    """Every cell that a report draws; the cells they need come along by themselves."""
    draw: Draw | None = None
    """Draws its report; None where each part has its own."""
    notes: tuple[str, ...] = ()
    """Sentences that every report of it repeats."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """Chance level by dataset, in the unit of the headline metric."""
    parts: Mapping[str, "Experiment"] = field(default_factory=dict)
    """Artefacts that it consists of, by name: each is drawn from its own cells, under its own labels (see `of_parts`)."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError(f"the experiment '{self.title}' has no cells: there is nothing to run")
        if (self.draw is None) != bool(self.parts):
            raise ValueError(f"the experiment '{self.title}' needs either draw or parts")

    def all_cells(self) -> tuple[Cell, ...]:
        """Every cell once, each after the cells it needs."""
        ordered: dict[str, Cell] = {}

        def visit(cell: Cell) -> None:
            if cell.key not in ordered:
                for need in cell.needs:
                    visit(need)
                ordered[cell.key] = cell
            elif cell.label and not ordered[cell.key].label:
                ordered[cell.key] = cell  # needed by one, drawn by another: it has a name

        for cell in self.cells:
            visit(cell)
        return tuple(ordered.values())


def of_parts(*, title: str, parts: Mapping[str, Experiment]) -> Experiment:
    """Several artefacts as one experiment: a cell that two of them need is run once.

    Args:
        title: of the whole.
        parts: by name, in the order in which they are shown.

    Raises:
        ValueError: when there is no part, one consists of parts itself, or its name could be no file's on every system.
    """
    for name, part in parts.items():
        if not name_of_files(name):
            raise ValueError(f"the part {name!r} becomes the name of files: {NAMES_OF_FILES}")
        if part.parts:
            raise ValueError(f"{name} consists of parts itself: name those instead")
    cells = dict.fromkeys(chain.from_iterable(part.cells for part in parts.values()))
    return Experiment(title=title, cells=tuple(cells), parts=dict(parts))
