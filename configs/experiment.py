"""An experiment: a named artefact of the paper, or a user's own, as the cells it needs and the report of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from reports.evidence import Evidence
from tasks.cell import Cell

Draw = Callable[[Evidence, Collection[str]], dict[str, bytes]]
"""From evidence and formats to the report's files, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What an experiment function returns.

    Raises:
        ValueError: when there is no cell.
    """

    title: str
    cells: tuple[Cell, ...]
    """Every cell that a report draws; the cells they need come along by themselves."""
    draw: Draw
    notes: tuple[str, ...] = ()
    """Sentences that every report of it repeats."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """Chance level by dataset, in the unit of the headline metric."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError(f"the experiment '{self.title}' has no cells: there is nothing to run")

    def all_cells(self) -> tuple[Cell, ...]:
        """Every cell once, each after the cells it needs."""
        ordered: dict[str, Cell] = {}

        def visit(cell: Cell) -> None:
            if cell.key not in ordered:
                for need in cell.needs:
                    visit(need)
                ordered[cell.key] = cell

        for cell in self.cells:
            visit(cell)
        return tuple(ordered.values())
