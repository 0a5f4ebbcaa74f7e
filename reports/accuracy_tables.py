"""Tables 1, 3 and 4: accuracies as the paper prints them, ours and published apart; then in detail, with intervals and tests.

What is measured is in `reports.accuracy_lines`, where it stands in `reports.accuracy_grid`, what is said under the tables in
`reports.accuracy_notes`, the figures in `reports.accuracy_panels` and `reports.accuracy_classes`.
"""

from collections.abc import Collection, Sequence

from reports import accuracy_classes, accuracy_notes
from reports.accuracy_detail import LACKING, comparisons, detail, label, titled
from reports.accuracy_files import all_published, frame, runs, unrounded
from reports.accuracy_grid import Grid, grid
from reports.accuracy_layouts import (
    TABLE1,
    TABLE3,
    TABLE4,
    Layout,
    dataset_words,
    stream_words,
)
from reports.accuracy_lines import METRIC, Line, measured
from reports.accuracy_panels import accuracy_dots
from reports.compose import Report, compose
from reports.evidence import Evidence
from reports.fewshot_tables import ranges
from reports.join import join, missing
from reports.published import Published
from reports.tables import MISSING, Column, Table, count, csv_bytes, mean_sd, number

__all__ = ["TABLE1", "TABLE3", "TABLE4", "Layout", "draw"]


def draw(evidence: Evidence, formats: Collection[str], layout: Layout) -> dict[str, bytes]:
    """The report's files by name: png, pdf, svg, md, tex, html, csv and json.

    Args:
        evidence: cells that say their `stream`, with the metric "video_accuracy"; its `kept` leads to predictions.
        formats: which forms to make; those that do not exist are left out. "csv" gives NAME.csv with every number of the
            tables, unrounded; NAME_runs.csv with every run's scores; NAME_published.csv with all that the paper prints in
            this table; NAME_classes.csv and NAME_confusion.csv with what single runs answered, class by class.
        layout: which of the tables it is.

    Raises:
        ValueError: for evidence that `reports.accuracy_lines.measured` refuses.
    """
    lines = measured(evidence, layout)
    places = grid(lines, layout)
    cells = join(evidence, METRIC)
    done = int(cells["value"].notna().sum())
    lost = _missing(evidence)
    sections = [
        *_printed(evidence, places, lines, layout),
        *((f"In detail: {dataset_words(each)}", detail(each, lines, layout, evidence)) for each in places.datasets),
        *comparisons(lines, layout, evidence),
    ]  # fmt: skip
    more = {
        ".csv": lambda: unrounded(frame(lines)),
        "_runs.csv": lambda: runs(evidence),
        "_published.csv": lambda: csv_bytes(all_published(layout)),
        "_classes.csv": lambda: unrounded(accuracy_classes.by_class(evidence, lines)),
        "_confusion.csv": lambda: unrounded(accuracy_classes.confusions(evidence, lines)),
        **accuracy_classes.pictures(evidence, lines, layout),
    }
    hollow = " and the published numbers as hollow marks" if places.published else ""
    report = Report(
        lead=_lead(evidence, lines, done),
        sections=tuple(sections),
        lines=frame(lines),
        missing=lost,
        figure=lambda: accuracy_dots(places, evidence.chance),
        figure_alt=f"Video accuracy of every method, with 95 % intervals{hollow}; the tables have the numbers.",
        more=more,
    )
    return compose(evidence, report, formats)


def _lead(evidence: Evidence, lines: Sequence[Line], done: int) -> str:
    """How much is there, and where classes stand one by one."""
    lead = f"{done} of {len(evidence.expected)} expected results are in."
    if not any(line.read for line in lines):
        return lead
    name = evidence.experiment
    picture = f", {name}_classes.png" if accuracy_classes.shown_pairs(lines) else ""
    return f"{lead} Class by class: {name}_classes.csv, {name}_confusion.csv{picture}."


def _printed(
    evidence: Evidence, places: Grid, lines: Sequence[Line], layout: Layout
) -> list[tuple[str, Table]]:
    """The table as the paper prints it: for each dataset one, so that each fits a page; one for all in Table 4."""
    if layout.by_stream:
        return [(_called(layout), _in_sets(evidence, places, layout))]
    found = [
        (f"{_called(layout)}: {dataset_words(each)}", _across(evidence, places, layout, each))
        for each in places.datasets
    ]
    if not places.published:
        found.append((f"{_called(layout)} as published", _only_published(layout)))
    return found


def _called(layout: Layout) -> str:
    return f"Table {layout.artefact.removeprefix('table')}"


def _across(evidence: Evidence, places: Grid, layout: Layout, dataset: str) -> Table:
    """Methods down, columns across: ours, and beside it the paper's number and the difference."""
    columns = [Column(header=layout.heading)]
    of_column = []
    mine = places.of(dataset)
    for column in mine:
        words = ", ".join(places.parts(column))
        compared = any((row, column) in places.published for row in places.rows)
        of_column.append((column, compared))
        columns.append(Column(header="ours", align="right", over=words))
        if compared:
            columns.append(Column(header="published", align="right", over=words))
            columns.append(Column(header="difference", align="right", over=words))
    rows, rests = [], []
    for row in places.rows:
        texts = [row.name]
        keys: list[str] = []
        for column, compared in of_column:
            line = places.lines.get((row, column))
            keys += [] if line is None else line.cells
            texts.append(_ours(line))
            if compared:
                texts += _beside(line, places.published.get((row, column)))
        rows.append(tuple(texts))
        rests.append(tuple(keys))
    shown = [line for (_, column), line in places.lines.items() if column.dataset == dataset]
    printed = [one for (_, column), one in places.published.items() if column.dataset == dataset]
    difference = " “difference” is ours minus published, in percentage points." if printed else ""
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        caption=f"{titled(evidence, dataset)}. {accuracy_notes.spread(shown)}{difference}",
        notes=tuple(accuracy_notes.under(shown, printed, layout)),
        label=label(evidence, dataset),
        rests_on=tuple(rests),
    )


