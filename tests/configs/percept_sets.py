"""Small indexed sets with made-up percepts of several streams, for the tests of experiments on them."""

from pathlib import Path

import numpy as np

from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import write_shard
from tasks.data.index import Index
from tasks.data.root import folder_of
from tests.tasks.flow_sets import make_set

SIZES = {"rgb": 6, "flow1": 4, "flow2": 4, "flow10": 5}


def add_store(index: Index, stream: str, *, net: str = "net", split: int | None = None) -> str:
    """Give a set a store of percepts; with a split, of a net that was trained on the labels of its training list.

    Returns:
        The name of the store's folder.
    """
    convnet: dict[str, object] = {"class": net}
    if split is not None:
        convnet["weights_sha256"] = f"{split:064x}"
        convnet["trained_on"] = {
            "set_name": index.name, "index": index.identity, "videos": index.content_identity, "split": split,
        }  # fmt: skip
    made_of = {"stream": stream, "convnet": convnet, "videos": index.content_identity}
    clips = [(video.id, video.num_frames) for video in index.videos]
    plan = StorePlan.cut(made_of, clips, SIZES[stream], shards=1)  # type: ignore[arg-type]
    folder = folder_of(index.name) / "percepts" / f"{stream}-{net}-{plan.identity[:12]}"
    plan.write(folder)
    draw = np.random.default_rng(len(clips))
    write_shard(
        folder,
        plan,
        0,
        ((video, draw.standard_normal((frames, SIZES[stream]))) for video, frames in clips),
    )
    return folder.name


def set_with(root: Path, name: str, *streams: str, labelled: bool = True) -> Index:
    """An indexed set of sixteen videos, two classes and two splits, with a store of each stream.

    Args:
        root: the data root; HARNESS_DATA has to say so.
        name: of the set.
        streams: of its stores.
        labelled: whether it has labels and splits.
    """
    assert folder_of(name).parent == root
    index = make_set(name, labelled=labelled)
    for stream in streams:
        add_store(index, stream)
    return index
