"""Flow: optical flow between all neighbouring frames of an indexed set of videos, kept in 8 bits (sec. 3.1).

The paper's is that of Brox et al. (2004) between frames of 240 x 320. Each cell is one shard of a store that lies beside
the set's index; a run that was broken off makes the shards that are missing. The temporal stream is trained on such a store
(`harness run temporal`). It takes 2 bytes a pixel and frame: UCF-101 at 240 x 320 is about 380 GB, a quarter of that at
--set rows=120 --set columns=160 (which the temporal stream's crop of 224 x 224 does not fit in), and 2 x 224 x 224 bytes a
frame, about 250 GB, at the least size that it does fit in.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from configs.data import indexed_set
from configs.experiment import Experiment
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.flow_fields import FlowFields, FlowRecipe


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.flow import draw  # pandas: only when something is drawn

    return draw(evidence, formats)


def flow(
    *,
    dataset: Annotated[str, "a set that `harness data index` has made"],
    flow_method: Annotated[
        Literal["brox", "tvl1", "dis"],
        "optical flow (paper: brox; dis takes a hundredth of its time on CPUs)",
    ] = "brox",
    flow_bound: Annotated[float, "pixels of motion that 8 bits reach to; more is clipped"] = 20.0,
    rows: Annotated[int, "rows of pixels that frames are resized to (paper: 240)"] = 240,
    columns: Annotated[int, "columns of pixels that frames are resized to (paper: 320)"] = 320,
    shard_frames: Annotated[int, "frames of a shard, about"] = 5_000,
) -> Experiment:
    """Keep the flow of a set of videos.

    Args:
        dataset: the set's name.
        flow_method: how flow is found.
        flow_bound: pixels of motion that 8 bits reach to.
        rows: rows of a resized frame.
        columns: columns of a resized frame.
        shard_frames: frames of a shard.

    Raises:
        ValueError: when the set is not there or a value is outside its range, in one sentence.
    """
    index = indexed_set(dataset)
    recipe = FlowRecipe(
        set_name=dataset,
        videos=index.content_identity,
        method=flow_method,
        bound=flow_bound,
        size=(rows, columns),
        shard_frames=shard_frames,
    )
    plan = recipe.plan
    frames = sum(video.num_frames for video in index.videos)
    label = f"flow by {flow_method}"
    return Experiment(
        title=f"Flow of {dataset}: {flow_method}, {rows} x {columns}",
        cells=tuple(
            Cell(task=FlowFields(recipe=recipe, shard=shard), label=label)
            for shard in range(len(plan.shards))
        ),
        draw=_draw,
        notes=(
            f"The whole store takes {frames * plan.frame_bytes / 1e9:,.3f} GB: {frames:,} frames of {plan.frame_bytes:,} bytes.",
            f"Bytes 1 to 255 stand for {-flow_bound:g} to {flow_bound:g} pixels a frame and 128 for no motion; one level is "
            f"{recipe.level:.4g} pixels, and motion beyond the bound is clipped to it.",
            *index.notes,
        ),
    )
