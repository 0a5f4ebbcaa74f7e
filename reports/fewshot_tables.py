"""The tables beside an accuracy curve: accuracies, paired differences, splits, and what is missing.

Frames in (`reports.frame`, `reports.join`), `reports.tables.Table` out. Every spread is named in the caption.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from reports.frame import SEEDS, SUBSETS, TEST_VIDEOS
from reports.published import DATASET_NAMES, entry
from reports.statistics import DRAWS
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
    videos,
)

_SPREAD = "mean ± sd (ddof = 1) over n resampled training subsets"
_DATASET = Column(header="dataset")
_METHOD = Column(header="method")
_VIDEOS = Column(header="videos per class", align="right")

_INTERVAL = Column(header="95 % interval", align="right")
ALL_NOTE = 'At "all" every resample trains on the same videos, so the spread there is that of the seed alone.'


def splits_phrase(splits: Sequence[int]) -> str:
    """How splits enter a mean, to end a sentence with; empty for a single split."""
    if len(splits) < 2:
        return ""
    return f", each first averaged over splits {', '.join(str(split) for split in splits)}"


def accuracy_table(
    curve: pd.DataFrame,
    blocks: pd.DataFrame | None,
    *,
    title: str,
    splits: Sequence[int],
    label: str,
) -> Table:
    """One row per point of the curve, block accuracy beside video accuracy where it was scored.

    Args:
        curve: `reports.frame.curve` of the video accuracy, in percent.
        blocks: The same of the block accuracy, or None when no run scored it.
        title: First sentence of the caption.
        splits: The dataset splits that occur.
        label: LaTeX label.
    """
    columns = [_DATASET, _METHOD, _VIDEOS, Column(header="n", align="right")]
    columns.append(Column(header="video accuracy", unit="%", align="right"))
    columns.append(replace(_INTERVAL, unit="%"))
    if blocks is not None:
        columns.append(Column(header="block accuracy", unit="%", align="right"))
    columns.append(Column(header="published", unit="%", align="right"))
    with_blocks = set() if blocks is None else set(blocks.loc[blocks["n"] > 0, "method"])
    rows = []
    for place, point in enumerate(curve.to_dict("records")):
        row = [
            *_point(point),
            count(point["n"], point["expected"]),
            mean_sd(point["mean"], point["sd"]),
            interval(point["ci_low"], point["ci_high"]),
        ]
        if blocks is not None:
            block = blocks.iloc[place]
            shown = mean_sd(block["mean"], block["sd"])
            # The two columns share n; where the block accuracy is over fewer resamples it says so itself. A method that
            # has no blocks (single frames) lacks nothing.
            same = block["n"] == point["n"] or point["method"] not in with_blocks
            row.append(shown if same else f"{shown} ({count(block['n'], block['expected'])})")
        rows.append((*row, number(point["published"])))
    notes = [
        *_incomplete_note(curve),
        *_all_note(curve),
        *_interval_notes(curve, "the 95 % interval of the mean is", splits),
        *_published_notes(curve),
    ]
    datasets = " and ".join(dict.fromkeys(row[0] for row in rows))
    caption = f"{_sentence(title)} Accuracies on {datasets} are {_SPREAD}{splits_phrase(splits)}."
    if blocks is not None:
        caption += " Block accuracy counts 16-frame blocks one by one, video accuracy whole videos."
    caption += " The interval is of the mean of the video accuracy."
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        caption=caption,
        notes=tuple(notes),
        label=label,
        group_by=2,
    )


def difference_table(
    paired: pd.DataFrame,
    treatment: str,
    baseline: str,
    *,
    splits: Sequence[int],
    label: str,
    tests: int,
) -> Table:
    """One row per number of labelled videos: treatment minus baseline in percentage points.

    Args:
        paired: `reports.frame.paired` of both; `p_holm` may be adjusted for more lines than these.
        treatment: Method label of the minuend.
        baseline: Method label of the subtrahend.
        splits: The dataset splits that occur.
        label: LaTeX label.
        tests: How many tests `p_holm` is adjusted for.
    """
    points = "points"
    columns = (
        _DATASET,
        _VIDEOS,
        Column(header="n", align="right"),
        Column(header="difference", unit=points, align="right"),
        replace(_INTERVAL, unit=points),
        Column(header="p", align="right"),
        Column(header="p (Holm)", align="right"),
        Column(header="interval and p over"),
        Column(header="published", unit=points, align="right"),
    )
    rows = []
    for point in paired.to_dict("records"):
        difference = number(point["mean_difference"], signed=True)
        if not math.isnan(point["sd"]):
            difference += f" ± {number(point['sd'])}"
        rows.append(
            (
                _dataset(point),
                videos(point["shots"], point["labels_per_class"]),
                count(point["n"], point["expected"]),
                difference,
                interval(point["ci_low"], point["ci_high"], signed=True),
                p_value(point["p"]),
                p_value(point["p_holm"]),
                _over(point),
                number(point["published_difference"], signed=True),
            )
        )
    caption = (
        f"Video accuracy of “{treatment}” minus “{baseline}” in percentage points: {_SPREAD} drawn alike for both"
        f"{splits_phrase(splits)}."
    )
    return Table(
        columns=columns,
        rows=tuple(rows),
        caption=caption,
        notes=(
            *_incomplete_note(paired),
            *_all_note(paired),
            *_interval_notes(paired, "the 95 % interval of the difference and p are", splits),
            *_holm_note(paired, tests),
        ),
        label=label,
        group_by=1,
    )


def split_table(by_split: pd.DataFrame) -> Table:
    """One row per point and split, for those who compare with numbers of a single split."""
    rows = tuple(
        (
            *_point(point),
            str(point["split"]),
            count(point["n"], point["expected"]),
            mean_sd(point["mean"], point["sd"]),
        )
        for point in by_split.to_dict("records")
    )
    return Table(
        columns=(
            *(_DATASET, _METHOD, _VIDEOS, Column(header="split", align="right")),
            Column(header="n", align="right"),
            Column(header="video accuracy", unit="%", align="right"),
        ),
        rows=rows,
        caption=f"Each split by itself. Video accuracies are {_SPREAD} of that split.",
        notes=_incomplete_note(by_split),
        group_by=3,
    )


def missing_table(missing: pd.DataFrame) -> Table | None:
    """Missing cells, the resamples of one point and reason on one row; None when nothing is missing."""
    if missing.empty:
        return None
    rows: dict[tuple[str, ...], list[int]] = {}
    for cell in missing.to_dict("records"):
        if isinstance(cell["dataset"], str):
            place = (_dataset(cell), cell["method"], cell["shots"], str(int(cell["split"])))
            rows.setdefault((*place, cell["reason"]), []).append(int(cell["resample"]))
        else:
            rows[(cell["cell"], MISSING, MISSING, MISSING, cell["reason"])] = []
    return Table(
        columns=(
            *(_DATASET, _METHOD, _VIDEOS, Column(header="split", align="right")),
            *(Column(header="resamples"), Column(header="reason")),
        ),
        rows=tuple(
            (*place, ranges(resamples), reason) for (*place, reason), resamples in rows.items()
        ),
        caption="Expected results that no accepted run has given yet.",
    )


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers in short: "0-4, 7" with an en dash; `MISSING` for none."""
    parts: list[tuple[int, int]] = []
    for one in sorted(numbers):
        if parts and one == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], one)
        else:
            parts.append((one, one))
    shown = (str(low) if low == high else f"{low}{MISSING}{high}" for low, high in parts)
    return ", ".join(shown) or MISSING


