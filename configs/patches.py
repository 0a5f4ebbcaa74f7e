"""Patches: small squares of an indexed set of videos, each followed through all frames of its video, in 8 bits (sec. 3.2).

The paper trains on 32 x 32 patches of UCF-101, and says neither how many nor from where. Here every video gets
`per_video` places, drawn from a hash. Each cell is one shard of a store that lies beside the set's index; a run that was
broken off makes the shards that are missing. At 30 frames a second an hour of video takes 0.88 GB with eight gray
tracks (UCF-101's 27 hours about 20 GB), three times that in colours.
"""

from collections.abc import Collection
from typing import Annotated

from configs.data import indexed_set
from configs.experiment import Experiment
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.data.patches import Colour
from tasks.patch_tracks import PatchRecipe, PatchTracks


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.patches import draw  # pandas: only when something is drawn

    return draw(evidence, formats)


def patches(
    *,
    dataset: Annotated[str, "a set that `harness data index` has made"],
    colour: Annotated[Colour, "what is kept of a pixel: its luma, or red, green and blue"] = "gray",
    per_video: Annotated[int, "tracks of each video: places followed through all frames"] = 8,
    rows: Annotated[int, "rows of pixels that frames are resized to"] = 240,
    columns: Annotated[int, "columns of pixels that frames are resized to"] = 320,
    side: Annotated[int, "rows and columns of a patch (paper: 32)"] = 32,
    seed: Annotated[int, "of the places"] = 0,
    shard_frames: Annotated[int, "frames of the videos of a shard, about"] = 50_000,
) -> Experiment:
    """Keep patches of a set of videos.

    Args:
        dataset: the set's name.
        colour: what is kept of a pixel.
        per_video: tracks of each video.
        rows: rows of a resized frame.
        columns: columns of a resized frame.
        side: rows and columns of a patch.
        seed: of the places.
        shard_frames: frames of the videos of a shard.

    Raises:
        ValueError: when the set is not there or a value is outside its range, in one sentence.
    """
    index = indexed_set(dataset)
    recipe = PatchRecipe(
        set_name=dataset,
        videos=index.content_identity,
        colour=colour,
        per_video=per_video,
        size=(rows, columns),
        side=side,
        seed=seed,
        shard_frames=shard_frames,
    )
    frames = sum(video.num_frames for video in index.videos)
    size = frames * per_video * recipe.patch_bytes
    return Experiment(
        title=f"Patches of {dataset}: {colour}, {side} x {side}",
        cells=tuple(
            Cell(task=PatchTracks(recipe=recipe, shard=shard), label=f"patches, {colour}")
            for shard in range(len(recipe.plan.shards))
        ),
        draw=_draw,
        notes=(
            f"The whole store takes {size / 1e9:,.3f} GB: {frames:,} frames, of each {per_video} patches of "
            f"{recipe.patch_bytes:,} bytes.",
            *index.notes,
        ),
    )
