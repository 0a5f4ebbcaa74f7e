"""Percepts: every frame of a set of videos through a convnet, into a feature store, a shard a cell (sec. 3.1).

A frame is resized to 240 x 320, its central square cut out, and what a layer of the convnet says of it is kept, in
float16. A cell is one shard of the store: it decodes its videos, computes, and puts the shard into the store's folder
beside the set's index, where all work folders find it. Shapes: T frames, Y and X pixels, D numbers of a percept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

from tasks.across import across
from tasks.cell import KEYED_UNLESS_DEFAULT, canonical
from tasks.convnets import ConvnetSpec, Precision, device_of
from tasks.data.decode_ahead import PIECE, decoded
from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import write_shard
from tasks.data.features import FeatureStore
from tasks.data.flow_videos import kept_flow
from tasks.data.index import read
from tasks.data.root import folder_of
from tasks.flow_stream import FlowSpec, stacks, stored_stacks
from tasks.store_shard import StoreShard
from tasks.task import Metric, Needed, Predictions, Score, Value

if TYPE_CHECKING:
    import numpy as np
    import torch

FRAMES = Metric(
    name="frames",
    unit="frames",
    higher_is_better=True,
    meaning="frames whose percepts are in the shard",
)
GPU_BATCH = 256
"""Frames that go through the convnet together on a GPU."""
CPU_BATCH = 4
"""The same on a CPU: of more frames, maps grow beyond the 32 MB that the C library keeps, and asking the system for
fresh memory took a third of the time."""
PIXEL_BATCH = 32
"""The same of raw pixels, which have no maps."""
MOST_DECODERS = 24
"""More processes only take memory: a GPU is kept busy by fewer."""
BATCH_BYTES = 2**28
"""A batch has fewer frames where they would take more room than this: ten fields of flow take 4 MB a frame."""
GFLOP_PER_FRAME = {"vgg16": 31.0, "squeezenet": 1.7, "cnn_m_2048": 3.6}
"""For plans: twice the multiplications of a frame at the size that the convnet was made for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How percepts of a set of videos are made: all that can alter one."""

    version: ClassVar[int] = 1
    """Raised whenever the same values would give other percepts."""

    set_name: str
    videos: str
    """`Index.content_identity`: which videos, and the bytes of their files."""
    convnet: ConvnetSpec
    flow: FlowSpec | None = None
    """How flow is made, for percepts of the flow stream; None for those of RGB frames."""
    size: tuple[int, int] = (240, 320)
    """Rows and columns to which every frame is resized."""
    shard_frames: int = 100_000
    """Frames of a shard, about: an hour of video."""
    precision: Precision = field(default="float32", metadata=KEYED_UNLESS_DEFAULT)
    """In which numbers the convnet computes; float16 and bfloat16 are made for GPUs."""

    def __post_init__(self) -> None:
        as_given = self.convnet.preprocessing.order == "as given"
        if as_given != (self.flow is not None):
            raise ValueError(
                f"{self.convnet.title} takes {'stacks of flow' if as_given else 'RGB frames'}: choose the other stream, or "
                "another convnet"
            )
        if min(self.size) < self.convnet.preprocessing.crop:
            raise ValueError(
                f"size={self.size[0]} x {self.size[1]}: {self.convnet.title} takes the central "
                f"{self.convnet.preprocessing.crop} x {self.convnet.preprocessing.crop} of a frame, so it must be larger"
            )
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision={self.precision!r}: choose from {', '.join(get_args(Precision))}"
            )
        if self.shard_frames < 1:
            raise ValueError(f"shard_frames={self.shard_frames}: a shard holds at least 1 frame")

    @property
    def stream(self) -> str:
        """What it looks at: rgb, or flow with the number of its fields."""
        return f"flow{self.flow.length}" if self.flow else "rgb"

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
        return folder_of(self.set_name) / "percepts" / self.title

    @property
    def title(self) -> str:
        """The store's name: readable, and different for whatever makes other percepts."""
        net = self.convnet
        return f"{self.stream}-{net.name}-{net.layer}-{self.plan.identity[:12]}"