def _sentence(title: str) -> str:
    return title if title.endswith((".", "?", "!")) else f"{title}."


def _dataset(point: Mapping[Hashable, object]) -> str:
    name = str(point["dataset"])
    return DATASET_NAMES.get(name, name)


def _point(point: Mapping[Hashable, object]) -> tuple[str, str, str]:
    """Dataset, method and videos per class as text."""
    labels = point["labels_per_class"]
    assert isinstance(labels, float)
    return _dataset(point), str(point["method"]), videos(str(point["shots"]), labels)


def _incomplete_note(lines: pd.DataFrame) -> tuple[str, ...]:
    if (lines["n"] == lines["expected"]).all():
        return ()
    return (
        f"{INCOMPLETE} Incomplete: complete resamples of those expected; the mean is over the complete ones.",
    )


def _all_note(curve: pd.DataFrame) -> tuple[str, ...]:
    return (ALL_NOTE,) if ((curve["shots"] == "all") & curve["sd"].notna()).any() else ()


def _over(point: Mapping[Hashable, object]) -> str:
    """What an interval and its p are over, in a word or two."""
    over = point["over"]
    if over == SUBSETS and math.isnan(float(str(point["overlap"]))):
        return f"{SUBSETS}, uncorrected"
    if over == TEST_VIDEOS:
        return f"{int(float(str(point['over_n']))):,} {TEST_VIDEOS}"
    return str(over) if isinstance(over, str) else MISSING


