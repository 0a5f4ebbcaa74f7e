"""Tracks of patches: fixed places of a set's videos, cut out of every frame, in bytes, a shard of a store a cell (sec. 3.2).

A track is a square of one place, followed through all frames of the video. Where it is, is drawn from a hash of
(seed, video, track), so no track depends on another. Frames are resized first; of frame t of a track the store holds
side x side pixels, row by row, with 1 channel (gray: luma after ITU-R BT.601, rounded) or 3 (red, green, blue).
Shapes: T frames, N of them in one piece, K tracks of a video, Y and X pixels, C channels, D numbers of a patch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tasks.cell import canonical
from tasks.data.decode_ahead import decoded
from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import write_shard
from tasks.data.index import read
from tasks.data.patches import CHANNELS, Colour, track_id
from tasks.data.root import folder_of
from tasks.store_shard import StoreShard
from tasks.task import Metric, Needed, Predictions, Score, Value

if TYPE_CHECKING:
    import numpy as np
    import torch

FRAMES = Metric(
    name="frames",
    unit="frames",
    higher_is_better=True,
    meaning="frames of videos that tracks were cut from; the shard holds one patch of each for every track",
)
MOST_TRACKS = 1_000
"""Of a video: all of a video's tracks lie in one shard, which holds so many names and no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchRecipe:
    """How the patches of a set of videos are cut and kept: all that can alter a byte of them.

    Raises:
        ValueError: for a value outside its range, or a patch that does not fit the frame.
    """

    version: ClassVar[int] = 1
    """Raised whenever the same values would give other bytes."""

    set_name: str
    videos: str
    """`Index.content_identity`: which videos, and the bytes of their files."""
    colour: Colour = "gray"
    per_video: int = 8
    """K, tracks of each video."""
    size: tuple[int, int] = (240, 320)
    """Rows and columns to which every frame is resized before patches are cut."""
    side: int = 32
    """Rows and columns of a patch."""
    seed: int = 0
    """Of the places."""
    shard_frames: int = 50_000
    """Frames of the videos of a shard, about: 410 MB with eight gray tracks."""

    def __post_init__(self) -> None:
        if self.colour not in CHANNELS:
            raise ValueError(f"colour={self.colour}: choose from {', '.join(CHANNELS)}")
        if not 1 <= self.per_video <= MOST_TRACKS:
            raise ValueError(f"per_video={self.per_video}: cut 1 to {MOST_TRACKS:,} tracks of a video")  # fmt: skip
        if not 1 <= self.side <= min(self.size):
            raise ValueError(
                f"side={self.side}: a patch has 1 row and column or more, and fits in frames of {self.size[0]} x {self.size[1]}"
            )
        if self.shard_frames < 1:
            raise ValueError(f"shard_frames={self.shard_frames}: a shard holds at least 1 frame")

    @property
    def patch_bytes(self) -> int:
        """Bytes of one patch."""
        return self.side**2 * CHANNELS[self.colour]

    @property
    def plan(self) -> StorePlan:
        """The store that it makes.

        Raises:
            ValueError: when the set's index has changed since.
        """
        return _plan_of(self)

    @property
    def folder(self) -> Path:
        """Where the store lies."""
        return folder_of(self.set_name) / "patches" / self.title

    @property
    def title(self) -> str:
        """The store's name: readable, and different for whatever makes other patches."""
        rows, columns = self.size
        return f"{self.colour}-{self.per_video}x{self.side}px-{rows}x{columns}-{self.plan.identity[:12]}"


@lru_cache(maxsize=64)
def _plan_of(recipe: PatchRecipe) -> StorePlan:
    index = read(recipe.set_name)
    if index.content_identity != recipe.videos:
        raise ValueError(
            f"the videos of {recipe.set_name} were indexed again since this was asked for, and differ: run it again"
        )
    return StorePlan.cut(
        {**canonical(recipe), "stream": "patches"},
        [
            (track_id(video.id, track), video.num_frames)
            for video in index.videos
            for track in range(recipe.per_video)
        ],
        recipe.patch_bytes,
        shard_bytes=recipe.shard_frames * recipe.per_video * recipe.patch_bytes,
        dtype="uint8",
        together=recipe.per_video,
    )


def place_of(seed: int, video: str, track: int, room: tuple[int, int]) -> tuple[int, int]:
    """The upper left corner of a track, each place as likely as any other: a pure function of its arguments.

    Args:
        seed: any number.
        video: its id.
        track: its number, from 0.
        room: the largest row and column that a corner can have.

    Returns:
        Row and column, from 0.
    """
    drawn = hashlib.sha256(f"{seed}\n{track}\n{video}".encode()).digest()
    row, column = (int.from_bytes(drawn[at : at + 8], "little") for at in (0, 8))
    return row * (room[0] + 1) >> 64, column * (room[1] + 1) >> 64


