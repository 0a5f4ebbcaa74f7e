"""Scores joined to the cells that should have them: a missing score stays visible as an empty value.

This is the only place where rows meet cells, so every way in which the two can disagree is refused here, in a sentence.
Reductions over the joined rows (means, spreads, counts) are in `reports.frame`.
"""

import math
from collections.abc import Mapping

import pandas as pd

from reports.evidence import Evidence, Value

COORDINATES = ("dataset", "split", "method", "shots", "labels_per_class", "resample")
"""The keys that say where a cell stands, in the order in which files show them."""

SCORE = ("metric", "value", "unit", "higher_is_better")


def metrics(evidence: Evidence) -> tuple[str, ...]:
    """The names of the metrics that any row scores, sorted."""
    return tuple(sorted({str(row["metric"]) for row in evidence.rows if "metric" in row}))


def join(evidence: Evidence, metric: str) -> pd.DataFrame:
    """One line per expected cell, in the order of `expected`, with its score of `metric` where it has one.

    Args:
        evidence: The cells and the scores.
        metric: Name of the metric, for example "video_accuracy".

    Returns:
        Columns `cell`, the six `COORDINATES`, `stream` ("rgb" where a cell says none), `pool_per_class` (empty where a cell
        says none), `run`, `metric`, `value` and `unit`. `value` and `run` are empty for a cell without this score.

    Raises:
        ValueError: If a score cannot be believed: its cell is not expected, it is there twice, it is not a finite
            number, it contradicts its cell, or no score at all is named `metric` although others exist.
    """
    return evidence.once(("join", metric), lambda: _joined(evidence, metric))


def _joined(evidence: Evidence, metric: str) -> pd.DataFrame:
    cells = _checked_cells(evidence)
    scores = _checked_scores(evidence, cells)
    known = metrics(evidence)
    if known and metric not in known:
        raise ValueError(f"no score is named {metric!r}; the scores here are {', '.join(known)}")
    found = {cell: row for (cell, name), row in scores.items() if name == metric}
    units = {str(row.get("unit", "%")) for row in found.values()} or {"%"}
    if len(units) > 1:
        raise ValueError(
            f"{metric} is given in several units ({', '.join(sorted(units))}); use one"
        )
    records = []
    for key, cell in cells.items():
        row = found.get(key)
        records.append(
            {"cell": key}
            | {name: cell[name] for name in COORDINATES}
            | {
                "stream": str(cell.get("stream", "rgb")),
                "pool_per_class": cell.get("pool_per_class", math.nan),
                "run": None if row is None else row.get("run"),
                "metric": metric,
                "value": math.nan if row is None else _finite(row["value"], key, metric),
                "unit": next(iter(units)),
            }
        )
    frame = pd.DataFrame.from_records(
        records,
        columns=[
            *("cell", *COORDINATES, "stream", "pool_per_class"),
            *("run", "metric", "value", "unit"),
        ],
    )
    return frame.astype({"labels_per_class": float, "pool_per_class": float, "value": float})


