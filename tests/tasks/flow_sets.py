"""A small indexed set with stored flow, made by hand: what is up or down in it is known."""

from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tasks.data.feature_shards import write_shard
from tasks.data.flow import Quantised
from tasks.data.index import Index, IndexedVideo
from tasks.data.root import folder_of
from tasks.data.sheet import Split
from tasks.flow_fields import FlowRecipe

SIZE = (226, 230)
"""A little more than the net's crop."""
BOUND = 20.0


def moving_thing(
    num_frames: int, *, down: int, seed: int, size: tuple[int, int] = SIZE
) -> NDArray[np.uint8]:
    """Grey frames (T, Y, X, 3) in which a textured square moves by `down` pixels a frame before a still ground."""
    random = np.random.default_rng(seed)
    side = min(size) // 3
    ground_YX = np.kron(random.integers(0, 90, (32, 32)), np.ones((8, 8)))[: size[0], : size[1]]
    thing_YX = np.kron(random.integers(150, 256, (16, 16)), np.ones((8, 8)))[:side, :side]
    top, left = (size[0] - side) // 2, int(random.integers(size[1] - side + 1))
    frames = []
    for t in range(num_frames):
        frame_YX = ground_YX.copy()
        first = int(np.clip(top + down * (t - num_frames // 2), 0, size[0] - side))
        frame_YX[first : first + side, left : left + side] = thing_YX
        frames.append(frame_YX)
    return np.repeat(np.stack(frames)[..., None], 3, axis=3).astype(np.uint8)


def write_frames(path: Path, frames_TYX3: NDArray[np.uint8]) -> Path:
    """Write a clip without loss, but for the colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames_TYX3.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame_YX3 in frames_TYX3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_YX3, format="rgb24")))
        container.mux(stream.encode())
    return path


@lru_cache(maxsize=64)
def fields_of(label: int, num_frames: int, seed: int) -> NDArray[np.uint8]:
    """Fields (T, 2, Y, X) of a square that moves up (label 0) or down (label 1) before a still ground."""
    random = np.random.default_rng(seed)
    flow_T2YX = random.normal(0, 0.3, (num_frames, 2, *SIZE))
    flow_T2YX[:, 0] += random.uniform(-2, 2)  # a moving camera, and nothing to learn from
    top, left = random.integers(40, 80, 2)
    flow_T2YX[:, 1, top : top + 110, left : left + 110] += 4 * (2 * label - 1)
    flow_T2YX[-1] = flow_T2YX[-2 if num_frames > 1 else -1]
    levels: NDArray[np.uint8] = Quantised(bound=BOUND).quantise(flow_T2YX)
    return levels


def make_set(name: str = "moves", videos: int = 16, *, labelled: bool = True) -> Index:
    """Index a set of two classes whose files do not exist: two splits, the second the first turned round."""
    lengths = [2 + number % 5 for number in range(videos)]
    entries = tuple(
        IndexedVideo(
            id=f"v{number:02d}", path=f"v{number:02d}.avi", label=number % 2 if labelled else None, group=f"g{number // 2}",
            num_frames=frames, fps=25, height=SIZE[0], width=SIZE[1], bytes=1, sha256=f"{number:064x}",
        )
        for number, frames in enumerate(lengths)
    )  # fmt: skip
    first, second = (
        tuple(each.id for each in entries if (int(each.group[1:]) % 2 == 0) == even)
        for even in (True, False)
    )
    splits = {1: Split(train=first, test=second), 2: Split(train=second, test=first)}
    index = Index(
        name=name,
        videos_dir="/nowhere",
        classes=("up", "down") if labelled else (),
        videos=entries,
        splits=splits if labelled else {},
    )
    folder_of(name).mkdir(parents=True)
    index.write(folder_of(name))
    return index


def keep_flow(index: Index) -> FlowRecipe:
    """Make the store of the set's flow."""
    recipe = FlowRecipe(
        set_name=index.name,
        videos=index.content_identity,
        method="dis",
        bound=BOUND,
        size=SIZE,
    )
    plan = recipe.plan
    for shard, clips in enumerate(plan.shards):
        levels = (
            (video, fields_of(int(video[1:]) % 2, frames, int(video[1:])).reshape(frames, -1))
            for video, frames in clips
        )
        write_shard(recipe.folder, plan, shard, levels)
    return recipe
