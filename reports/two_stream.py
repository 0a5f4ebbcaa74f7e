"""RGB, flow and both (Table 4's three sets): accuracy of every split, and the mean over splits.

A row is a method on a stream. Where several subsets were resampled, a split's number is the mean over them.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.evidence import Evidence
from reports.fewshot_tables import missing_table
from reports.frame import by_split
from reports.join import every_score, join, missing
from reports.page import page
from reports.published import DATASET_NAMES, PRETRAINED, entry
from reports.record import record
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
    latex,
    markdown,
    markdown_text,
    number,
    videos,
)

METRIC = "video_accuracy"
MOST_COLUMNS = 5
"""More splits than this are not columns of the table: the csv file has them."""
LINES = (
    *("dataset", "method", "stream", "shots", "labels_per_class", "splits", "expected"),
    *("mean", "sd", "published", "published_in"),
)

_IN_TABLE_4 = {PRETRAINED: "Composite LSTM Model"}


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: png, pdf, svg, md, tex, csv, html and json.

    Args:
        evidence: cells that say their `stream`, with the metric "video_accuracy".
        formats: which forms to make; those that do not exist are left out.

    Raises:
        ValueError: for evidence that `reports.join` refuses.
    """
    name = evidence.experiment
    points, lines = by_split(evidence, METRIC), over_splits(evidence)
    table = _table(evidence, lines, points)
    lost = missing_table(missing(evidence, METRIC))
    forms: dict[str, Callable[[], bytes]] = {
        **{
            form: partial(_picture, evidence, lines, points, form) for form in ("png", "pdf", "svg")
        },
        "md": lambda: _markdown(evidence, table, lost),
        "tex": lambda: latex(table).encode(),
        "html": lambda: page(
            title=evidence.title,
            lead=_lead(evidence),
            figure_svg=_picture(evidence, lines, points, "svg"),
            figure_alt="Video accuracy of each stream and method, split by split; the table below has the numbers.",
            sections=[("Accuracy", table)],
            missing=lost,
            notes=evidence.notes,
            provenance={k: v for k, v in evidence.provenance.items() if k != "notes"},
        ),
        "json": lambda: record(evidence, METRIC, curve=points, differences=lines),
    }
    files = {f"{name}.{form}": make() for form, make in forms.items() if form in formats}
    if "csv" in formats:
        files[f"{name}.csv"] = csv_bytes(lines)
        files[f"{name}_splits.csv"] = csv_bytes(points)
        files[f"{name}_runs.csv"] = csv_bytes(every_score(evidence))
    return files


def over_splits(evidence: Evidence) -> pd.DataFrame:
    """One line per (dataset, method, stream, labels): mean and sd (ddof = 1) over splits of each split's mean.

    Returns:
        The columns of `LINES`. `splits` counts splits of which every resample is in, of `expected`; as soon as one is
        not, `mean` and `sd` are empty. `published` is the paper's number of the same stream, from `published_in`.
    """
    cells = join(evidence, METRIC)
    streams = cells.drop_duplicates("method").set_index("method")["stream"]
    lines = []
    point = ["dataset", "method", "shots"]
    for place, rows in by_split(evidence, METRIC).groupby(point, sort=False):
        dataset, method, shots = map(str, place)
        complete = rows.loc[rows["n"] == rows["expected"], "mean"]
        whole = len(complete) == len(rows)
        stream = str(streams[method])
        base = _base(method)
        if stream == "rgb+flow":
            found = entry("table4", dataset, _IN_TABLE_4.get(base, base), shots, modality=stream)
        else:
            found = entry("table1", dataset, base, shots, modality=stream)
        lines.append(
            {
                "dataset": dataset,
                "method": base,
                "stream": stream,
                "shots": shots,
                "labels_per_class": rows["labels_per_class"].mean(),
                "splits": len(complete),
                "expected": len(rows),
                "mean": complete.mean() if whole else math.nan,
                "sd": complete.std(ddof=1) if whole else math.nan,
                "published": math.nan if found is None else found.value,
                "published_in": "" if found is None else found.source,
                "rank": list(streams.index).index(method),
            }
        )
    frame = pd.DataFrame(lines).sort_values(["dataset", "rank", "labels_per_class"], kind="stable")
    return frame[list(LINES)].reset_index(drop=True)


def _base(method: str) -> str:
    """A method without its stream."""
    return method.rpartition(", ")[0] or method


def _shown(stream: str) -> str:
    """A stream in words."""
    if stream == "rgb":
        return "RGB"
    if stream == "rgb+flow":
        return "RGB + flow"
    fields = stream.removeprefix("flow")
    return f"flow, {fields} {'field' if fields == '1' else 'fields'}" if fields else "flow"


