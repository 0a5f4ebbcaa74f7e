"""A comparison as tables, the first side called A and the second B: what differs in the mean, in single classes, on single videos, and what has no partner."""

import math
from collections.abc import Hashable, Mapping

import pandas as pd

from reports.comparison import GAINED, POINT, SAME, Compared
from reports.comparison_record import record
from reports.compose import Report
from reports.fewshot_tables import ranges
from reports.pairing import Side
from reports.published import DATASET_NAMES
from reports.tables import (
    INCOMPLETE,
    MINUS,
    MISSING,
    Column,
    Table,
    count,
    csv_bytes,
    number,
    videos,
)

TESTS = {"randomisation over videos": "randomised"}
"""Tests as a narrow column calls them."""
CLASSES_SHOWN = 12
"""Classes in the table of a page; the csv file has all."""
ALONE_SHOWN = 40
"""Lines of what has no partner or no result; json has all."""


def tables(found: Compared, first: Side, second: Side, *, shown: int) -> Report:
    """What is shown of a comparison.

    Args:
        found: the comparison.
        first: its first side.
        second: its second side.
        shown: videos in the table of changed answers.
    """
    sections = []
    if len(found.lines):
        sections.append(("Difference", difference_table(found, first, second)))
    else:
        sections.append(("Scores", score_table(found, first, second)))
    if len(found.classes):
        sections.append(("Classes", class_table(found)))
    if len(found.videos):
        sections.append(("Videos", video_table(found, shown)))
    pairs = len(found.pairing.pairs)
    lone = sum(map(len, found.pairing.alone))
    lacking = sum(map(len, found.without))
    lead = f"{pairs} pairs of cells, by {', '.join(found.pairing.by)}; {lone} cells without a partner, {lacking} without a result."
    return Report(
        lead=lead,
        sections=tuple(sections),
        lines=found.lines if len(found.lines) else found.scores,
        missing=alone_table(found, first, second),
        more={
            "_scores.csv": lambda: csv_bytes(found.scores),
            "_classes.csv": lambda: csv_bytes(found.classes),
            "_videos.csv": lambda: csv_bytes(found.videos),
            ".json": lambda: record(found, first, second),
        },
    )


def difference_table(found: Compared, first: Side, second: Side) -> Table:
    """One row per dataset, stream and number of labelled videos."""
    columns = (
        *_point_columns(found),
        Column(header="n", align="right"),
        Column(header="A", unit="%", align="right"),
        Column(header="B", unit="%", align="right"),
        Column(header=f"B{MINUS}A", align="right"),
        Column(header="95 % interval", align="right"),
        Column(header="test"),
        Column(header="p", align="right"),
        Column(header="Holm", align="right"),
        Column(header=f"+ / {MINUS}", align="right"),
    )
    rows = []
    for line in found.lines.to_dict("records"):
        low, high = (number(line[each], signed=True) for each in ("ci_low", "ci_high"))
        rows.append(
            (
                *_point(found, line),
                count(line["n"], line["expected"]),
                number(line["first"]),
                number(line["second"]),
                number(line["difference"], signed=True),
                MISSING if low == MISSING else f"[{low}, {high}]",
                TESTS.get(line["test"], line["test"]) or MISSING,
                p_text(line["p"]),
                p_text(line["p_holm"]),
                MISSING
                if pd.isna(line["answers"])
                else f"{line['wrong_to_right']:.0f} / {line['right_to_wrong']:.0f}",
            )
        )  # fmt: skip
    splits = sorted({each.split for each in found.pairing.pairs})
    over = f", each first averaged over splits {', '.join(map(str, splits))}" if len(splits) > 1 else ""  # fmt: skip
    return Table(
        columns=columns,
        rows=tuple(rows),
        caption=(
            f"Video accuracy of B ({second.name}) minus that of A ({first.name}){_on(found)}, in percentage points, where both were asked the same: means over n "
            f"resampled subsets or seeds that both have{over}."
        ),
        notes=_notes(found),
        label="tab:comparison",
    )