def _interval_notes(lines: pd.DataFrame, what: str, splits: Sequence[int]) -> list[str]:
    """What each kind of interval that occurs is over, and how it was corrected.

    Args:
        lines: Of `reports.frame.curve` or `paired`.
        what: What is said to be over something, with its verb.
        splits: The dataset splits that occur.
    """
    subsets = lines[lines["over"] == SUBSETS]
    corrected = subsets.loc[subsets["overlap"].notna(), "overlap"]
    notes = []
    if len(corrected):
        low, high = corrected.min(), corrected.max()
        shown = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
        several = " (for means over splits the largest that it can be)" if len(splits) > 1 else ""
        notes.append(
            f"Over subsets: {what} by Student's t over resampled training subsets, widened for the training videos that they "
            f"share (Nadeau and Bengio, 2003), here a correlation of {shown}{several}. It says what other training videos "
            "would give, tested on the same list."
        )
    if len(subsets) > len(corrected):
        notes.append(
            f"Over subsets, not corrected: {what} by Student's t over resampled training subsets. They share training videos, and "
            "how many is not known here, so it is too narrow (Nadeau and Bengio, 2003)."
        )
    if (lines["over"] == SEEDS).any():
        notes.append(
            f"Over seeds: {what} by Student's t over runs that trained on the same videos. It says what other seeds would give, "
            "nothing of other videos."
        )
    on_videos = lines[lines["over"] == TEST_VIDEOS]
    if len(on_videos):
        notes.append(
            f"Over test videos: the 95 % interval is a paired bootstrap of them ({DRAWS:,} draws), p is by "
            f"{tests_in_words(on_videos['test'])}; a video counts by the share of seeds that answer it right. It says what other "
            "test videos would give, of models trained as these."
        )
    return notes


def tests_in_words(tests: Iterable[str]) -> str:
    """Tests over videos as a note names them, each once."""
    words = {
        "McNemar": "McNemar's exact test",
        "randomisation over videos": "randomisation (random signs of the videos' differences)",
    }
    return " or ".join(words[each] for each in dict.fromkeys(tests))


def _holm_note(lines: pd.DataFrame, tests: int) -> tuple[str, ...]:
    if not lines["p"].notna().any():
        return ()
    return (
        f"p is two-sided, of no difference; “p (Holm)” is adjusted for all {tests} tests of this report."
        if tests > 1
        else "p is two-sided, of no difference; it is the only test of this report.",
    )


def _published_notes(curve: pd.DataFrame) -> list[str]:
    """Source of the published column, and what the paper says of single numbers in it."""
    found = [
        entry("fig12", dataset, method, shots)
        for dataset, method, shots, value in zip(
            curve["dataset"], curve["method"], curve["shots"], curve["published"], strict=True
        )
        if not math.isnan(value)
    ]
    used = [one for one in found if one is not None]
    if not used:
        return []
    source = "“published” is Srivastava et al. (2015): the numbers of Fig. 12 that their section 3.3 and Table 1 state."
    return list(dict.fromkeys([source, *(one.note for one in used if one.note)]))
