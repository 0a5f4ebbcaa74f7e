"""Differences beside the lines of the report of streams: pretraining on each stream, and what both streams add to either.

All are over test videos, from what the runs predicted: splits are too few, and their training lists too much alike, to
compare over them (docs/statistics.md).
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from reports.accuracy_layouts import stream_set
from reports.evidence import Evidence
from reports.fewshot_tables import tests_in_words
from reports.join import join
from reports.predicted import difference_over_videos
from reports.published import DATASET_NAMES
from reports.statistics import DRAWS, holm
from reports.stream_lines import METRIC, label_of_line
from reports.tables import INCOMPLETE, MISSING, Column, Table, interval, number, p_value, videos

DIFFERENCES = (
    *("dataset", "shots", "labels_per_class", "treatment", "treatment_stream", "baseline", "baseline_stream"),
    *("splits", "expected", "difference", "ci_low", "ci_high", "p", "p_holm", "test", "videos"),
)  # fmt: skip


def stream_differences(evidence: Evidence) -> pd.DataFrame:
    """One line per comparison: pretrained minus not on each stream, then both streams minus RGB, and minus flow, for each method.

    Returns:
        The columns of `DIFFERENCES`, in percentage points of video accuracy, mean over splits. Where a split has several
        runs (subsets, or seeds), a video's answer is the share of them that are right. As soon as a split lacks a run of one of
        the two, or a run's predictions, there is no difference; `splits` counts those that lack nothing, of `expected`.
        `videos` counts test videos. `p_holm` is adjusted for all lines.

    Raises:
        ValueError: when the two did not answer the same videos.
    """
    cells = join(evidence, METRIC)
    labels = label_of_line(evidence)
    lines = []
    for (dataset, shots), mine in cells.groupby(["dataset", "shots"], sort=False):
        for treatment, baseline in _comparisons(list(labels)):
            both = [mine[mine["method"] == labels[each]] for each in (treatment, baseline)]
            if not any(each.empty for each in both):
                lines.append(
                    {
                        "dataset": dataset,
                        "shots": shots,
                        "labels_per_class": both[0].drop_duplicates("split")["labels_per_class"].mean(),
                        **dict(zip(("treatment", "treatment_stream"), treatment, strict=True)),
                        **dict(zip(("baseline", "baseline_stream"), baseline, strict=True)),
                        **_compared(evidence, both[0], both[1]),
                    }
                )  # fmt: skip
    frame = pd.DataFrame(lines, columns=[name for name in DIFFERENCES if name != "p_holm"])
    frame = frame.sort_values(["dataset", "labels_per_class"], kind="stable", ignore_index=True)
    return frame.assign(p_holm=holm(frame["p"].tolist()))[list(DIFFERENCES)]


def _comparisons(lines: Sequence[tuple[str, str]]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """(treatment, baseline), each a method and a stream, in the order of the lines."""
    pretrained = [
        ((method, stream), (base, stream))
        for method, stream in lines
        for base, other in lines
        if stream == other and method.startswith(f"{base} + ")
    ]
    # Against either stream: a fusion that gains on RGB may lose to flow alone.
    fused = [
        ((method, stream), (method, other))
        for method, stream in lines
        for same, other in lines
        if stream == "rgb+flow" and same == method and stream_set(other) in ("rgb", "flow")
    ]
    return [*pretrained, *fused]


def _compared(
    evidence: Evidence, treatment: pd.DataFrame, baseline: pd.DataFrame
) -> dict[str, float | str]:
    """The numbers of one line."""
    whole: list[tuple[list[str], list[str]]] = []
    splits = sorted({*treatment["split"], *baseline["split"]})
    for split in splits:
        both = [each[each["split"] == split] for each in (baseline, treatment)]
        if all(
            len(each) and each["value"].notna().all() and set(each["cell"]) <= set(evidence.kept)
            for each in both
        ):
            whole.append((both[0]["cell"].tolist(), both[1]["cell"].tolist()))
    told: dict[str, float | str] = {"splits": len(whole), "expected": len(splits), "videos": 0}
    found = difference_over_videos(evidence, whole) if len(whole) == len(splits) else None
    if found is None:
        return told
    return told | {
        "difference": found.difference,
        "ci_low": found.low,
        "ci_high": found.high,
        "p": found.p,
        "test": found.test,
        "videos": found.n,
    }


def stream_difference_table(
    lines: pd.DataFrame, *, shown: Mapping[str, str], label: str
) -> Table | None:
    """The differences as a table; None when none of them has a number.

    Args:
        lines: of `stream_differences`.
        shown: from a stream to its words.
        label: LaTeX label.
    """
    if not lines["p"].notna().any():
        return None
    only_all = set(lines["shots"]) == {"all"}
    columns = (
        *(Column(header="dataset"), Column(header="comparison"), Column(header="of")),
        *(() if only_all else (Column(header="videos per class", align="right"),)),
        Column(header="difference", unit="points", align="right"),
        Column(header="95 % interval", unit="points", align="right"),
        Column(header="p", align="right"),
        Column(header="p (Holm)", align="right"),
        Column(header="test videos", align="right"),
    )
    rows = []
    for line in lines.to_dict("records"):
        row = [DATASET_NAMES.get(line["dataset"], line["dataset"]), *_said(line, shown)]
        if not only_all:
            row.append(videos(line["shots"], line["labels_per_class"]))
        lacks = math.isnan(line["p"])
        row += [
            f"{MISSING} {INCOMPLETE}" if lacks else number(line["difference"], signed=True),
            interval(line["ci_low"], line["ci_high"], signed=True),
            p_value(line["p"]),
            p_value(line["p_holm"]),
            MISSING if lacks else f"{line['videos']:,}",
        ]
        rows.append(tuple(row))
    return Table(
        columns=columns,
        rows=tuple(rows),
        caption=(
            "Differences of video accuracy in percentage points, mean over splits. Interval and p are over test videos: they say "
            "what other test videos would give, of models trained as these."
        ),
        notes=tuple(_notes(lines)),
        label=label,
        group_by=2,
    )


def _said(line: Mapping[Hashable, str], shown: Mapping[str, str]) -> tuple[str, str]:
    """Which difference it is, and of which stream or method."""
    stream, other = shown[line["treatment_stream"]], shown[line["baseline_stream"]]
    if line["treatment"] == line["baseline"]:
        return f"{stream} minus {other}", line["treatment"]
    return f"“{line['treatment']}” minus “{line['baseline']}”", stream


def _notes(lines: pd.DataFrame) -> list[str]:
    tested = lines[lines["p"].notna()]
    notes = []
    if len(tested) < len(lines):
        notes.append(
            f"{INCOMPLETE} Incomplete: results or predictions of a split are missing, and no difference is taken over the others."
        )
    notes.append(
        f"The 95 % interval is a paired bootstrap of test videos ({DRAWS:,} draws), a video of several splits drawn with all its "
        f"answers; p is two-sided, by {tests_in_words(tested['test'])}; “p (Holm)” is adjusted for the {len(tested)} tests of this table. Where a split "
        "has several runs, a video counts by the share of them that answer it right."
    )
    return notes
