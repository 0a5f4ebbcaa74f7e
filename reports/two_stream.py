"""RGB, flow and both (Table 4's three sets): accuracy of every split, and the mean over splits.

A row is a method on one stream. Where several subsets were resampled, a split's number is the mean over them. A second table
has the differences (`reports.stream_differences`), where the runs' predictions are at hand.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.cells import cell_list, cells_of_lines
from reports.evidence import Evidence
from reports.fewshot_tables import missing_table
from reports.frame import by_split
from reports.join import every_score, join, missing
from reports.origins import facts_of, markdown_comment, told
from reports.page import page
from reports.published import DATASET_NAMES
from reports.record import record
from reports.stream_differences import stream_difference_table, stream_differences
from reports.stream_lines import METRIC, label_of_line, over_splits, points_of, published_of
from reports.style import (
    FAINT,
    INK,
    PAGE_WIDTH,
    PUBLISHED_MARKER,
    look,
    new_figure,
    paper_style,
    render,
)
from reports.tables import (
    INCOMPLETE,
    MISSING,
    Column,
    Table,
    csv_bytes,
    latex_document,
    markdown,
    markdown_text,
    number,
    videos,
)

MOST_COLUMNS = 5
"""More splits than this are not columns of the table: the csv file has them."""


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: png, pdf, svg, md, tex, csv, html and json.

    Args:
        evidence: cells that say their `stream`, with the metric "video_accuracy".
        formats: which forms to make; those that do not exist are left out.

    Raises:
        ValueError: for evidence that `reports.join` or `over_splits` refuses.
    """
    name = evidence.experiment
    points, lines = by_split(evidence, METRIC), over_splits(evidence)
    compared = stream_differences(evidence)
    tables = [_table(evidence, lines, points)]
    second = stream_difference_table(
        compared,
        shown={stream: _shown(stream) for stream in lines["stream"]},
        label=f"tab:{name.replace('_', '-')}-difference",
    )
    tables += [second] if second is not None else []
    noted = [*tables[:-1], replace(tables[-1], notes=(*tables[-1].notes, *evidence.notes))]
    lost = missing_table(missing(evidence, METRIC))
    forms: dict[str, Callable[[], bytes]] = {
        **{
            form: partial(_picture, evidence, lines, points, form) for form in ("png", "pdf", "svg")
        },
        "md": lambda: _markdown(evidence, noted, lost),
        "tex": lambda: latex_document(name, noted, told=told(evidence)),
        "html": lambda: page(
            title=evidence.title,
            lead=_lead(evidence),
            figure_svg=_picture(evidence, lines, points, "svg"),
            figure_alt="Video accuracy of each stream and method, split by split; the table below has the numbers.",
            # the page has a place of its own for what all notes say
            sections=list(zip(("Accuracy", "Difference"), tables, strict=False)),
            missing=lost,
            notes=evidence.notes,
            provenance=facts_of(evidence),
            cells=cell_list(evidence, listed_in=f"{name}_runs.csv"),
        ),
        "json": lambda: record(
            evidence,
            METRIC,
            curve=points,
            differences=lines,
            curve_rests_on=_behind_points(evidence, points),
            differences_rest_on=tables[0].rests_on,
            tables=list(zip(("Accuracy", "Difference"), tables, strict=False)),
        ),
    }
    files = {f"{name}.{form}": make() for form, make in forms.items() if form in formats}
    if "csv" in formats:
        files[f"{name}.csv"] = csv_bytes(lines)
        files[f"{name}_splits.csv"] = csv_bytes(points)
        files[f"{name}_difference.csv"] = csv_bytes(compared)
        files[f"{name}_runs.csv"] = csv_bytes(every_score(evidence))
    return files


def _shown(stream: str) -> str:
    """A stream in words."""
    if stream in ("rgb", "pixels"):
        return "RGB" if stream == "rgb" else stream
    if stream == "rgb+flow":
        return "RGB + flow"
    fields = stream.removeprefix("flow")
    return f"flow, {fields} {'field' if fields == '1' else 'fields'}" if fields else "flow"


def _runs(line: Mapping[Hashable, object]) -> str:
    """How many runs each split's number is over, and what differs between them."""
    if line["runs_per_split"] == 1:
        return "1"
    return f"{line['runs_per_split']} {'seeds' if line['shots'] == 'all' else 'subsets'}"


