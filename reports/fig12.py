"""Figure 12: accuracy against the number of labelled videos per class, with and without pretraining.

`draw` turns evidence into files. What it shows is reduced in `reports.frame`, drawn in `reports.panels` and laid out as
tables in `reports.fewshot_tables`; the metric is video accuracy throughout, block accuracy stands beside it by name.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache

import pandas as pd

from reports.cells import Lines, cell_list, cells_of_lines
from reports.evidence import Evidence
from reports.fewshot_tables import (
    accuracy_table,
    difference_table,
    missing_table,
    split_table,
    splits_phrase,
)
from reports.frame import PAIRED, by_split, curve, paired
from reports.join import every_score, join, metrics, missing
from reports.origins import facts_of, markdown_comment, told
from reports.page import page
from reports.panels import accuracy_panels
from reports.published import SINGLE_FRAME
from reports.record import commit, record
from reports.statistics import holm
from reports.style import paper_style, render
from reports.tables import Table, csv_bytes, latex_document, markdown, markdown_text

FORMATS = ("png", "pdf", "svg", "md", "tex", "csv", "html", "json")
"""Every form `draw` can give."""

METRIC = "video_accuracy"
BLOCK_METRIC = "block_accuracy"


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The figure, its numbers and their origin, as file contents; nothing is written.

    Args:
        evidence: Cells, scores and provenance; the experiment's name becomes the base name of the files.
        formats: Which of `FORMATS` to give; others are left out.

    Returns:
        File name to content, the same bytes for the same evidence. "csv" gives three files: NAME.csv has exactly the
        drawn numbers, NAME_difference.csv the paired differences, NAME_runs.csv every score of every run.

    Raises:
        ValueError: For evidence that `reports.join` refuses.
    """
    # Compared once for all forms, if at all: predictions of many runs take a while to read.
    compared = cache(lambda: differences(evidence))
    files: dict[str, bytes] = {}
    for form in FORMATS:
        if form in formats:
            files |= _files(evidence, form, compared)
    return files


def _files(evidence: Evidence, form: str, compared: Callable[[], pd.DataFrame]) -> dict[str, bytes]:
    """The files of one format."""
    name = evidence.experiment
    if form == "csv":
        return {
            f"{name}.csv": csv_bytes(curve(evidence, METRIC)),
            f"{name}_difference.csv": csv_bytes(compared()),
            f"{name}_runs.csv": csv_bytes(every_score(evidence)),
        }
    if form == "md":
        content = _markdown(evidence, compared())
    elif form == "tex":
        content = _latex(evidence, compared())
    elif form == "html":
        content = _html(evidence, compared())
    elif form == "json":
        content = _record(evidence, compared())
    else:
        content = _picture(evidence, form)
    return {f"{name}.{form}": content}


def _picture(evidence: Evidence, form: str) -> bytes:
    """The figure, built anew for each format: laying it out for one would leave traces in the next."""
    points = curve(evidence, METRIC)
    note = error_bar_note(points, _splits(evidence))
    with paper_style():
        figure = accuracy_panels(points, chance=evidence.chance, note=note)
        return render(figure, form)


def pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """(treatment, baseline) for every method "B + ..." whose "B" is there too; none starts from single frames."""
    return [
        (treatment, baseline)
        for baseline in methods
        for treatment in methods
        if treatment.startswith(f"{baseline} + ") and baseline != SINGLE_FRAME
    ]


def differences(evidence: Evidence) -> pd.DataFrame:
    """`reports.frame.paired` of every pair of methods, one under the other, in percentage points.

    `p_holm` is adjusted for all of them together.
    """
    found = [
        paired(evidence, METRIC, *pair).assign(treatment=pair[0], baseline=pair[1])
        for pair in pairs(_methods(evidence))
    ]
    columns = ["treatment", "baseline", *PAIRED]
    if not found:
        return pd.DataFrame(columns=columns)
    lines = pd.concat(found, ignore_index=True)[columns]
    return lines.assign(p_holm=holm(lines["p"].tolist()))


def error_bar_note(points: pd.DataFrame, splits: Sequence[int]) -> str:
    """What the error bars are, in words that stand in the figure itself."""
    spread = points[points["sd"].notna()]
    if not (points["n"] > 0).any():
        return "no error bars: nothing has finished yet"
    if spread.empty:
        return "no error bars: fewer than two resampled training subsets per point"
    subsets, seeds = spread[spread["shots"] != "all"], spread[spread["shots"] == "all"]
    kinds = []
    if len(subsets):
        kinds.append(f"{_range(subsets['expected'])} resampled training subsets")
    if len(seeds):  # nothing is resampled when every video is taken
        kinds.append(f'{_range(seeds["expected"])} seeds at "all"')
    note = f"error bars: ±1 sd over {' and '.join(kinds)}{splits_phrase(splits)}"
    if ((points["n"] == 1) & (points["expected"] == 1)).any():
        note += "; no bar where there is one run" + (" per split" if len(splits) > 1 else "")
    return note


def _range(counts: "pd.Series[int]") -> str:
    fewest, most = counts.min(), counts.max()
    return str(most) if fewest == most else f"{fewest} to {most}"


def _methods(evidence: Evidence) -> list[str]:
    return list(dict.fromkeys(str(cell["method"]) for cell in evidence.expected))


def _splits(evidence: Evidence, dataset: str | None = None) -> list[int]:
    """The splits that are expected, of one dataset or of all."""
    return sorted(
        {
            int(str(cell["split"]))
            for cell in evidence.expected
            if dataset is None or cell["dataset"] == dataset
        }
    )