def _notes(found: Compared) -> tuple[str, ...]:
    """What the intervals and tests of these lines are over."""
    lines, notes = found.lines, []
    if (lines["n"] < lines["expected"]).any():
        notes.append(f"{INCOMPLETE} Incomplete: resamples that both sides have on all splits, of those there should be; means are over these.")  # fmt: skip
    tests = set(lines["test"])
    over_resamples = tests & {"corrected t", "t"}
    if over_resamples:
        notes.append(
            "Where subsets were resampled, interval and test are Student's t over resamples, widened for the training videos "
            "that resamples share (Nadeau & Bengio, 2003; “t” where that share is not known): they speak of drawing other "
            "labelled videos for the same test list."
        )
    if tests - over_resamples - {SAME, ""}:
        notes.append(
            f"{'Elsewhere they' if over_resamples else 'Interval and test'} are over test videos: a paired bootstrap, and the exact "
            "McNemar test on one test list with one run of each, else a randomisation test (“randomised”), which flips the signs of "
            "videos' differences: they speak of other test videos for the same trained models."
        )
    if SAME in tests:
        notes.append(f"{SAME}: A and B are the very same runs, so there is nothing to test.")
    if lines["answers"].notna().any():
        notes.append(f"+ / {MINUS}: answers of all pairs that became right, and that became wrong.")
    tested = int(lines["p"].notna().sum())
    if tested > 1:
        notes.append(f"Holm: p adjusted for the {tested} tests of this table.")
    elif tested:
        notes.append("Holm: this table has one test, so p stays as it is.")
    return tuple(notes)


def score_table(found: Compared, first: Side, second: Side) -> Table:
    """Every pair's scores, for methods that do not classify videos."""
    columns = (
        *_point_columns(found),
        Column(header="seed", align="right"),
        Column(header="metric"),
        Column(header="unit"),
        Column(header="A", align="right"),
        Column(header="B", align="right"),
        Column(header=f"B{MINUS}A", align="right"),
    )
    rows = tuple(
        (
            *_point(found, line),
            str(line["resample"]),
            str(line["metric"]),
            str(line["unit"]),
            number(line["first"], digits=3),
            number(line["second"], digits=3),
            number(line["difference"], digits=3, signed=True),
        )
        for line in found.scores.to_dict("records")
    )
    return Table(
        columns=columns,
        rows=rows,
        caption=f"Scores of A ({first.name}) and of B ({second.name}){_on(found)}, paired by {', '.join(found.pairing.by)}; B minus A.",
        notes=("These runs answered no test videos, so there is nothing to test a difference on.",),
    )  # fmt: skip


def class_table(found: Compared) -> Table:
    """The classes with the largest changes."""
    shown = found.classes.head(CLASSES_SHOWN)
    rows = tuple(
        (
            *_point(found, line),
            str(line["class"]),
            str(line["videos"]),
            number(line["first"]),
            number(line["second"]),
            number(line["difference"], signed=True),
        )
        for line in shown.to_dict("records")
    )
    more = len(found.classes) - len(shown)
    return Table(
        columns=(
            *_point_columns(found),
            Column(header="class"),
            Column(header="test videos", align="right"),
            Column(header="A", unit="%", align="right"),
            Column(header="B", unit="%", align="right"),
            Column(header=f"B{MINUS}A", unit="points", align="right"),
        ),
        rows=rows,
        caption=f"Right answers by true class{_on(found)}, over the test videos of all pairs of a line; the largest changes first.",
        notes=(f"{more} further lines are in the file _classes.csv.",) if more else (),
    )


