"""Every number behind Tables 1, 3 and 4, unrounded: frames for csv and json."""

import math
from collections.abc import Sequence

import pandas as pd

from reports.accuracy_layouts import Layout
from reports.accuracy_lines import METRIC, SMALLER, Against, Line
from reports.evidence import Evidence
from reports.join import every_score


def frame(lines: Sequence[Line]) -> pd.DataFrame:
    """Every number of the lines, unrounded: one line each, its cells' keys at the end.

    Returns:
        As `Line`, with a column `split_K` for the number of each split K; `minus_published` and `difference` (to
        `baseline_method` on `baseline_stream`) in percentage points. Where a line has a second comparison, its numbers are
        in columns that begin with "also_".
    """
    splits = sorted({split for line in lines for split in line.by_split})
    twice = any(line.also is not None for line in lines)
    return pd.DataFrame.from_records([_record(line, splits, twice=twice) for line in lines])


def _record(line: Line, splits: Sequence[int], *, twice: bool) -> dict[str, object]:
    also = {f"also_{name}": value for name, value in _compared(line.also).items()} if twice else {}
    return {
        "dataset": line.dataset,
        "stream": line.stream,
        "shots": line.shots,
        "method": line.method,
        "labels_per_class": line.labels_per_class,
        "overlap": line.overlap,
        "over": line.over,
        "n": line.n,
        "expected": line.expected,
        METRIC: line.mean,
        "sd": line.sd,
        "ci_low": line.low,
        "ci_high": line.high,
        "interval": line.interval,
        **{f"split_{split}": line.by_split.get(split, math.nan) for split in splits},
        **{name: line.block if line.block_metric == name else math.nan for name in SMALLER},
        "top5_video_accuracy": line.first,
        "published": math.nan if line.published is None else line.published.value,
        "published_in": "" if line.published is None else line.published.source,
        "minus_published": line.minus_published,
        **_compared(line.against),
        **also,
        "cells": " ".join(line.cells),
        "runs": " ".join(line.runs),
    }


def _compared(against: Against | None) -> dict[str, object]:
    found = None if against is None else against.comparison
    return {
        "baseline_method": "" if against is None else against.method,
        "baseline_stream": "" if against is None else against.stream,
        "difference": math.nan if found is None else found.difference,
        "difference_ci_low": math.nan if found is None else found.low,
        "difference_ci_high": math.nan if found is None else found.high,
        "pairs": 0 if found is None else found.n,
        "test": "" if found is None else found.test,
        "p": math.nan if found is None else found.p,
        "p_holm": math.nan if against is None else against.p_holm,
    }


def runs(evidence: Evidence) -> bytes:
    """Every score of every run, and the stream of its cell."""
    scores = every_score(evidence)
    stream_of = {str(cell["cell"]): str(cell.get("stream", "rgb")) for cell in evidence.expected}
    scores.insert(3, "stream", [stream_of[str(key)] for key in scores["cell"]])
    return unrounded(scores)


def all_published(layout: Layout) -> pd.DataFrame:
    """One line for each number that the paper prints in this table."""
    names = ("dataset", "method", "shots", "modality", "value", "unit", "source", "note")
    records = [{name: getattr(one, name) for name in names} for one in layout.printed()]
    return pd.DataFrame.from_records(records, columns=list(names))


def unrounded(lines: pd.DataFrame) -> bytes:
    """As csv, every float with all its digits, empty for missing."""
    return lines.to_csv(index=False, na_rep="", lineterminator="\n").encode()
