"""A small set of videos with made-up features, for the tests of stores."""

from pathlib import Path

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

from tasks.data.features import StorePlan, shards_missing, write_shard

ROOT = Path(__file__).parents[2]
CLIPS = [("v_Run_g01_c01", 20), ("v_Run_g01_c02", 16), ("bücher/b 2", 33), ("x", 1), ("y", 29)]
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)
Arrays = dict[str, NDArray[np.floating]]


def small_plan() -> StorePlan:
    return StorePlan.cut({"layer": "fc6", "crop": {"side": 224}}, CLIPS, 6, shards=2)


def features_of(plan: StorePlan, seed: int = 0) -> Arrays:
    draw = np.random.default_rng(seed)
    shape = plan.frame_size
    return {
        video: draw.standard_normal((frames, shape)).astype(plan.dtype)
        for shard in plan.shards
        for video, frames in shard
    }


def write_all(folder: Path, plan: StorePlan, arrays: Arrays) -> None:
    for number in shards_missing(folder, plan):
        write_shard(
            folder, plan, number, ((video, arrays[video]) for video, _ in plan.shards[number])
        )


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
