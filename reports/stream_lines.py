"""The lines of the report of streams: the mean over splits of each method on one stream, and the paper's number of it.

How they are shown is in `reports.two_stream`.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from reports.evidence import Evidence
from reports.frame import by_split
from reports.join import join
from reports.published import PRETRAINED, Published, entry

METRIC = "video_accuracy"
LINES = (
    *("dataset", "method", "stream", "shots", "labels_per_class", "splits", "expected"),
    *("runs_per_split", "mean", "sd", "published", "published_in"),
)

_IN_TABLE_4 = {PRETRAINED: "Composite LSTM Model"}


def over_splits(evidence: Evidence) -> pd.DataFrame:
    """One line per (dataset, method, stream, labels): mean and sd (ddof = 1) over splits of each split's mean.

    Returns:
        The columns of `LINES`. `splits` counts splits of which every resample is in, of `expected`; as soon as one is
        not, `mean` and `sd` are empty. `runs_per_split` is how many runs (subsets, or seeds) each split's number is over,
        the fewest where splits differ. `published` is the paper's number of the same stream, from `published_in`.

    Raises:
        ValueError: when the cells of one line are of different streams.
    """
    cells = join(evidence, METRIC)
    point = ["dataset", "method", "shots"]
    streams = {
        tuple(map(str, place)): _one_stream(place, mine)
        for place, mine in cells.groupby(point, sort=False)
    }
    methods = list(dict.fromkeys(cells["method"]))
    lines = []
    for place, rows in by_split(evidence, METRIC).groupby(point, sort=False):
        dataset, method, shots = map(str, place)
        complete = rows.loc[rows["n"] == rows["expected"], "mean"]
        whole = len(complete) == len(rows)
        stream = streams[dataset, method, shots]
        base = _base(method)
        found = published_of(dataset, base, shots, stream)
        lines.append(
            {
                "dataset": dataset,
                "method": base,
                "stream": stream,
                "shots": shots,
                "labels_per_class": rows["labels_per_class"].mean(),
                "splits": len(complete),
                "expected": len(rows),
                "runs_per_split": int(rows["expected"].min()),
                "mean": complete.mean() if whole else math.nan,
                "sd": complete.std(ddof=1) if whole else math.nan,
                "published": math.nan if found is None else found.value,
                "published_in": "" if found is None else found.source,
                "rank": methods.index(method),
            }
        )
    frame = pd.DataFrame(lines).sort_values(["dataset", "rank", "labels_per_class"], kind="stable")
    return frame[list(LINES)].reset_index(drop=True)


def _one_stream(place: Sequence[object], cells: pd.DataFrame) -> str:
    """The stream of the cells of one line; refuses several, as no number of the paper is of a mixture."""
    found = dict.fromkeys(cells["stream"])
    if len(found) > 1:
        splits = "; ".join(
            f"{stream} on splits {', '.join(map(str, sorted(set(mine))))}"
            for stream, mine in cells.groupby("stream", sort=False)["split"]
        )
        raise ValueError(
            f"{', '.join(map(str, place))}: its cells are of several streams ({splits}) and a mean over them would be of none; "
            "take percepts of one stream for all splits"
        )
    return str(next(iter(found)))


def published_of(dataset: str, base: str, shots: str, stream: str) -> Published | None:
    """The paper's number of a method without its stream, on a stream."""
    if stream == "rgb+flow":
        return entry("table4", dataset, _IN_TABLE_4.get(base, base), shots, modality=stream)
    return entry("table1", dataset, base, shots, modality=stream)


def _base(method: str) -> str:
    """A method without its stream."""
    return method.rpartition(", ")[0] or method


def label_of_line(evidence: Evidence) -> dict[tuple[str, str], str]:
    """From a method without its stream, and a stream, to the label of the cells."""
    return {
        (_base(str(cell["method"])), str(cell.get("stream", "rgb"))): str(cell["method"])
        for cell in evidence.expected
    }


def points_of(points: pd.DataFrame, label: str, line: Mapping[Hashable, object]) -> pd.DataFrame:
    """Of each split the point that a line is the mean of."""
    return points[
        (points["method"] == label)
        & (points["dataset"] == line["dataset"])
        & (points["shots"] == line["shots"])
    ]
