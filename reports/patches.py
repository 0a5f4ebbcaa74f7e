"""What a cutting of patches left: a line a shard, how they are kept, and the store's name."""

from collections.abc import Collection

import pandas as pd

from reports.evidence import Evidence
from reports.listing import Listing, draw_listing, shard_lines
from reports.tables import Column, Table

MEASURED = ("frames",)
KEPT = (
    "dataset", "colour", "per_video", "rows", "columns", "side", "places_seed", "store", "shard", "bytes",
)  # fmt: skip


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: md, tex, html, csv and json; there is no figure.

    Args:
        evidence: cells with the columns of KEPT, and the metric of MEASURED.
        formats: which forms to make; those that do not apply are left out.
    """
    lines = shard_lines(evidence, KEPT, MEASURED)
    listing = Listing(lines=lines, table=_table(lines), what="shard", measured=MEASURED[0])
    return draw_listing(evidence, listing, formats)


def _table(lines: pd.DataFrame) -> Table:
    first, kept = lines.iloc[0], lines[lines["frames"].notna()]
    frames = ["missing" if pd.isna(each) else f"{each:,.0f}" for each in lines["frames"]]
    sizes = [f"{each / 1e9:,.3f}" for each in lines["bytes"].astype(float)]
    return Table(
        columns=(
            Column(header="shard"),
            Column(header="frames", align="right"),
            Column(header="size", unit="GB", align="right"),
        ),
        rows=tuple(zip(lines["shard"].astype(str), frames, sizes, strict=True)),
        caption=(
            f"Store {first['store']}: {len(kept)} of {len(lines)} shards, {int(kept['frames'].sum()):,} frames, "
            f"{kept['bytes'].sum() / 1e9:,.3f} GB. Of each video {first['per_video']} places of {first['side']} x {first['side']} "
            f"pixels, {first['colour']}, in frames of {first['rows']} x {first['columns']}."
        ),
        label="tab:patches",
    )