@lru_cache(maxsize=64)
def _plan_of(recipe: Recipe) -> StorePlan:
    index = read(recipe.set_name)
    if index.content_identity != recipe.videos:
        raise ValueError(
            f"the videos of {recipe.set_name} were indexed again since this was asked for, and differ: run it again"
        )
    made_of = {**canonical(recipe), "stream": recipe.stream}
    bytes_of_frame = 2 * recipe.convnet.feature_size
    return StorePlan.cut(
        made_of,
        [(video.id, video.num_frames) for video in index.videos],
        recipe.convnet.feature_size,
        shard_bytes=min(2**30, recipe.shard_frames * bytes_of_frame),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Percepts(StoreShard):
    """Make one shard of a store of percepts."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (FRAMES,)
    parallel: ClassVar[bool] = False

    recipe: Recipe
    shard: int

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        net = self.recipe.convnet
        return {
            "dataset": self.recipe.set_name,
            "stream": self.recipe.stream,
            "convnet": net.name,
            "layer": net.layer,
            "frame_size": net.feature_size,
            "preprocessing": net.preprocessing.title,
            "weights": net.weights_sha256[:16],
            "shard": self.shard,
            "store": self.recipe.title,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations, decoding not counted."""
        return self._num_frames() * GFLOP_PER_FRAME.get(self.recipe.convnet.name, 0.01)

    def ready(self) -> None:
        """See that the weights fit, and that nothing else lies where the store is to be."""
        self.recipe.convnet.check()
        # With its names: a dataclass with slots is made anew, and a bare super() would look for the first one.
        super(Percepts, self).ready()

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The convnet, its weights loaded and checked."""
        del seed, needed
        return self.recipe.convnet.build()

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Make the shard.

        Returns:
            Columns video_id, frames; one row a video.

        Raises:
            ValueError: when a video is missing, was replaced, cannot be decoded, or gives a number that is none.
        """
        del chunk
        import numpy as np

        from models.percepts import Convnet

        if not isinstance(model, Convnet):
            raise TypeError(f"{type(model).__name__} is no convnet")

        net, flow = self.recipe.convnet, self.recipe.flow
        device = device_of(model)
        plan = self.recipe.plan
        index = read(self.recipe.set_name)
        videos = plan.shards[self.shard]

        def shown() -> Iterator[Iterable[np.ndarray]]:
            kept = _kept_flow(self.recipe) if flow else None
            if flow and kept:
                yield from (stored_stacks(kept, video, flow, at_once=PIECE) for video, _ in videos)
                return
            files = [index.whole_file_of(video) for video, _ in videos]
            for pieces in decoded(files, self.recipe.size, processes=_decoders(device)):
                yield stacks(pieces, flow, device=str(device)) if flow else pieces

        def features() -> Iterator[tuple[str, np.ndarray]]:
            made = across(
                shown(),
                batch_size(self.recipe, device),
                lambda frames_BYXC: net.launch(model, frames_BYXC, self.recipe.precision),
            )
            for (video, _), features_TD in zip(videos, made, strict=True):
                yield video, features_TD.reshape(-1, plan.frame_size)

        write_shard(self.recipe.folder, plan, self.shard, features())
        return {
            "video_id": np.array([video for video, _ in videos]),
            "frames": np.array([frames for _, frames in videos], dtype=np.int64),
        }

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Count frames.

        Raises:
            ValueError: unless every video of the shard is there exactly once.
        """
        if predictions["video_id"].tolist() != [v for v, _ in self.recipe.plan.shards[self.shard]]:
            raise ValueError(f"shard {self.shard} must hold each of its videos exactly once")
        frames = int(predictions["frames"].sum())
        yield Score(metric=FRAMES, value=float(frames), count=len(predictions["video_id"]))

    def _num_frames(self) -> int:
        return sum(frames for _, frames in self.recipe.plan.shards[self.shard])


def _kept_flow(recipe: Recipe) -> FeatureStore | None:
    """Stored flow that is what would be computed for this recipe, if there is any: on one kind of device bit for bit."""
    flow = recipe.flow
    assert flow is not None
    return kept_flow(
        recipe.set_name,
        {
            "videos": recipe.videos,
            "method": flow.method,
            "bound": float(flow.bound),
            "size": list(recipe.size),
            "flow_version": flow.version,
        },
    )


def _decoders(device: torch.device) -> int:
    """Processes that decode: on a CPU none, since cells side by side keep all cores busy; beside a GPU all other cores."""
    if device.type == "cpu":
        return 0
    # $HARNESS_CORES is this process's share of a machine; on a cluster, the job's cores are those it may run on.
    cores = int(os.environ.get("HARNESS_CORES", "0")) or len(os.sched_getaffinity(0))
    return max(1, min(MOST_DECODERS, cores - 1))


def batch_size(recipe: Recipe, device: torch.device) -> int:
    """Frames that go through the convnet together; the same on machines of one kind, so that shards made again are the same bytes."""
    if device.type == "cpu":
        return PIXEL_BATCH if recipe.convnet.name == "raw_pixels" else CPU_BATCH
    side = recipe.convnet.preprocessing.crop
    frame_bytes = 4 * side * side * (recipe.flow.channels if recipe.flow else 3)
    return max(1, min(GPU_BATCH, BATCH_BYTES // frame_bytes))
