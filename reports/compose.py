"""One report in all its forms, for reports that are a figure, tables and notes: the forms agree because they are made here.

What stands in it is decided by the artefact's own file. (`reports.listing` is the same for reports of one table without a figure.)
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
from matplotlib.figure import Figure

from reports.cells import cell_list, record_of_cells
from reports.evidence import Evidence
from reports.origins import facts_of, markdown_comment, told
from reports.page import page
from reports.record import record_of_lines, record_of_tables
from reports.style import paper_style, render
from reports.tables import Column, Table, csv_bytes, latex_document, markdown, markdown_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one report shows."""

    lead: str
    """One sentence under the heading."""
    sections: tuple[tuple[str, Table], ...]
    """Heading and table, in their order; LaTeX has all of them one after the other. Without the notes of the evidence."""
    lines: pd.DataFrame
    """Every number drawn, unrounded, for csv and json."""
    lines_rest_on: tuple[tuple[str, ...], ...] = ()
    """For each line the keys of the cells that its numbers were reduced from; may be left out where lines have a column `cell`."""
    missing: Table | None
    """What has no accepted result yet, as of `missing_cells`; None when nothing is missing."""
    figure: Callable[[], Figure] | None = None
    """Draws the figure, by `reports.style.new_figure`, inside `paper_style`; None where there is none (or nothing to draw yet)."""
    figure_alt: str = ""
    """The figure in words."""
    more: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    """Other files by the end of their name after the experiment's: "_frames.csv", ".gif". The format is what follows the last dot."""


def compose(evidence: Evidence, report: Report, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: png, pdf, svg, md, tex, html, csv, json, and what `report.more` adds.

    Args:
        evidence: what the report was made of; its notes stand in every form.
        report: what to show.
        formats: which forms to make; those that do not apply are left out.
    """
    forms: dict[str, Callable[[], bytes]] = {
        ".md": lambda: _markdown(evidence, report),
        ".tex": lambda: _latex(evidence, report),
        ".html": lambda: page(
            title=evidence.title,
            lead=report.lead,
            figure_svg=_render(report.figure, "svg") if report.figure else None,
            figure_alt=report.figure_alt,
            sections=report.sections,
            missing=report.missing,
            notes=evidence.notes,
            provenance=facts_of(evidence),
            cells=cell_list(evidence),
        ),
        ".csv": lambda: csv_bytes(report.lines),
        ".json": lambda: _record(evidence, report),
        **report.more,
    }
    if report.figure is not None:
        for form in ("png", "pdf", "svg"):
            forms[f".{form}"] = _rendering(report.figure, form)
    return {
        f"{evidence.experiment}{end}": make()
        for end, make in forms.items()
        if end.rpartition(".")[2] in formats
    }


def missing_cells(evidence: Evidence, has_result: Collection[str]) -> Table | None:
    """A table of the expected cells that have no accepted result, each with the reason; None when there is none.

    Args:
        evidence: the cells.
        has_result: keys of those that have one.
    """
    rows = tuple(
        (
            str(cell["cell"])[:16],
            str(cell["method"]),
            evidence.failed.get(str(cell["cell"]), "no finished run yet"),
        )
        for cell in evidence.expected
        if cell["cell"] not in has_result
    )
    if not rows:
        return None
    return Table(
        columns=(Column(header="cell"), Column(header="method"), Column(header="reason")),
        rows=rows,
        caption="Expected results that no accepted run has given yet.",
    )


def _rendering(figure: Callable[[], Figure], form: str) -> Callable[[], bytes]:
    return lambda: _render(figure, form)


def _render(figure: Callable[[], Figure], form: str) -> bytes:
    with paper_style():
        return render(figure(), form)


def _with_notes(evidence: Evidence, report: Report) -> list[Table]:
    """The tables; the last carries what all notes say."""
    *first, last = (table for _, table in report.sections)
    return [*first, replace(last, notes=(*last.notes, *evidence.notes))]


def _markdown(evidence: Evidence, report: Report) -> bytes:
    parts = [f"# {markdown_text(evidence.title)}\n", f"{markdown_text(report.lead)}\n"]
    if report.figure is not None:
        parts.append(f"![{markdown_text(report.figure_alt)}]({evidence.experiment}.png)\n")
    parts += [markdown(table) for table in _with_notes(evidence, report)]
    if report.missing is not None:
        parts += ["## Missing\n", markdown(report.missing)]
    return "\n".join([*parts, markdown_comment(evidence)]).encode()


def _latex(evidence: Evidence, report: Report) -> bytes:
    return latex_document(evidence.experiment, _with_notes(evidence, report), told=told(evidence))


def _record(evidence: Evidence, report: Report) -> bytes:
    document = {
        "experiment": evidence.experiment,
        "title": evidence.title,
        "provenance": dict(evidence.provenance),
        "lines": record_of_lines(
            json.loads(report.lines.to_json(orient="records", double_precision=15)),
            report.lines_rest_on,
        ),
        "tables": record_of_tables(report.sections),
        "cells": record_of_cells(evidence),
        "failed": dict(evidence.failed),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