def cut(frames_NYXC: np.ndarray, place: tuple[int, int], side: int, colour: Colour) -> np.ndarray:
    """One track's patches of a piece of frames.

    Args:
        frames_NYXC: uint8, red, green, blue.
        place: the upper left corner.
        side: rows and columns of a patch.
        colour: what is kept.

    Returns:
        uint8 (N, D).
    """
    import numpy as np

    row, column = place
    patch_NYXC = frames_NYXC[:, row : row + side, column : column + side]
    if colour == "gray":
        # Whole numbers, so that a level is the same wherever it is computed.
        luma_NYX = (patch_NYXC.astype(np.int64) @ np.array([299, 587, 114]) + 500) // 1000
        patch_NYXC = luma_NYX.astype(np.uint8)[..., None]
    return patch_NYXC.reshape(len(patch_NYXC), side**2 * CHANNELS[colour])


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchTracks(StoreShard):
    """Make one shard of a store of patches."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (FRAMES,)
    parallel: ClassVar[bool] = False

    recipe: PatchRecipe
    shard: int

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        recipe = self.recipe
        frames = sum(frames for _, frames in self._videos())
        return {
            "dataset": recipe.set_name,
            "stream": "patches",
            "colour": recipe.colour,
            "per_video": recipe.per_video,
            "rows": recipe.size[0],
            "columns": recipe.size[1],
            "side": recipe.side,
            "places_seed": recipe.seed,
            "shard": self.shard,
            "store": recipe.title,
            "bytes": frames * recipe.per_video * recipe.patch_bytes,
        }

    def gflop(self) -> float:
        """Next to nothing: it decodes and cuts."""
        return 0.0

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """No model."""
        del seed, needed
        import torch

        return torch.nn.Identity()

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Make the shard. A video's tracks are held in memory while it is decoded.

        Returns:
            Columns video_id, frames; one row a video.

        Raises:
            ValueError: when a video is missing, was replaced, cannot be decoded, or has another number of frames.
        """
        del model, chunk
        import numpy as np

        recipe, videos = self.recipe, self._videos()
        # The index as it is now: a set that was moved has the same videos elsewhere.
        index = read(recipe.set_name)
        files = [index.whole_file_of(video) for video, _ in videos]
        room = recipe.size[0] - recipe.side, recipe.size[1] - recipe.side

        def tracks() -> Iterator[tuple[str, np.ndarray]]:
            shown = decoded(files, recipe.size)
            for (video, num_frames), path, pieces in zip(videos, files, shown, strict=True):
                places = [
                    place_of(recipe.seed, video, track, room) for track in range(recipe.per_video)
                ]
                tracks_KTD = np.empty((len(places), num_frames, recipe.patch_bytes), np.uint8)
                there = 0
                for frames_NYXC in pieces:
                    kept_NYXC = frames_NYXC[: max(0, num_frames - there)]
                    for patches_TD, place in zip(tracks_KTD, places, strict=True):
                        patches_TD[there : there + len(kept_NYXC)] = cut(
                            kept_NYXC, place, recipe.side, recipe.colour
                        )
                    there += len(frames_NYXC)
                if there != num_frames:
                    raise ValueError(
                        f"the video {path} has {there} frames, and {num_frames} when it was indexed: index "
                        f"{recipe.set_name} again"
                    )
                for track, patches_TD in enumerate(tracks_KTD):
                    yield track_id(video, track), patches_TD

        write_shard(recipe.folder, recipe.plan, self.shard, tracks())
        return {
            "video_id": np.array([video for video, _ in videos]),
            "frames": np.array([frames for _, frames in videos], dtype=np.int64),
        }

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Count frames.

        Raises:
            ValueError: unless every video of the shard is there exactly once.
        """
        if predictions["video_id"].tolist() != [video for video, _ in self._videos()]:
            raise ValueError(f"shard {self.shard} must hold each of its videos exactly once")
        frames = int(predictions["frames"].sum())
        yield Score(metric=FRAMES, value=float(frames), count=len(predictions["video_id"]))

    def _videos(self) -> list[tuple[str, int]]:
        """Videos of the shard, and their frames."""
        clips = self.recipe.plan.shards[self.shard][:: self.recipe.per_video]
        return [(track.rpartition("#")[0], frames) for track, frames in clips]
