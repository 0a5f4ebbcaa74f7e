"""From a line of a report back to its cells: which cells a number rests on, and the list of all cells for a page.

Links go from a report's folder to the folders of its runs, in the same work folder: `provenance["runs"]` says where those
are, such as "../../runs". What is drawn does therefore not depend on where a work folder lies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

import pandas as pd

from reports.evidence import Evidence, Value
from reports.join import join

MOST = 2_000
"""Cells that a page lists; of more it says where they are listed."""
RUNS = "runs"
"""The key of `provenance` for where the folders of runs are, from the folder of the report."""
ANCHOR = "cells"
"""The id of the list in a page."""

_FOLDER_DIGITS = 16  # of a cell's key, as the name of its folder
_ALWAYS = ("dataset", "method")
_FIRST = ("dataset", "stream", "split", "method", "shots", "resample", "seed")
_NEVER = ("cell", "trained_cell")

Lines = dict[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellList:
    """All cells of a report, for its page."""

    lines: tuple[str, ...]
    """HTML of the list."""
    places: Mapping[str, int] = field(default_factory=dict)
    """Key of a cell to its place in the list; empty where the page does not list them."""


def cells_of_lines(
    evidence: Evidence, metric: str, line: Sequence[str], *, whole: Sequence[str] = ()
) -> Lines:
    """The cells that the number of each line was reduced from.

    Args:
        evidence: The cells and the scores.
        metric: Of the number.
        line: Coordinates that a line of the report stands for, such as ("dataset", "method", "shots").
        whole: Coordinates within which a missing score leaves all others out, such as a resample over its splits.

    Returns:
        By the line's coordinates as texts, the keys of the cells in the order of `evidence.expected`. A cell without the
        score is behind no number.
    """
    cells = join(evidence, metric)
    grouped = cells.groupby([*line, *whole] if whole else ["cell"], sort=False)["value"]
    used = cells[grouped.transform("count") == grouped.transform("size")]
    found: dict[tuple[str, ...], list[str]] = {}
    for key, *place in used[["cell", *line]].itertuples(index=False):
        found.setdefault(tuple(map(str, place)), []).append(str(key))
    return {place: tuple(keys) for place, keys in found.items()}


def own_cells(lines: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """The cell of each line, for lines that are of one cell each; none for a line whose cell has no run.

    Args:
        lines: With the columns `cell` and `run`, as of `reports.scores.scores`.
    """
    return tuple(
        (str(cell),) if there else ()
        for cell, there in zip(lines["cell"], lines["run"].notna(), strict=True)
    )


def record_of_cells(evidence: Evidence) -> list[dict[str, object]]:
    """Every expected cell for JSON: its coordinates, its scores by metric, and its run; null where there is none."""
    scores, runs = _by_cell(evidence)
    return [
        {
            **cell,
            "run": runs.get(str(cell["cell"])),
            "scores": {metric: row["value"] for metric, row in scores[str(cell["cell"])].items()},
        }
        for cell in evidence.expected
    ]


def cell_list(evidence: Evidence, *, listed_in: str = "") -> CellList:
    """The list of all expected cells, folded; after them the runs of cells that these need.

    Args:
        evidence: The cells and the scores.
        listed_in: The file that has every cell, named where there are too many for a page; NAME.json if left out.
    """
    scores, runs = _by_cell(evidence)
    done = sum(str(cell["cell"]) in runs for cell in evidence.expected)
    noun = "cell" if len(evidence.expected) == 1 else "cells"
    summary = f"{len(evidence.expected):,} {noun}, {done:,} with an accepted result"
    if len(evidence.expected) > MOST:
        file = listed_in or f"{evidence.experiment}.json"
        line = f'<p id="{ANCHOR}">{summary}: <a href="{quote(file)}">{escape(file)}</a> lists them.</p>'
        return CellList(lines=(line,))
    shown, same = _coordinates(evidence.expected)
    metrics = list(dict.fromkeys(name for found in scores.values() for name in found))
    units = {str(row["metric"]): str(row.get("unit", "")) for row in evidence.rows}
    heads = [
        *("cell", *shown),
        *(f"{name} ({units[name]})" if units[name] else name for name in metrics),
        "run",
    ]
    body = []
    for place, cell in enumerate(evidence.expected):
        key = str(cell["cell"])
        values = [_shown(cell.get(name)) for name in shown]
        values += [
            f"{row['value']:.6g}" if (row := scores[key].get(metric)) else "\N{EN DASH}"
            for metric in metrics
        ]
        body.append(_row(evidence, place, key, values, str(runs.get(key) or "")))
    needed = evidence.provenance.get("needed_runs")
    for place, (key, run) in enumerate(
        needed.items() if isinstance(needed, Mapping) else (), len(evidence.expected)
    ):
        values = ["needed by others", *[""] * (len(shown) + len(metrics) - 1)]
        body.append(_row(evidence, place, str(key), values, str(run["run"])))
    sentence = "; ".join(f"{name} {_shown(value)}" for name, value in same.items())
    lines = [
        f'<details class="cells" id="{ANCHOR}"><summary>{summary}</summary>',
        *([f'<p class="note">The same for all: {escape(sentence)}.</p>'] if same else []),
        '<div class="wide"><table class="sortable">',
        "<thead><tr>",
        *(f'<th scope="col" class="left">{escape(head)}</th>' for head in heads),
        "</tr></thead>",
        "<tbody>",
        *body,
        "</tbody></table></div></details>",
    ]
    keys = [str(cell["cell"]) for cell in evidence.expected]
    return CellList(lines=tuple(lines), places={key: place for place, key in enumerate(keys)})


def _by_cell(
    evidence: Evidence,
) -> tuple[dict[str, dict[str, Mapping[str, Value]]], dict[str, Value]]:
    """Scores by cell and metric, and the accepted run by cell."""
    scores: dict[str, dict[str, Mapping[str, Value]]] = {
        str(cell["cell"]): {} for cell in evidence.expected
    }
    runs: dict[str, Value] = {}
    for row in sorted(evidence.rows, key=lambda row: str(row["metric"])):
        scores.setdefault(str(row["cell"]), {})[str(row["metric"])] = row
        runs[str(row["cell"])] = row.get("run")
    return scores, runs


def _coordinates(
    cells: Sequence[Mapping[str, Value]],
) -> tuple[list[str], dict[str, Value]]:
    """Names of the coordinates that tell the cells apart, as few as do, and the values that are the same for all."""
    names = dict.fromkeys([*_FIRST, *(name for cell in cells for name in cell)])
    there = [name for name in names if name not in _NEVER and any(name in cell for cell in cells)]
    differ = [name for name in there if len({repr(cell.get(name)) for cell in cells}) > 1]
    shown = [name for name in there if name in _ALWAYS or (name in _FIRST and name in differ)]
    for name in differ:
        if len({tuple(repr(cell.get(each)) for each in shown) for cell in cells}) == len(cells):
            break
        shown += [] if name in shown else [name]
    return shown, {name: cells[0][name] for name in there if name not in {*differ, *shown}}


def _shown(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(evidence: Evidence, place: int, key: str, values: Sequence[str], run: str) -> str:
    """A line of the list; the cell and the run lead to the run's folder."""
    short = key[:_FOLDER_DIGITS] if evidence.provenance.get(RUNS) else key
    parts = [_link(evidence, key, "", short, title=key) if run else f'<span title="{escape(key)}">{escape(short)}</span>']  # fmt: skip
    parts += [escape(value) for value in values]
    parts.append(_link(evidence, key, run, run) if run else "no result")
    cells = "".join(f'<td class="left">{part}</td>' for part in parts)
    return f'<tr data-cell="{place}">{cells}</tr>'


def _link(evidence: Evidence, key: str, run: str, words: str, *, title: str = "") -> str:
    """A link to the folder of a cell, or of one run of it; the words alone where nobody says where the runs are."""
    runs = evidence.provenance.get(RUNS)
    told = f' title="{escape(title)}"' if title else ""
    if not runs:
        return f"<span{told}>{escape(words)}</span>"
    place = "/".join([str(runs), *(quote(each, safe="") for each in (key[:_FOLDER_DIGITS], run) if each)])  # fmt: skip
    return f'<a href="{escape(place)}/"{told}>{escape(words)}</a>'