def video_table(found: Compared, shown: int) -> Table:
    """The videos whose answer changed most, each once with the run in which it did."""
    once = found.videos.drop_duplicates(["dataset", "stream", "shots", "method", "split", "video", "change"])  # fmt: skip
    rows = tuple(
        (
            *_point(found, line),
            str(line["split"]),
            str(line["video"]),
            str(line["class"]),
            f"{line['first_answer']} ({line['first_probability']:.2f})",
            f"{line['second_answer']} ({line['second_probability']:.2f})",
            str(line["change"]),
            f"{line['runs']} of {line['of_runs']}",
        )
        for line in once.head(shown).to_dict("records")
    )
    gained = int((once["change"] == GAINED).sum())
    more = len(once) - len(rows)
    return Table(
        columns=(
            *_point_columns(found),
            Column(header="split", align="right"),
            Column(header="video"),
            Column(header="class"),
            Column(header="answer of A"),
            Column(header="answer of B"),
            Column(header="change"),
            Column(header="runs", align="right"),
        ),
        rows=rows,
        caption=(
            f"Test videos{_on(found)} whose answer became right ({gained}) or wrong ({len(once) - gained}), in how many of the paired runs, and "
            "the answers (with their probabilities) of the run in which the probability of the true class changed most; the largest change first."
        ),
        notes=(f"{more} further videos, and every run, are in the file _videos.csv.",)
        if more
        else (),
    )


def alone_table(found: Compared, first: Side, second: Side) -> Table | None:
    """Cells without a partner or without a result, resamples of one point together; None when there are none."""
    rows: dict[tuple[str, ...], list[int]] = {}
    for reason, both in (
        ("the other side does not ask this", found.pairing.alone),
        ("no finished run yet", found.without),
    ):
        for letter, side, cells in zip("AB", (first, second), both, strict=True):
            for cell in cells:
                why = side.evidence.failed.get(str(cell["cell"]), reason)
                place = tuple(str(cell.get(name, MISSING)) for name in ("dataset", "stream", "method", "shots", "split"))  # fmt: skip
                resample = int(str(cell.get("resample", cell.get("seed", 0))))
                rows.setdefault((letter, *place, why), []).append(resample)
    if not rows:
        return None
    named = [(*place, ranges(numbers), why) for (*place, why), numbers in rows.items()]
    more = len(named) - ALONE_SHOWN
    headers = (
        "side",
        "dataset",
        "stream",
        "method",
        "shots",
        "split",
        "resamples or seeds",
        "reason",
    )
    return Table(
        columns=tuple(Column(header=each) for each in headers),
        rows=tuple(named[:ALONE_SHOWN]),
        caption="What is compared with nothing.",
        notes=(f"{more} further lines are in the json file.",) if more > 0 else (),
    )  # fmt: skip


def p_text(p: float) -> str:
    """A p value for readers: three decimals, "< 0.001" below."""
    if math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _on(found: Compared) -> str:
    """On which dataset, where there is one: the tables have no column for it then."""
    names = found.scores["dataset"].unique().tolist()
    return f" on {DATASET_NAMES.get(names[0], names[0])}" if len(names) == 1 else ""


def _shown_point(found: Compared) -> list[str]:
    """Which coordinates the tables show: those that vary; of classifiers always the labelled videos."""
    return [
        name
        for name in POINT
        if found.scores[name].nunique() > 1 or (name == "shots" and len(found.lines))
    ]


def _point_columns(found: Compared) -> list[Column]:
    headers = {"shots": "videos per class"}
    return [
        Column(header=headers.get(name, name), align="right" if name == "shots" else "left")
        for name in _shown_point(found)
    ]


def _point(found: Compared, line: Mapping[Hashable, object]) -> list[str]:
    shown = []
    for name in _shown_point(found):
        text = str(line[name])
        if name == "dataset":
            text = DATASET_NAMES.get(text, text)
        if name == "shots" and isinstance(line.get("labels_per_class"), float):
            labels = float(str(line["labels_per_class"]))
            text = text if math.isnan(labels) else videos(text, labels)
        shown.append(text)
    return shown
