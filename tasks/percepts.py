"""Percepts: every frame of a set of videos through a convnet, into a feature store, a shard a cell (sec. 3.1).

A frame is resized to 240 x 320, its central square cut out, and what a layer of the convnet says of it is kept, in
float16. A cell is one shard of the store: it decodes its videos, computes, and puts the shard into the store's folder
beside the set's index, where all work folders find it. Shapes: T frames, Y and X pixels, D numbers of a percept.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tasks.cell import Cell, canonical
from tasks.convnets import ConvnetSpec
from tasks.data import decode
from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import is_whole, layout_of, write_shard
from tasks.data.index import Index, read
from tasks.data.root import folder_of
from tasks.flow_stream import FlowSpec, stacks
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import numpy as np
    import torch

FRAMES = Metric(
    name="frames",
    unit="frames",
    higher_is_better=True,
    meaning="frames whose percepts are in the shard",
)
PIECE = 32
"""Frames that go through the convnet together, and that are decoded ahead as one piece."""
AHEAD = 4
"""Pieces that may be decoded before they are needed, of each video in hand."""
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
class Percepts:
    """Make one shard of a store of percepts."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (FRAMES,)
    parallel: ClassVar[bool] = False

    recipe: Recipe
    shard: int

    @property
    def schedule(self) -> Schedule:
        """Nothing is trained."""
        return Schedule(steps=0, batch_size=1, learning_rate=1.0)

    def check(self, needs: tuple[Cell, ...]) -> None:
        """Percepts are made of videos alone."""
        if needs:
            raise ValueError("a cell of percepts needs no other cell")

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        net = self.recipe.convnet
        return {
            "dataset": self.recipe.set_name,
            "stream": self.recipe.stream,
            "convnet": net.name,
            "layer": net.layer,
            "weights": net.weights_sha256[:16],
            "shard": self.shard,
            "store": self.recipe.title,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations, decoding not counted."""
        return self._num_frames() * GFLOP_PER_FRAME.get(self.recipe.convnet.name, 0.01)

    def files(self) -> Mapping[str, bytes]:
        """Nothing beyond the cell itself: the shard lies in the store."""
        return {}

    def lost(self) -> str:
        """Why an accepted result does not count any more: its shard may have been removed from the store."""
        layout = layout_of(self.recipe.folder, self.recipe.plan, self.shard)
        return "" if is_whole(layout) else f"{layout.path} is not there any more, or not whole"

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The convnet, its weights loaded and checked."""
        del seed, needed
        return self.recipe.convnet.build()

    def batch(self, seed: int, step: int, shard: Shard) -> None:
        """Nothing is trained."""
        raise NotImplementedError

    def loss(self, model: torch.nn.Module, batch: None) -> torch.Tensor:
        """Nothing is trained."""
        raise NotImplementedError

    def num_chunks(self) -> int:
        """A shard is written in one go."""
        return 1

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
        first = next(iter([*model.parameters(), *model.buffers()]), None)
        device = str(first.device) if first is not None else "cpu"
        plan = self.recipe.plan
        index = read(self.recipe.set_name)
        videos = plan.shards[self.shard]
        paths = [_path_of(index, video) for video, _ in videos]

        def features() -> Iterator[tuple[str, np.ndarray]]:
            pieces = _decoded_ahead(paths, self.recipe.size)
            for (video, _), frames in zip(videos, pieces, strict=True):
                shown = stacks(frames, flow, device=device) if flow else frames
                done = [net.features(model, piece, at_once=PIECE) for piece in shown]
                yield video, np.concatenate(done) if done else np.empty((0, plan.frame_size))

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

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Nothing: what it makes is in the store."""
        del model
        return {}

    def _num_frames(self) -> int:
        return sum(frames for _, frames in self.recipe.plan.shards[self.shard])


def _path_of(index: Index, video: str) -> Path:
    known = index.video(video)
    path = Path(index.videos_dir) / known.path
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(
            f"the video {path} cannot be read ({error.strerror}): put it back, or index {index.name} again"
        ) from None
    if size != known.bytes:
        raise ValueError(
            f"the video {path} has {size} bytes, and {known.bytes} when it was indexed: index {index.name} again"
        )
    return path


def _decoded_ahead(paths: list[Path], size: tuple[int, int]) -> Iterator[Iterable[np.ndarray]]:
    """Frames of each video in pieces (at most PIECE, Y, X, 3), decoded by threads before they are asked for.

    The decoder and the scaler work outside Python's lock, so decoding goes on beside the convnet; two videos are in
    hand at a time, and of each at most AHEAD pieces wait, so memory does not grow with the length of a video.
    """
    stop = threading.Event()
    lanes: list[tuple[threading.Thread, queue.Queue[np.ndarray | Exception | None]]] = []

    def start(path: Path) -> None:
        lane: queue.Queue[np.ndarray | Exception | None] = queue.Queue(maxsize=AHEAD)
        thread = threading.Thread(target=_decode, args=(path, size, lane, stop), daemon=True)
        thread.start()
        lanes.append((thread, lane))

    def pieces(lane: queue.Queue[np.ndarray | Exception | None]) -> Iterator[np.ndarray]:
        while (piece := lane.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    coming = iter(paths)
    try:
        for path in (*_first(coming, 2),):
            start(path)
        while lanes:
            thread, lane = lanes[0]
            yield pieces(lane)
            thread.join()
            lanes.pop(0)
            for path in _first(coming, 1):
                start(path)
    finally:
        stop.set()
        for thread, lane in lanes:
            while thread.is_alive():
                while not lane.empty():
                    lane.get_nowait()
                thread.join(0.05)


def _first(paths: Iterator[Path], number: int) -> list[Path]:
    return [path for _, path in zip(range(number), paths, strict=False)]


def _decode(
    path: Path,
    size: tuple[int, int],
    lane: queue.Queue[np.ndarray | Exception | None],
    stop: threading.Event,
) -> None:
    import numpy as np

    piece: list[np.ndarray] = []
    try:
        for frame_YXC in decode.read_frames(path, size=size):
            if stop.is_set():
                return
            piece.append(frame_YXC)
            if len(piece) == PIECE:
                lane.put(np.stack(piece))
                piece = []
        if piece:
            lane.put(np.stack(piece))
        lane.put(None)
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the frames
        lane.put(error)
