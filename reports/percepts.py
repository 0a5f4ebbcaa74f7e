"""What an extraction of percepts left: a line a shard, what made the store, and what to type next."""

from collections.abc import Collection

import pandas as pd

from reports.evidence import Evidence
from reports.listing import Listing, draw_listing
from reports.tables import Column, Table

METRIC = "frames"
KEPT = ["dataset", "stream", "convnet", "layer", "weights", "store", "shard"]
TOLD = ("frame_size", "preprocessing")
"""What cells may say besides: the numbers of a frame's percepts, and how the convnet had its frames prepared."""
WEIGHTS_DIGITS = 12
"""Of the sha256 of the weights, in the caption."""
OF_ONE_SPLIT = "Percepts of a net that was trained on the labels of one split serve that split alone: name it with --set splits=..."
"""Of flow, as a temporal stream is trained so."""


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: md, tex, html, csv and json; there is no figure.

    Args:
        evidence: cells with the columns of KEPT, perhaps those of TOLD, and the metric "frames".
        formats: which forms to make; those that do not apply are left out.
    """
    lines = _lines(evidence)
    first = lines.iloc[0]
    listing = Listing(
        lines=lines,
        table=_table(lines),
        what="shard",
        measured=METRIC,
        advice=OF_ONE_SPLIT if str(first["stream"]).startswith("flow") else "",
        # A store that lacks a shard is refused, so the command would only fail.
        commands=[_next(first)] if lines[METRIC].notna().all() else [],
    )
    return draw_listing(evidence, listing, formats)


def _lines(evidence: Evidence) -> pd.DataFrame:
    """One line a shard; `frames` is empty for one that is missing."""
    made = {row["cell"]: row["value"] for row in evidence.rows if row["metric"] == METRIC}
    lines = [
        {
            **{name: cell[name] for name in KEPT},
            **{name: cell[name] for name in TOLD if name in cell},
            "frames": made.get(cell["cell"]),
        }
        for cell in evidence.expected
    ]
    return pd.DataFrame(lines).astype({"frames": "Float64"}).sort_values("shard")


def _next(line: pd.Series) -> str:
    """The command that trains on the store."""
    return f"harness run fig12 --set dataset={line['dataset']} --set percepts={line['store']}"


def _made_of(line: pd.Series) -> str:
    """What made a store, as a sentence."""
    parts = [f"Stream {line['stream']} of {line['dataset']} through {line['convnet']}"]
    parts.append(f"layer {line['layer']}")
    if "preprocessing" in line:
        parts.append(f"preprocessing {line['preprocessing']}")
    if line["weights"]:
        parts.append(f"weights sha256 {str(line['weights'])[:WEIGHTS_DIGITS]}")
    return f"{', '.join(parts)}."


def _table(lines: pd.DataFrame) -> Table:
    first = lines.iloc[0]
    numbers = f" of {int(first['frame_size']):,} numbers" if "frame_size" in first else ""
    done = lines["frames"].notna()
    frames = ["missing" if pd.isna(each) else f"{each:,.0f}" for each in lines["frames"]]
    rows = tuple(zip(lines["shard"].astype(str), frames, strict=True))
    return Table(
        columns=(Column(header="shard"), Column(header="frames", align="right")),
        rows=rows,
        caption=(
            f"Store {first['store']}: {int(done.sum())} of {len(lines)} shards, {int(lines['frames'].sum()):,} "
            f"frames{numbers}. {_made_of(first)}"
        ),
        label="tab:percepts",
    )
