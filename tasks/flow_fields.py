"""Stored flow: the fields between all neighbouring frames of a set of videos, in bytes, a shard a cell.

Frames are resized, flow is found between each and the next, and kept as Simonyan and Zisserman (2014a, sec. 5) keep it: in
8 bits, so that it is computed once and read by whoever trains on it or makes percepts of it. A cell is one shard of the
store, which lies beside the set's index. Of frame t the store holds 2 Y X bytes: u of all pixels, row by row, then v of all
pixels, between frame t and frame t + 1; the last field is there twice, and a video of one frame stands still.

Shapes: T frames, N of them in one piece, Y and X pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tasks.cell import canonical
from tasks.data.decode_ahead import decoded
from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import write_shard
from tasks.data.flow import Quantised
from tasks.data.flow_videos import FOLDER
from tasks.data.index import read
from tasks.data.root import folder_of
from tasks.flow_stream import FlowSpec, fields
from tasks.store_shard import StoreShard
from tasks.task import Metric, Needed, Predictions, Score, Value

if TYPE_CHECKING:
    import numpy as np
    import torch

FRAMES = Metric(
    name="frames",
    unit="frames",
    higher_is_better=True,
    meaning="frames whose flow is in the shard, one field each",
)
AT_BOUND = Metric(
    name="at_bound",
    unit="%",
    higher_is_better=False,
    meaning="displacements (u and v counted each) that are stored as the largest byte: clipped to the bound, or within half "
    "a level of it",
)
DECODERS = {"cuda": 2}
"""Processes that decode ahead, by the kind of device; beside a CPU, cells side by side keep all cores busy."""
GFLOP_PER_PIXEL = {"brox": 4e-5, "tvl1": 1e-4, "dis": 1e-6}
"""For plans: about, of one pixel of one field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRecipe:
    """How the flow of a set of videos is made and kept: all that can alter a byte of it.

    Raises:
        ValueError: for an unknown method, a bound that is not above 0, a size or a number of frames below 1.
    """

    version: ClassVar[int] = 1
    """Raised whenever the same values would give other bytes."""

    set_name: str
    videos: str
    """`Index.content_identity`: which videos, and the bytes of their files."""
    method: str = "brox"
    bound: float = 20.0
    """Displacement in pixels that the largest byte stands for; more is clipped to it."""
    size: tuple[int, int] = (240, 320)
    """Rows and columns to which every frame is resized before flow is found."""
    shard_frames: int = 5_000
    """Frames of a shard, about: 770 MB at 240 x 320."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", float(self.bound))  # 20 and 20.0 are one store
        FlowSpec(method=self.method, bound=self.bound)
        if min(self.size) < 1:
            raise ValueError(
                f"size={self.size[0]} x {self.size[1]}: a field has at least 1 row and column"
            )
        if self.shard_frames < 1:
            raise ValueError(f"shard_frames={self.shard_frames}: a shard holds at least 1 frame")

    @property
    def level(self) -> float:
        """Pixels of motion between neighbouring bytes."""
        return Quantised(bound=self.bound).level

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
        return folder_of(self.set_name) / FOLDER / self.title

    @property
    def title(self) -> str:
        """The store's name: readable, and different for whatever makes other flow."""
        rows, columns = self.size
        return f"{self.method}-{self.bound:g}px-{rows}x{columns}-{self.plan.identity[:12]}"


@lru_cache(maxsize=64)
def _plan_of(recipe: FlowRecipe) -> StorePlan:
    index = read(recipe.set_name)
    if index.content_identity != recipe.videos:
        raise ValueError(
            f"the videos of {recipe.set_name} were indexed again since this was asked for, and differ: run it again"
        )
    frame_size = 2 * recipe.size[0] * recipe.size[1]
    return StorePlan.cut(
        {**canonical(recipe), "stream": "flow", "flow_version": FlowSpec.version},
        [(video.id, video.num_frames) for video in index.videos],
        frame_size,
        shard_bytes=recipe.shard_frames * frame_size,
        dtype="uint8",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowFields(StoreShard):
    """Make one shard of a store of flow."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (FRAMES, AT_BOUND)
    parallel: ClassVar[bool] = False

    recipe: FlowRecipe
    shard: int

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        recipe = self.recipe
        return {
            "dataset": recipe.set_name,
            "stream": "flow",
            "flow_method": recipe.method,
            "flow_bound": recipe.bound,
            "rows": recipe.size[0],
            "columns": recipe.size[1],
            "shard": self.shard,
            "store": recipe.title,
            "bytes": self._num_frames() * recipe.plan.frame_bytes,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations, decoding not counted."""
        rows, columns = self.recipe.size
        return self._num_frames() * rows * columns * GFLOP_PER_PIXEL.get(self.recipe.method, 1e-5)

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """No model: a module that only tells on which device to compute."""
        del seed, needed
        import torch

        place = torch.nn.Module()
        place.register_buffer("here", torch.zeros(()))
        return place

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Make the shard.

        Returns:
            Columns video_id, frames, at_bound (bytes of that video that are the largest or the smallest); one row a video.

        Raises:
            ValueError: when a video is missing, was replaced or cannot be decoded, or is too small for the method.
        """
        del chunk
        import numpy as np

        recipe, plan = self.recipe, self.recipe.plan
        device = str(model.get_buffer("here").device)
        videos = plan.shards[self.shard]
        # The index as it is now: a set that was moved has the same videos elsewhere.
        index = read(recipe.set_name)
        files = [index.whole_file_of(video) for video, _ in videos]
        at_bound: list[int] = []

        def levels() -> Iterator[tuple[str, Iterator[np.ndarray]]]:
            shown = decoded(files, recipe.size, processes=DECODERS.get(device.partition(":")[0], 0))
            for (video, num_frames), path, frames in zip(videos, files, shown, strict=True):
                yield video, pieces(num_frames, path, frames)

        def pieces(
            num_frames: int, path: Path, frames: Iterable[np.ndarray]
        ) -> Iterator[np.ndarray]:
            there = clipped = 0
            for piece_N2YX in fields(frames, recipe.method, recipe.bound, device=device):
                piece_ND = piece_N2YX.reshape(len(piece_N2YX), -1)[: max(0, num_frames - there)]
                there += len(piece_N2YX)
                for bound in (1, 255):
                    clipped += int(np.count_nonzero(piece_ND == bound))
                yield piece_ND
            if there != num_frames:
                raise ValueError(
                    f"the video {path} has {there} frames, and {num_frames} when it was indexed: index "
                    f"{recipe.set_name} again"
                )
            at_bound.append(clipped)

        write_shard(recipe.folder, plan, self.shard, levels())
        return {
            "video_id": np.array([video for video, _ in videos]),
            "frames": np.array([frames for _, frames in videos], dtype=np.int64),
            "at_bound": np.array(at_bound, dtype=np.int64),
        }

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Count frames, and displacements at the bound.

        Raises:
            ValueError: unless every video of the shard is there exactly once.
        """
        if predictions["video_id"].tolist() != [v for v, _ in self.recipe.plan.shards[self.shard]]:
            raise ValueError(f"shard {self.shard} must hold each of its videos exactly once")
        videos, frames = len(predictions["video_id"]), int(predictions["frames"].sum())
        share = predictions["at_bound"].sum() / (frames * self.recipe.plan.frame_size)
        yield Score(metric=FRAMES, value=float(frames), count=videos)
        yield Score(metric=AT_BOUND, value=100.0 * float(share), count=videos)

    def _num_frames(self) -> int:
        return sum(frames for _, frames in self.recipe.plan.shards[self.shard])
