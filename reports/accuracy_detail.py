"""Tables 1, 3 and 4 in detail: every split, spread, interval and comparison, one row a line.

The tables as the paper prints them are in `reports.accuracy_tables`.
"""

import math
from collections.abc import Sequence

from reports import accuracy_notes
from reports.accuracy_layouts import Layout, dataset_words, stream_words
from reports.accuracy_lines import Line
from reports.evidence import Evidence
from reports.tables import (
    INCOMPLETE,
    MISSING,
    Column,
    Table,
    count,
    interval,
    mean_sd,
    number,
    p_value,
)

MOST_SPLITS = 5
"""More splits than this are no columns: the csv file has them."""
LACKING = f"{MISSING} {INCOMPLETE}"
"""Where there is no number because something that it should be over is missing."""


def label(evidence: Evidence, *parts: str) -> str:
    """A LaTeX label without any character that LaTeX could trip over."""
    text = "-".join((evidence.experiment, *parts)).lower()
    return "tab:" + "".join(each if each.isascii() and each.isalnum() else "-" for each in text)


def titled(evidence: Evidence, dataset: str) -> str:
    """The report's title with the dataset, which is not said twice."""
    if evidence.title.endswith(f", {dataset}"):
        return f"{evidence.title.removesuffix(dataset)}{dataset_words(dataset)}"
    return f"{evidence.title}: {dataset_words(dataset)}"


def detail(dataset: str, lines: Sequence[Line], layout: Layout, evidence: Evidence) -> Table:
    """One row per method and column: every split, spread, interval, the other accuracies, the published number."""
    mine = [line for line in lines if line.dataset == dataset]
    splits = sorted({split for line in mine for split in line.by_split})
    shown = splits if len(splits) <= MOST_SPLITS else []
    compared = any(line.published is not None for line in mine)
    columns = [
        Column(header="column"),
        Column(header=layout.heading),
        Column(header="n", align="right"),
        *(Column(header=f"split {each}", align="right") for each in shown),
        Column(header="mean ± sd", align="right"),
        Column(header="95 % interval", align="right"),
        Column(header="block", align="right"),
        Column(header="top-5", align="right"),
        *([Column(header="published", align="right")] if compared else []),
        *([Column(header="difference", align="right")] if compared else []),
    ]  # fmt: skip
    rows = []
    for line in mine:
        whole = line.complete
        row = [
            accuracy_notes.column_of(line),
            layout.name(line.method),
            f"{count(line.n, line.expected)} {_units(line)}",
            *(_or_lacking(line.by_split.get(each), whole=each not in line.by_split) for each in shown),
            mean_sd(line.mean, line.sd) if whole else LACKING,
            LACKING if not whole or line.unanswered else interval(line.low, line.high),
            _block(line),
            _or_lacking(line.first, whole=whole and not line.unanswered),
        ]  # fmt: skip
        if compared:
            row.append(number(None if line.published is None else line.published.value))
            lost = line.published is not None and not line.complete
            row.append(LACKING if lost else number(line.minus_published, signed=True))
        rows.append(tuple(row))
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            f"{titled(evidence, dataset)}, in detail. Video accuracy in percent: each split, then mean ± sd (ddof = 1) over "
            f"the complete ones that n counts. {accuracy_notes.intervals(mine)} Block and top-5 accuracy in percent."
            + (" “difference” is ours minus published, in percentage points." if compared else "")
        ),
        notes=tuple(accuracy_notes.under_detail(mine)),
        label=label(evidence, "detail", dataset),
        group_by=1,
        rests_on=tuple(line.cells for line in mine),
    )


def _units(line: Line) -> str:
    """What a line's n counts."""
    if line.expected == 1:
        return "run"
    return line.over or "runs"


def _block(line: Line) -> str:
    """Accuracy over blocks; frames say so; fused predictions have no parts."""
    if not line.block_metric:
        return MISSING if line.complete else LACKING
    shown = _or_lacking(line.block, whole=False)
    return f"{shown} (frames)" if line.block_metric == "frame_accuracy" else shown


def _or_lacking(value: float | None, *, whole: bool) -> str:
    """A number; without one a dash, marked unless it is no loss."""
    if value is None or math.isnan(value):
        return MISSING if whole else LACKING
    return number(value)


def comparisons(
    lines: Sequence[Line], layout: Layout, evidence: Evidence
) -> list[tuple[str, Table]]:
    """Every line against what it is compared with: difference, interval, test, p; nothing where no line has one."""
    compared = [line for line in lines if line.comparisons]
    if not compared:
        return []
    columns = (
        *(Column(header="column"), Column(header=layout.heading), Column(header="minus")),
        Column(header="difference", align="right"),
        Column(header="95 % interval", align="right"),
        Column(header="pairs", align="right"),
        Column(header="test"),
        *(Column(header="p", align="right"), Column(header="p, Holm", align="right")),
    )
    rows, rests = [], []
    for line, against in [(each, other) for each in compared for other in each.comparisons]:
        found = against.comparison
        where = dataset_words(line.dataset)
        if layout.by_stream:
            row = [where, f"{layout.name(line.method)}, {stream_words(line.stream)}"]
            row.append(stream_words(against.stream))
        else:
            row = [f"{where}, {accuracy_notes.column_of(line)}", layout.name(line.method)]
            row.append(layout.name(against.method))
        if found is None:
            row += [LACKING] * 4 + [LACKING] * 2
        else:
            row += [
                number(found.difference, signed=True),
                interval(found.low, found.high, signed=True),
                f"{found.n:,}",
                found.test or MISSING,
                p_value(found.p),
                p_value(against.p_holm),
            ]
        rows.append(tuple(row))
        rests.append((*line.cells, *against.cells))
    table = Table(
        columns=columns,
        rows=tuple(rows),
        caption=f"{evidence.title}: differences of video accuracy in percentage points, paired. {accuracy_notes.tests(compared)}",
        notes=tuple(accuracy_notes.under_comparisons(compared)),
        label=label(evidence, "differences"),
        group_by=1,
        rests_on=tuple(rests),
    )
    return [("Differences", table)]