def _in_sets(evidence: Evidence, places: Grid, layout: Layout) -> Table:
    """Table 4: three sets of systems; ours has a number where we measured, the others what the paper prints."""
    papers = list(dict.fromkeys(one.dataset for one in layout.printed()))
    columns = [Column(header="data"), Column(header=layout.heading)]
    compared = {
        column
        for column in places.columns
        if any(where == column and (row, where) in places.lines for row, where in places.published)
    }
    for column in places.columns:
        words = ", ".join((dataset_words(column.dataset), *places.parts(column)))
        columns.append(Column(header="ours", align="right", over=words))
        if column in compared:
            columns.append(Column(header="ours minus published", align="right", over=words))
    columns += [
        Column(header=dataset_words(each), align="right", over="published") for each in papers
    ]
    rows, rests = [], []
    for row in places.rows:
        texts = [row.group, row.name]
        keys: list[str] = []
        for column in places.columns:
            line = places.lines.get((row, column))
            keys += [] if line is None else line.cells
            texts.append(_ours(line))
            if column in compared:
                texts.append(_beside(line, places.published.get((row, column)))[1])
        for dataset in papers:
            value = next(
                (
                    one.value
                    for one in layout.printed()
                    if (one.dataset, one.method, stream_words(one.modality))
                    == (dataset, row.method, row.group)
                    and _is_its_row(row.name, row.method, places, row.group)
                ),
                None,
            )
            texts.append(number(value))
        rows.append(tuple(texts))
        rests.append(tuple(keys))
    shown = list(places.lines.values())
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            f"{evidence.title}. Three sets, by what a system looks at: RGB, flow, both. {accuracy_notes.spread(shown)} Systems "
            "without a number of ours are other authors', as the paper prints them."
        ),
        notes=tuple(accuracy_notes.under(shown, layout.printed(), layout)),
        label=label(evidence, "sets"),
        group_by=1,
        rests_on=tuple(rests),
    )


def _is_its_row(name: str, method: str, places: Grid, group: str) -> bool:
    """Whether a published number stands in this row: the last one of its method in its set."""
    same = [row.name for row in places.rows if (row.group, row.method) == (group, method)]
    return name == same[-1]


def _only_published(layout: Layout) -> Table:
    """The paper's own table, for readers of a report on other data."""
    printed = layout.printed()
    across = list(dict.fromkeys((one.dataset, one.modality, one.shots) for one in printed))
    columns = []
    for dataset, modality, shots in across:
        labels = "" if layout.artefact == "table1" else f", {shots} per class" if shots != "all" else ", all"  # fmt: skip
        stream = f", {stream_words(modality)}" if layout.artefact == "table1" else ""
        columns.append(f"{dataset_words(dataset)}{stream}{labels}")
    rows = []
    for method in dict.fromkeys(one.method for one in printed):
        value = {
            (one.dataset, one.modality, one.shots): one.value
            for one in printed
            if one.method == method
        }
        rows.append((layout.name(method), *(number(value.get(each)) for each in across)))
    return Table(
        columns=(
            Column(header=layout.heading),
            *(Column(header=each, align="right", over="published") for each in columns),
        ),
        rows=tuple(rows),
        caption=f"For context: {_called(layout)} of Srivastava et al. (2015), on other data than ours, in percent; none of these numbers is ours.",
        notes=tuple(accuracy_notes.of_published(printed)),
        rests_on=((),) * len(rows),
    )


def _ours(line: Line | None) -> str:
    """Mean ± sd; of an incomplete line how much of it is there, and no number."""
    if line is None:
        return MISSING
    if not line.complete:
        return f"{MISSING} {count(line.n, line.expected)}"
    return mean_sd(line.mean, line.sd)


def _beside(line: Line | None, printed: Published | None) -> tuple[str, str]:
    """The paper's number, and ours minus it."""
    if printed is None:
        return MISSING, MISSING
    if line is None:
        return number(printed.value), MISSING
    if not line.complete:
        return number(printed.value), LACKING
    return number(printed.value), number(line.mean - printed.value, signed=True)


def _missing(evidence: Evidence) -> Table | None:
    """Missing cells, the resamples of one place and reason on one row; None when nothing is missing."""
    stream_of = {str(cell["cell"]): str(cell.get("stream", "rgb")) for cell in evidence.expected}
    rows: dict[tuple[str, ...], list[int]] = {}
    for cell in missing(evidence, METRIC).to_dict("records"):
        key = str(cell["cell"])
        if key in stream_of:
            place = (
                dataset_words(str(cell["dataset"])),
                stream_words(stream_of[key]),
                *(str(cell["method"]), str(cell["shots"]), str(int(cell["split"]))),
            )
            rows.setdefault((*place, str(cell["reason"])), []).append(int(cell["resample"]))
        else:
            rows[(key[:16], *(MISSING,) * 4, str(cell["reason"]))] = []
    if not rows:
        return None
    heads = ("dataset", "stream", "method", "videos per class", "split", "resamples", "reason")
    return Table(
        columns=tuple(Column(header=each) for each in heads),
        rows=tuple((*place, ranges(each), reason) for (*place, reason), each in rows.items()),
        caption="Expected results that no accepted run has given yet.",
    )
