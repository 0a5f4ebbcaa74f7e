"""The machine-readable companion of a report: every number drawn, the run behind each cell, and what is missing.

Whoever doubts a point of a figure starts here: from the curve to its cells, to their runs, to commit and knobs.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from reports.cells import RUNS
from reports.evidence import Evidence
from reports.join import join, missing
from reports.tables import Table

Keys = Sequence[tuple[str, ...]]
"""For each of some lines the keys of the cells that its numbers were reduced from."""


def record(
    evidence: Evidence,
    metric: str,
    *,
    curve: pd.DataFrame,
    differences: pd.DataFrame,
    curve_rests_on: Keys = (),
    differences_rest_on: Keys = (),
    tables: Sequence[tuple[str, Table]] = (),
) -> bytes:
    """JSON with sorted keys, UTF-8, floats unrounded and null where there is no number.

    Args:
        evidence: The cells, the scores and their origin.
        metric: Name of the metric that was drawn.
        curve: The drawn points, as of `reports.frame.curve`.
        differences: The paired differences, one under the other.
        curve_rests_on: For each of the points the cells behind it; empty if not known.
        differences_rest_on: The same of the differences.
        tables: Heading and table, as they stand in the report.
    """
    own = ("commit", "commits", "knobs", "notes", RUNS)
    document = {
        "experiment": evidence.experiment,
        "title": evidence.title,
        "metric": metric,
        "commit": commit(evidence),
        "knobs": evidence.provenance.get("knobs"),
        "notes": list(evidence.notes),
        "provenance": {k: v for k, v in evidence.provenance.items() if k not in own},
        "curve": record_of_lines(_lines(curve), curve_rests_on),
        "differences": record_of_lines(_lines(differences), differences_rest_on),
        "tables": record_of_tables(tables),
        "cells": _lines(join(evidence, metric).drop(columns=["metric", "unit"])),
        "missing": _lines(missing(evidence, metric)),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def record_of_lines(
    lines: Sequence[Mapping[str, object]], rests_on: Keys = ()
) -> list[dict[str, object]]:
    """Lines for JSON, each with the keys of its `cells`.

    Args:
        lines: Every number by its column.
        rests_on: For each line its cells; where left out, a line's own `cell` is what it rests on.

    Raises:
        ValueError: When not every line has its cells.
    """
    if not rests_on:
        rests_on = [(str(line["cell"]),) if line.get("cell") else () for line in lines]
    return [{**line, "cells": list(keys)} for line, keys in zip(lines, rests_on, strict=True)]


def record_of_tables(sections: Sequence[tuple[str, Table]]) -> list[dict[str, object]]:
    """Tables for JSON as they are shown: columns, rows, and for each row the cells it rests on where the table says so."""
    return [{"heading": heading, **asdict(table)} for heading, table in sections]


def commit(evidence: Evidence) -> object:
    """The commit, or several where the runs come from several; None when not recorded."""
    return evidence.provenance.get("commit", evidence.provenance.get("commits"))


def _lines(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The lines of a frame for JSON, which has no nan: an absent number is null."""
    return [
        {
            str(key): None if isinstance(value, float) and math.isnan(value) else value
            for key, value in line.items()
        }
        for line in frame.to_dict("records")
    ]