def _cells_of_points(evidence: Evidence) -> Lines:
    """The cells behind each point: those of its complete resamples."""
    point = ("dataset", "method", "shots")
    return cells_of_lines(evidence, METRIC, point, whole=("resample",))


def _behind_points(points: pd.DataFrame, known: Lines) -> tuple[tuple[str, ...], ...]:
    places = points[["dataset", "method", "shots"]].itertuples(index=False)
    return tuple(known.get(tuple(map(str, place)), ()) for place in places)


def _behind_differences(
    lines: pd.DataFrame, pair: tuple[str, str], known: Lines
) -> tuple[tuple[str, ...], ...]:
    """The cells of both methods behind each difference."""
    return tuple(
        tuple(key for method in pair for key in known.get((dataset, method, shots), ()))
        for dataset, shots in zip(lines["dataset"], lines["shots"], strict=True)
    )


def _accuracy_tables(evidence: Evidence) -> list[Table]:
    """One table per dataset, so that each fits a page."""
    points, known = curve(evidence, METRIC), _cells_of_points(evidence)
    blocks = curve(evidence, BLOCK_METRIC) if BLOCK_METRIC in metrics(evidence) else None
    return [
        replace(
            accuracy_table(
                points[points["dataset"] == dataset],
                None if blocks is None else blocks[blocks["dataset"] == dataset],
                title=evidence.title,
                splits=_splits(evidence, dataset),
                label=_label(evidence, dataset),
            ),
            rests_on=_behind_points(points[points["dataset"] == dataset], known),
        )
        for dataset in dict.fromkeys(points["dataset"])
    ]


def _difference_tables(evidence: Evidence, compared: pd.DataFrame) -> list[Table]:
    """One table per pair of methods."""
    known = _cells_of_points(evidence)
    lines = {
        pair: compared[(compared["treatment"] == pair[0]) & (compared["baseline"] == pair[1])]
        for pair in pairs(_methods(evidence))
    }
    return [
        replace(
            difference_table(
                lines[pair],
                *pair,
                splits=_splits(evidence),
                label=_label(evidence, f"difference-{place}"),
                tests=int(compared["p"].notna().sum()),
            ),
            rests_on=_behind_differences(lines[pair], pair, known),
        )
        for place, pair in enumerate(pairs(_methods(evidence)), start=1)
    ]


def _label(evidence: Evidence, part: str) -> str:
    """A LaTeX label without any character that LaTeX could trip over."""
    return "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", f"{evidence.experiment}-{part}")


def _lead(evidence: Evidence) -> str:
    """One line on how much is there and which code gave it."""
    finished = int(join(evidence, METRIC)["value"].notna().sum())
    lead = f"{finished} of {len(evidence.expected)} expected results are in."
    origin = commit(evidence)
    if not origin:
        return lead
    text = origin if isinstance(origin, str) else json.dumps(origin, sort_keys=True)
    dirty = " with uncommitted changes" if evidence.provenance.get("dirty") is True else ""
    return f"{lead} Code: commit {text}{dirty}."


def _markdown(evidence: Evidence, compared: pd.DataFrame) -> bytes:
    parts = [f"# {markdown_text(evidence.title)}\n", f"{markdown_text(_lead(evidence))}\n"]
    parts += [markdown(table) for table in _accuracy_tables(evidence)]
    parts += [markdown(table) for table in _difference_tables(evidence, compared)]
    if len(_splits(evidence)) > 1:
        parts.append(markdown(split_table(by_split(evidence, METRIC))))
    lost = missing_table(missing(evidence, METRIC))
    if lost is not None:
        parts += ["## Missing\n", markdown(lost)]
    if evidence.notes:
        parts += ["## Notes\n", "".join(f"- {markdown_text(note)}\n" for note in evidence.notes)]
    return "\n".join([*parts, markdown_comment(evidence)]).encode()


def _latex(evidence: Evidence, compared: pd.DataFrame) -> bytes:
    tables = [*_accuracy_tables(evidence), *_difference_tables(evidence, compared)]
    if evidence.notes and tables:
        tables[-1] = replace(tables[-1], notes=(*tables[-1].notes, *evidence.notes))
    lines = [*told(evidence), _lead(evidence)]
    return latex_document(evidence.experiment, tables, told=lines)


def _sections(evidence: Evidence, compared: pd.DataFrame) -> list[tuple[str, Table]]:
    """Heading and table, in their order."""
    sections = [("Accuracy", table) for table in _accuracy_tables(evidence)]
    sections += [("Difference", table) for table in _difference_tables(evidence, compared)]
    if len(_splits(evidence)) > 1:
        sections.append(("By split", split_table(by_split(evidence, METRIC))))
    return sections


def _record(evidence: Evidence, compared: pd.DataFrame) -> bytes:
    points, known = curve(evidence, METRIC), _cells_of_points(evidence)
    behind = [
        keys
        for pair, mine in compared.groupby(["treatment", "baseline"], sort=False)
        for keys in _behind_differences(mine, (str(pair[0]), str(pair[1])), known)
    ]
    return record(
        evidence,
        METRIC,
        curve=points,
        differences=compared,
        curve_rests_on=_behind_points(points, known),
        differences_rest_on=behind,
        tables=_sections(evidence, compared),
    )


def _html(evidence: Evidence, compared: pd.DataFrame) -> bytes:
    return page(
        title=evidence.title,
        lead=_lead(evidence),
        figure_svg=_picture(evidence, "svg"),
        figure_alt="Video accuracy against labelled videos per class; the tables below have the numbers.",
        sections=_sections(evidence, compared),
        missing=missing_table(missing(evidence, METRIC)),
        notes=evidence.notes,
        provenance=facts_of(evidence),
        cells=cell_list(evidence, listed_in=f"{evidence.experiment}_runs.csv"),
    )