def _table(evidence: Evidence, lines: pd.DataFrame, points: pd.DataFrame) -> Table:
    """The table with the notes of its own columns; those of the evidence are not among them."""
    splits = sorted(points["split"].unique())
    only_all = set(lines["shots"]) == {"all"}
    shown = splits if len(splits) <= MOST_COLUMNS else []
    columns = [
        *(Column(header="dataset"), Column(header="stream"), Column(header="method")),
        *([] if only_all else [Column(header="videos per class", align="right")]),
        Column(header="runs per split", align="right"),
        *(Column(header=f"split {split}", unit="%", align="right") for split in shown),
        Column(header="mean ± sd", unit="%", align="right"),
        Column(header="splits", align="right"),
        Column(header="published", unit="%", align="right"),
    ]
    rows, rests_on = [], []
    labels_of = label_of_line(evidence)
    point = ("dataset", "method", "shots")
    known = cells_of_lines(evidence, METRIC, point, whole=("split",))
    for line in lines.to_dict("records"):
        mine = {
            point["split"]: number(point["mean"])
            if point["n"] == point["expected"]
            else f"{MISSING} {INCOMPLETE}"
            for point in points_of(points, labels_of[line["method"], line["stream"]], line).to_dict(
                "records"
            )
        }
        row = [
            DATASET_NAMES.get(line["dataset"], line["dataset"]),
            _shown(line["stream"]),
            line["method"],
        ]
        if not only_all:
            row.append(videos(line["shots"], line["labels_per_class"]))
        row.append(_runs(line))
        row += [mine.get(split, MISSING) for split in shown]
        spread = "" if math.isnan(line["sd"]) else f" ± {line['sd']:.1f}"
        whole = line["splits"] == line["expected"]
        row.append(number(line["mean"]) + spread)
        row.append(
            str(line["expected"]) if whole else f"{line['splits']}/{line['expected']} {INCOMPLETE}"
        )
        row.append(number(line["published"]))
        rows.append(tuple(row))
        label = labels_of[line["method"], line["stream"]]
        rests_on.append(known.get((line["dataset"], label, line["shots"]), ()))
    notes = []
    if (lines["splits"] < lines["expected"]).any():
        notes.append(f"{INCOMPLETE} Incomplete: no mean is taken over some of the splits.")
    sources = dict.fromkeys(each for each in lines["published_in"] if each)
    if sources:
        notes.append(
            f"“published” is Srivastava et al. (2015), {', '.join(sources)}: the same stream, their videos and percepts."
        )
    found = [
        published_of(line["dataset"], line["method"], line["shots"], line["stream"])
        for line in lines.to_dict("records")
    ]
    notes += dict.fromkeys(one.note for one in found if one is not None and one.note)
    labelled = " Trained on all training videos." if only_all else ""
    resampled = (
        " Where a split has several runs, its number is the mean over them: resampled training subsets, or seeds where all "
        "training videos are taken."
        if (lines["runs_per_split"] > 1).any()
        else ""
    )
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            f"{evidence.title}. Video accuracy; sd (ddof = 1) is over splits, each trained on its own training list and tested "
            f"on its own test list.{labelled}{resampled}"
        ),
        notes=tuple(notes),
        label=f"tab:{evidence.experiment.replace('_', '-')}",
        group_by=2,
        rests_on=tuple(rests_on),
    )


def _behind_points(evidence: Evidence, points: pd.DataFrame) -> list[tuple[str, ...]]:
    """The cells behind each split's number."""
    place = ["dataset", "method", "shots", "split"]
    known = cells_of_lines(evidence, METRIC, place, whole=("resample",))
    return [known.get(tuple(map(str, one)), ()) for one in points[place].itertuples(index=False)]


def _lead(evidence: Evidence) -> str:
    cells = join(evidence, METRIC)
    return f"{int(cells['value'].notna().sum())} of {len(cells)} expected results are in."


def _markdown(evidence: Evidence, tables: Sequence[Table], lost: Table | None) -> bytes:
    parts = [f"# {markdown_text(evidence.title)}\n", f"{_lead(evidence)}\n"]
    parts += [markdown(table) for table in tables]
    if lost is not None:
        parts += ["## Missing\n", markdown(lost)]
    return "\n".join([*parts, markdown_comment(evidence)]).encode()


def _picture(evidence: Evidence, lines: pd.DataFrame, points: pd.DataFrame, form: str) -> bytes:
    with paper_style():
        return render(_figure(evidence, lines, points), form)


def _figure(evidence: Evidence, lines: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """A row of dots for every line of the table: small ones are splits, the large one is their mean.

    Where there is one split only, it has the large dot alone.
    """
    several = lines["shots"].nunique() > 1
    averaged = bool((lines["expected"] > 1).any())
    methods = list(dict.fromkeys(lines["method"]))
    figure = new_figure(PAGE_WIDTH * 0.8, 1.0 + 0.3 * len(lines))
    axes = figure.subplots()
    names = []
    labels_of = label_of_line(evidence)
    for place, line in enumerate(lines.to_dict("records")):
        style = look(methods.index(line["method"]))
        mine = points_of(points, labels_of[line["method"], line["stream"]], line)
        mine = mine[mine["n"] == mine["expected"]]
        if averaged:
            # Splits of one accuracy stand above each other, so that they can be counted.
            tied = mine.groupby(mine["mean"].round(6))["mean"]
            above = tied.cumcount() - (tied.transform("size") - 1) / 2
            axes.plot(
                mine["mean"], place + 0.1 * above, "o", color=style.colour, markersize=3, alpha=0.6
            )
        axes.plot(line["mean"], place, style.marker, color=style.colour, markersize=7, zorder=4)
        axes.plot(
            line["published"],
            place,
            PUBLISHED_MARKER,
            color=INK,
            markersize=7,
            markerfacecolor="none",
            zorder=5,
        )
        labels = f", {videos(line['shots'], line['labels_per_class'])}" if several else ""
        names.append(f"{_shown(line['stream'])}{labels}")
    for chance in set(evidence.chance.values()):
        axes.axvline(chance, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.set_xlabel("video accuracy (%)")
    if not points["mean"].notna().any():
        axes.set_xlim(0, 100)
    end = ", mean over splits" if averaged else ""
    looks = [look(place) for place in range(len(methods))]
    handles = [
        _handle(f"{method}{end}", style.marker, style.colour)
        for method, style in zip(methods, looks, strict=True)
    ]
    if averaged:
        handles.append(_handle("one split", "o", INK, markersize=3, alpha=0.45))
    if lines["published"].notna().any():
        hollow = _handle("published", PUBLISHED_MARKER, INK, markersize=4.2)
        hollow.set_markerfacecolor("none")
        handles.append(hollow)
    if evidence.chance:
        handles.append(Line2D([], [], color=FAINT, linestyle=":", linewidth=0.8, label="chance"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    return figure


def _handle(
    label: str, marker: str, colour: str, *, markersize: float = 7, alpha: float = 1
) -> Line2D:
    """A mark in the legend."""
    mark = Line2D([], [], linestyle="none", marker=marker, markersize=markersize, label=label)
    mark.set(color=colour, alpha=alpha)
    return mark
