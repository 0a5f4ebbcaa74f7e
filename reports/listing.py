"""Reports without a figure: one table of what was made, how to read it, and what to type next.

What stands in the table is decided by the artefact's own file; all forms are written here, so that they agree.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports.cells import cell_list, record_of_cells
from reports.evidence import Evidence
from reports.origins import facts_of, markdown_comment, told
from reports.page import page
from reports.record import record_of_tables
from reports.tables import Column, Table, csv_bytes, latex_document, markdown, markdown_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What one report without a figure shows."""

    lines: pd.DataFrame
    """One line a cell, for csv and json. A cell that is missing has no number in the column `measured`."""
    table: Table
    """The same for readers, without the notes of the evidence."""
    what: str
    """What a line is of, such as "shard": the name of its column."""
    measured: str
    """The column that is empty where a cell is missing."""
    advice: str = ""
    """What to know before one types the commands."""
    commands: Sequence[str] = ()
    """What to type next; empty while there is nothing to go on with."""


def draw_listing(
    evidence: Evidence, listing: Listing, formats: Collection[str]
) -> dict[str, bytes]:
    """The report's files by name: md, tex, html, csv and json; there is no figure.

    Args:
        evidence: what the listing was made of; its notes get the name of the set that they are about.
        listing: what to show.
        formats: which forms to make; those that do not apply are left out.
    """
    notes = _sentences(evidence, str(listing.lines["dataset"].iloc[0]))
    whole = replace(listing.table, notes=(*listing.table.notes, *notes))
    forms: dict[str, Callable[[], bytes]] = {
        "md": lambda: _markdown(evidence, listing, whole),
        "tex": lambda: latex_document(evidence.experiment, [whole], told=told(evidence)),
        "html": lambda: page(
            title=evidence.title,
            lead=_lead(listing),
            sections=[(f"By {listing.what}", listing.table)],
            missing=_missing(evidence, listing),
            advice=listing.advice,
            commands=listing.commands,
            notes=notes,
            provenance=facts_of(evidence),
            cells=cell_list(evidence),
        ),
        "csv": lambda: csv_bytes(listing.lines),
        "json": lambda: _record(evidence, listing),
    }
    return {f"{evidence.experiment}.{form}": forms[form]() for form in forms if form in formats}


def shard_lines(evidence: Evidence, kept: Sequence[str], measured: Sequence[str]) -> pd.DataFrame:
    """One line a shard, in order.

    Args:
        evidence: cells that made one shard each.
        kept: columns of the cells.
        measured: metrics, a column each; empty for a shard that is missing.
    """
    made = {(row["cell"], row["metric"]): row["value"] for row in evidence.rows}
    lines = [
        {
            **{name: cell[name] for name in kept},
            **{metric: made.get((cell["cell"], metric)) for metric in measured},
        }
        for cell in evidence.expected
    ]
    return pd.DataFrame(lines).astype(dict.fromkeys(measured, "Float64")).sort_values("shard")


def _sentences(evidence: Evidence, dataset: str) -> tuple[str, ...]:
    """The notes in one form: what an index notes is a fragment in small letters, and does not say of which set."""
    named = tuple(f"{dataset}{end}" for end in (":", ",", " "))
    told = [
        f"{dataset}: {note}" if note[:1].islower() and not note.startswith(named) else note
        for note in evidence.notes
    ]
    return tuple(f"{note.rstrip('.')}." for note in told)


def _lead(listing: Listing) -> str:
    done = int(listing.lines[listing.measured].notna().sum())
    return f"{done} of {len(listing.lines)} {listing.what}s are there."


def _missing(evidence: Evidence, listing: Listing) -> Table | None:
    """The lines that are not there, and why; None when all are."""
    absent = listing.lines[listing.lines[listing.measured].isna()]
    if absent.empty:
        return None
    cells = {cell[listing.what]: str(cell["cell"]) for cell in evidence.expected}
    return Table(
        columns=(Column(header=listing.what), Column(header="reason")),
        rows=tuple(
            (str(one), evidence.failed.get(cells[one], "no finished run yet"))
            for one in absent[listing.what]
        ),
        caption="Expected results that no accepted run has given yet.",
    )


def _markdown(evidence: Evidence, listing: Listing, table: Table) -> bytes:
    parts = [f"# {markdown_text(evidence.title)}\n", markdown(table)]
    if listing.commands:
        parts.append("## Next\n")
        parts += [f"{markdown_text(listing.advice)}\n"] if listing.advice else []
        parts.append("\n".join(["```", *listing.commands, "```", ""]))
    return "\n".join([*parts, markdown_comment(evidence)]).encode()


def _record(evidence: Evidence, listing: Listing) -> bytes:
    document = {
        "experiment": evidence.experiment,
        "title": evidence.title,
        "provenance": dict(evidence.provenance),
        f"{listing.what}s": json.loads(listing.lines.to_json(orient="records")),
        "tables": record_of_tables([(f"By {listing.what}", listing.table)]),
        "cells": record_of_cells(evidence),
        "failed": dict(evidence.failed),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