def _table(evidence: Evidence, lines: pd.DataFrame, points: pd.DataFrame) -> Table:
    splits = sorted(points["split"].unique())
    several = lines["shots"].nunique() > 1
    shown = splits if len(splits) <= MOST_COLUMNS else []
    columns = [
        *(Column(header="dataset"), Column(header="stream"), Column(header="method")),
        *([Column(header="videos per class", align="right")] if several else []),
        *(Column(header=f"split {split}", unit="%", align="right") for split in shown),
        Column(header="mean ± sd", unit="%", align="right"),
        Column(header="splits", align="right"),
        Column(header="published", unit="%", align="right"),
    ]
    rows = []
    label_of = _label_of(evidence)
    for line in lines.to_dict("records"):
        mine = {
            point["split"]: number(point["mean"])
            if point["n"] == point["expected"]
            else f"{MISSING} {INCOMPLETE}"
            for point in _points_of(points, label_of[line["method"], line["stream"]], line).to_dict(
                "records"
            )
        }
        row = [
            DATASET_NAMES.get(line["dataset"], line["dataset"]),
            _shown(line["stream"]),
            line["method"],
        ]
        if several:
            row.append(videos(line["shots"], line["labels_per_class"]))
        row += [mine.get(split, MISSING) for split in shown]
        spread = "" if math.isnan(line["sd"]) else f" ± {line['sd']:.1f}"
        whole = line["splits"] == line["expected"]
        row.append(number(line["mean"]) + spread)
        row.append(
            str(line["expected"]) if whole else f"{line['splits']}/{line['expected']} {INCOMPLETE}"
        )
        row.append(number(line["published"]))
        rows.append(tuple(row))
    notes = []
    if (lines["splits"] < lines["expected"]).any():
        notes.append(f"{INCOMPLETE} Incomplete: no mean is taken over some of the splits.")
    sources = dict.fromkeys(each for each in lines["published_in"] if each)
    if sources:
        notes.append(
            f"“published” is Srivastava et al. (2015), {', '.join(sources)}: the same stream, their videos and percepts."
        )
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            f"{evidence.title}. Video accuracy; sd (ddof = 1) is over splits, each trained on its own training list and tested "
            "on its own test list."
        ),
        notes=(*notes, *evidence.notes),
        label=f"tab:{evidence.experiment.replace('_', '-')}",
        group_by=2,
    )


def _label_of(evidence: Evidence) -> dict[tuple[str, str], str]:
    """From a method without its stream, and a stream, to the label of the cells."""
    return {
        (_base(str(cell["method"])), str(cell.get("stream", "rgb"))): str(cell["method"])
        for cell in evidence.expected
    }


def _points_of(points: pd.DataFrame, label: str, line: Mapping[Hashable, object]) -> pd.DataFrame:
    """Of each split the point that a line is the mean of."""
    return points[
        (points["method"] == label)
        & (points["dataset"] == line["dataset"])
        & (points["shots"] == line["shots"])
    ]


def _lead(evidence: Evidence) -> str:
    cells = join(evidence, METRIC)
    return f"{int(cells['value'].notna().sum())} of {len(cells)} expected results are in."


def _markdown(evidence: Evidence, table: Table, lost: Table | None) -> bytes:
    parts = [f"# {markdown_text(evidence.title)}\n", f"{_lead(evidence)}\n", markdown(table)]
    if lost is not None:
        parts += ["## Missing\n", markdown(lost)]
    return "\n".join(parts).encode()


def _picture(evidence: Evidence, lines: pd.DataFrame, points: pd.DataFrame, form: str) -> bytes:
    with paper_style():
        return render(_figure(evidence, lines, points), form)


def _figure(evidence: Evidence, lines: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """A row of dots for every line of the table: small ones are splits, the large one is their mean."""
    several = lines["shots"].nunique() > 1
    methods = list(dict.fromkeys(lines["method"]))
    figure = new_figure(PAGE_WIDTH * 0.8, 1.0 + 0.3 * len(lines))
    axes = figure.subplots()
    names = []
    label_of = _label_of(evidence)
    for place, line in enumerate(lines.to_dict("records")):
        style = look(methods.index(line["method"]))
        mine = _points_of(points, label_of[line["method"], line["stream"]], line)
        mine = mine[mine["n"] == mine["expected"]]
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
    handles = [_handle(method, place) for place, method in enumerate(methods)]
    handles.append(
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markersize=3,
            color=INK,
            alpha=0.45,
            label="one split",
        )
    )
    if lines["published"].notna().any():
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker=PUBLISHED_MARKER,
                markerfacecolor="none",
                color=INK,
                label="published",
            )
        )
    if evidence.chance:
        handles.append(Line2D([], [], color=FAINT, linestyle=":", linewidth=0.8, label="chance"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    return figure


def _handle(method: str, place: int) -> Line2D:
    style = look(place)
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=style.marker,
        markersize=7,
        color=style.colour,
        label=f"{method}, mean over splits",
    )