def every_score(evidence: Evidence) -> pd.DataFrame:
    """Every score of every run, unreduced, in the order of `expected` and then by metric."""
    cells = _checked_cells(evidence)
    scores = _checked_scores(evidence, cells)
    order = {key: place for place, key in enumerate(cells)}
    ordered = sorted(scores.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    records = [
        {"cell": cell, "run": row.get("run")}
        | {name: cells[cell][name] for name in COORDINATES}
        | {name: row.get(name) for name in SCORE}
        for (cell, _), row in ordered
    ]
    frame = pd.DataFrame.from_records(records, columns=["cell", "run", *COORDINATES, *SCORE])
    return frame.astype({"labels_per_class": float, "value": float})


def missing(evidence: Evidence, metric: str) -> pd.DataFrame:
    """The expected cells without a score of `metric`, each with a reason in one line.

    A failed cell that is not expected itself (a pretraining the expected cells need, say) follows at the end with empty
    coordinates, since it usually is the reason for the others.

    Returns:
        Columns `cell`, the six `COORDINATES`, `reason`.
    """
    return evidence.once(("missing", metric), lambda: _missing(evidence, metric))


def _missing(evidence: Evidence, metric: str) -> pd.DataFrame:
    cells = join(evidence, metric)
    with_run = {str(row["cell"]) for row in evidence.rows}
    records = []
    for record in cells[cells["value"].isna()].to_dict("records"):
        key = str(record["cell"])
        silent = (
            f"its run has no score named {metric}" if key in with_run else "no finished run yet"
        )
        reason = evidence.failed.get(key, silent)
        records.append({name: record[name] for name in ("cell", *COORDINATES)} | {"reason": reason})
    expected = set(cells["cell"])
    for key in sorted(set(evidence.failed) - expected):
        records.append({"cell": key, "reason": evidence.failed[key]})
    return pd.DataFrame.from_records(records, columns=["cell", *COORDINATES, "reason"])


def _checked_cells(evidence: Evidence) -> dict[str, Mapping[str, Value]]:
    """Expected cells by key; refuses cells that could not be told apart or cannot be drawn."""
    cells: dict[str, Mapping[str, Value]] = {}
    places: dict[tuple[Value, ...], str] = {}
    for cell in evidence.expected:
        absent = [name for name in ("cell", *COORDINATES) if cell.get(name) is None]
        if absent:
            raise ValueError(
                f"the expected cell {dict(cell)!r} does not say its {', '.join(absent)}"
            )
        key = str(cell["cell"])
        for name in ("dataset", "method", "shots"):
            if not isinstance(cell[name], str):
                raise TypeError(f"cell {key} has {name} {cell[name]!r}; it is a text, such as '10'")
        labels = cell["labels_per_class"]
        if isinstance(labels, (str, bool)) or not (labels and math.isfinite(labels) and labels > 0):
            raise ValueError(
                f"cell {key} has labels_per_class {labels!r}; it is a number of videos above 0"
            )
        if key in cells:
            raise ValueError(f"cell {key} is expected twice; list each cell once")
        # labels_per_class follows from the others, so it does not make two cells different
        place = (
            *(cell[name] for name in COORDINATES if name != "labels_per_class"),
            cell.get("stream", "rgb"),
        )
        if place in places:
            raise ValueError(
                f"cells {places[place]} and {key} both stand at {place}; averaging them would hide a difference, "
                "so give one of them another method or resample"
            )
        cells[key] = cell
        places[place] = key
    return cells


def _checked_scores(
    evidence: Evidence, cells: Mapping[str, Mapping[str, Value]]
) -> dict[tuple[str, str], Mapping[str, Value]]:
    """Rows by (cell, metric); refuses strangers, repeats, values that are not numbers, and contradictions."""
    scores: dict[tuple[str, str], Mapping[str, Value]] = {}
    for row in evidence.rows:
        absent = [name for name in ("cell", "metric", "value") if name not in row]
        if absent:
            raise ValueError(f"the row {dict(row)!r} does not say its {', '.join(absent)}")
        key, metric = str(row["cell"]), str(row["metric"])
        if key not in cells:
            raise ValueError(
                f"a row scores {metric} of cell {key}, which {evidence.experiment} does not expect; "
                "leave out runs of other experiments"
            )
        if (key, metric) in scores:
            raise ValueError(
                f"cell {key} has two scores of {metric} (runs {scores[key, metric].get('run')} and "
                f"{row.get('run')}); accept one run per cell"
            )
        _finite(row["value"], key, metric)
        for name in ("dataset", "split", "method", "shots", "resample"):
            if name in row and row[name] != cells[key][name]:
                raise ValueError(
                    f"a row of cell {key} says {name} {row[name]!r}, but the cell's is {cells[key][name]!r}"
                )
        scores[key, metric] = row
    return scores


def _finite(value: Value, cell: str, metric: str) -> float:
    """The value as a number, or a sentence: a hole must never enter a mean, not even as 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(
            f"cell {cell} has {metric} {value!r}, which is not a finite number; never average a hole: "
            "leave the row out and the cell counts as missing"
        )
    return float(value)
