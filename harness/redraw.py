"""Draws a report from a tracking store alone: no results, no data, no work folder but one to write into.

Who draws is found here, never on the server: among the experiments of this package, or in the file that was named on the
command line. What a server says of it is compared with these names, and nothing that it names is imported.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import configs
from configs.experiment import Draw
from harness import carried, publish
from harness.carried import Carried
from harness.source import UsageError, find, names
from harness.tracked import opened
from harness.workdir import Workdir


@dataclass(frozen=True, kw_only=True, slots=True)
class Redrawn:
    """What came of it."""

    files: Mapping[str, Path]
    """Written files by name; those of a part as PART/FILE."""
    problems: Mapping[str, str]
    """Why a part could not be drawn, by its name."""
    lost: Mapping[str, str]
    """Why a cell that was collected is not in the report, by its key."""
    missing: int
    """Cells without a result, those lost among them."""
    cells: int
    folder: str
    """Which work folder collected what was drawn, as host:name."""


def redraw(
    words: str, address: str, folder: str, workdir: Workdir, formats: Collection[str]
) -> Redrawn:
    """Draw and write the report of an experiment that a tracking store has.

    Args:
        words: NAME, or FILE.py:FUNCTION.
        address: of the store, as `harness.uri.checked` gives it.
        folder: which work folder's, where several collected it.
        workdir: where the report goes.
        formats: of its files.

    Raises:
        NotTracked: when the store does not have it or cannot be read.
        UsageError: when it is not known here how to draw it.
    """
    name = words.rpartition(":")[2]
    with opened(address, name, folder) as tracked:
        settings = tuple(tracked.carried.content["provenance"]["knobs"])
        draws = {
            part: find_draw(words, part, told, settings) for part, told in tracked.parts.items()
        }
        apart = bool(tracked.carried.parts)
        while True:
            lost = {**tracked.lost, **tracked.kept.damaged}
            values = {cell: each for cell, each in tracked.values.items() if cell not in lost}
            gathered = {
                part: carried.evidence(
                    told, values, lost, tracked.kept.of(set(told.runs) & set(values))
                )
                for part, told in tracked.parts.items()
            }
            known = len(tracked.kept.damaged)
            # Whatever a drawing function stumbles over may be the store's doing, and is told in a sentence.
            drawings = publish.drawings_from(gathered, draws, formats, apart=True)
            if len(tracked.kept.damaged) == known:
                break  # else a file was not what it should be: once more, without its cell
        whole = carried.whole_of(tracked.carried, tracked.parts, values) if apart else None
        files = publish.write(name, workdir, drawings, whole, formats)
    cells = len(tracked.carried.content["names"])
    return Redrawn(
        files=files,
        problems={part: each.problem for part, each in drawings.items() if each.problem},
        lost=lost,
        missing=cells - len(values),
        cells=cells,
        folder=tracked.folder.name,
    )


def find_draw(words: str, part: str, told: Carried, settings: tuple[str, ...]) -> Draw:
    """What draws a report: found without making the experiment's cells, which may need data that is not here.

    Args:
        words: NAME, or FILE.py:FUNCTION, as given by the user.
        part: name of the report.
        told: what the store says of it.
        settings: its knobs, for a function within a function, which only the experiment itself can give.

    Raises:
        UsageError: when it is not found.
    """
    module, _, function = told.drawn_by.partition(":")
    if module in {f"configs.{each.name}" for each in pkgutil.iter_modules(configs.__path__)}:
        found = _top_level(importlib.import_module(module), function)
        if found is not None:
            return found
    if ":" not in words and words not in names():
        raise UsageError(
            f"{part} is drawn by a function of somebody's own: write FILE.py:{words} in place of {words}"
        )
    source = find(words)
    home = inspect.getmodule(source.function)
    found = _top_level(home, function) if home is not None and home.__name__ == module else None
    if found is not None:
        return found
    made = source.experiment(settings)
    draw = made.parts[part].draw if part in made.parts else made.draw
    if draw is None:
        raise UsageError(f"{words} has no report {part}: it was changed since it was collected")
    return draw


def _top_level(module: object, function: str) -> Draw | None:
    """A drawing function that is defined in a module, if it is."""
    found = vars(module).get(function) if function.isidentifier() else None
    if not inspect.isfunction(found) or found.__module__ != getattr(module, "__name__", None):
        return None
    return found if list(inspect.signature(found).parameters) == ["evidence", "formats"] else None
