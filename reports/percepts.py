"""What an extraction of percepts left: a line a shard, and the store's name."""

import json
from collections.abc import Callable, Collection

import pandas as pd

from reports.evidence import Evidence
from reports.tables import Column, Table, csv_bytes, html, latex, markdown

METRIC = "frames"
KEPT = ["dataset", "stream", "convnet", "layer", "weights", "store", "shard"]


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: md, tex, html, csv and json; there is no figure.

    Args:
        evidence: cells with the columns of KEPT and the metric "frames".
        formats: which forms to make; those that do not apply are left out.
    """
    lines = _lines(evidence)
    table = _table(evidence, lines)
    forms: dict[str, Callable[[], bytes]] = {
        "md": f"# {evidence.title}\n\n{markdown(table)}\n".encode,
        "tex": lambda: latex(table).encode(),
        "html": lambda: html(table).encode(),
        "csv": lambda: csv_bytes(lines),
        "json": lambda: _record(evidence, lines),
    }
    chosen = {form: make for form, make in forms.items() if form in formats}
    return {f"{evidence.experiment}.{form}": make() for form, make in chosen.items()}


def _lines(evidence: Evidence) -> pd.DataFrame:
    """One line a shard; `frames` is empty for one that is missing."""
    made = {row["cell"]: row["value"] for row in evidence.rows if row["metric"] == METRIC}
    lines = [
        {**{name: cell[name] for name in KEPT}, "frames": made.get(cell["cell"])}
        for cell in evidence.expected
    ]
    return pd.DataFrame(lines).astype({"frames": "Float64"}).sort_values("shard")


def _table(evidence: Evidence, lines: pd.DataFrame) -> Table:
    store = str(lines["store"].iloc[0])
    done = lines["frames"].notna()
    frames = ["missing" if pd.isna(each) else f"{each:,.0f}" for each in lines["frames"]]
    rows = tuple(zip(lines["shard"].astype(str), frames, strict=True))
    return Table(
        columns=(Column(header="shard"), Column(header="frames", align="right")),
        rows=rows,
        caption=f"Store {store}: {int(done.sum())} of {len(lines)} shards, {int(lines['frames'].sum()):,} frames.",
        notes=tuple(evidence.notes),
        label="tab:percepts",
    )


def _record(evidence: Evidence, lines: pd.DataFrame) -> bytes:
    document = {
        "experiment": evidence.experiment,
        "title": evidence.title,
        "provenance": dict(evidence.provenance),
        "shards": json.loads(lines.to_json(orient="records")),
        "failed": dict(evidence.failed),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
