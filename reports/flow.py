"""What a making of flow left: a line a shard, how it is kept, and the store's name."""

from collections.abc import Collection

import pandas as pd

from reports.evidence import Evidence
from reports.listing import Listing, draw_listing, shard_lines
from reports.tables import Column, Table, number

MEASURED = ("frames", "at_bound")
KEPT = [
    "dataset", "flow_method", "flow_bound", "rows", "columns", "store", "shard", "bytes",
]  # fmt: skip


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: md, tex, html, csv and json; there is no figure.

    Args:
        evidence: cells with the columns of KEPT, and the metrics of MEASURED.
        formats: which forms to make; those that do not apply are left out.
    """
    lines = shard_lines(evidence, KEPT, MEASURED)
    listing = Listing(lines=lines, table=_table(lines), what="shard", measured=MEASURED[0])
    return draw_listing(evidence, listing, formats)


def _table(lines: pd.DataFrame) -> Table:
    first, done = lines.iloc[0], lines["frames"].notna()
    frames = ["missing" if pd.isna(each) else f"{each:,.0f}" for each in lines["frames"]]
    sizes = [f"{each / 1e9:,.3f}" for each in lines["bytes"].astype(float)]
    shares = [
        number(None if pd.isna(each) else float(each), digits=3) for each in lines["at_bound"]
    ]
    rows = tuple(zip(lines["shard"].astype(str), frames, sizes, shares, strict=True))
    kept = lines[done]
    return Table(
        columns=(
            Column(header="shard"),
            Column(header="frames", align="right"),
            Column(header="size", unit="GB", align="right"),
            Column(header="at the bound", unit="%", align="right"),
        ),
        rows=rows,
        caption=(
            f"Store {first['store']}: {int(done.sum())} of {len(lines)} shards, {int(kept['frames'].sum()):,} frames, "
            f"{kept['bytes'].sum() / 1e9:,.3f} GB. Flow by {first['flow_method']} between frames of {first['rows']} x "
            f"{first['columns']} pixels. At the bound: displacements, u and v counted each, that are stored as the largest "
            "byte, so clipped or nearly."
        ),
        label="tab:flow",
    )
