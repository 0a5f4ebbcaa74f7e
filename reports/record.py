"""The machine-readable companion of a report: every number drawn, the run behind each cell, and what is missing.

Whoever doubts a point of a figure starts here: from the curve to its cells, to their runs, to commit and knobs.
"""

import json
import math

import pandas as pd

from reports.evidence import Evidence
from reports.join import join, missing


def record(
    evidence: Evidence, metric: str, *, curve: pd.DataFrame, differences: pd.DataFrame
) -> bytes:
    """JSON with sorted keys, UTF-8, floats unrounded and null where there is no number.

    Args:
        evidence: The cells, the scores and their origin.
        metric: Name of the metric that was drawn.
        curve: The drawn points, as of `reports.frame.curve`.
        differences: The paired differences, one under the other.
    """
    own = ("commit", "commits", "knobs", "notes")
    document = {
        "experiment": evidence.experiment,
        "title": evidence.title,
        "metric": metric,
        "commit": commit(evidence),
        "knobs": evidence.provenance.get("knobs"),
        "notes": list(evidence.notes),
        "provenance": {k: v for k, v in evidence.provenance.items() if k not in own},
        "curve": _lines(curve),
        "differences": _lines(differences),
        "cells": _lines(join(evidence, metric).drop(columns=["metric", "unit"])),
        "missing": _lines(missing(evidence, metric)),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


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
