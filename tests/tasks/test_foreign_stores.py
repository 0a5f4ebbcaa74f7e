"""Stores that others made: their store.json adds up, and what it says of itself does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.data.features import StorePlan, write_shard
from tasks.data.flow_videos import video_flow
from tasks.data.index import Index
from tasks.data.patches import find_patches
from tasks.data.root import folder_of
from tasks.data.videos import check_alike, video_percepts
from tasks.flow_stream import size_of
from tests.tasks.patch_sets import listed_index

PATCHES: dict[str, object] = {"colour": "gray", "side": 3, "per_video": 1}
FLOW: dict[str, object] = {"method": "dis", "bound": 3.0, "size": [3, 4]}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    made = listed_index({"a": "1", "b": "2"}, {})
    folder_of(made.name).mkdir(parents=True, exist_ok=True)
    made.write(folder_of(made.name))
    return made


def store(index: Index, kind: str, made_of: dict[str, object], size: int, dtype: str) -> StorePlan:
    plan = StorePlan.cut(
        {"videos": index.content_identity, **made_of},  # type: ignore[dict-item]
        [(video.id, video.num_frames) for video in index.videos],
        size,
        dtype=dtype,  # type: ignore[arg-type]
    )
    folder = folder_of(index.name) / kind / f"theirs-{plan.identity[:12]}"
    given = (
        (video, np.zeros((frames, size), plan.numpy_dtype)) for video, frames in plan.shards[0]
    )
    write_shard(folder, plan, 0, given)
    return plan


@pytest.mark.parametrize(
    ("change", "size", "dtype"),
    [
        ({}, 8, "uint8"),
        ({}, 9, "float32"),
        ({"side": 10**6}, 9, "uint8"),
        ({"side": "3"}, 9, "uint8"),
        ({"colour": "rgb"}, 9, "uint8"),
        ({"colour": ["gray"]}, 9, "uint8"),
    ],
)
def test_patches_that_are_none_are_refused(
    index: Index, change: dict[str, object], size: int, dtype: str
) -> None:
    store(index, "patches", {**PATCHES, **change}, size, dtype)
    with pytest.raises(ValueError, match=f"of {index.name} holds no patches"):
        find_patches(index.name)


@pytest.mark.parametrize(
    ("change", "size", "dtype"),
    [
        ({}, 23, "uint8"),
        ({}, 24, "float16"),
        ({"size": [-3, -4]}, 24, "uint8"),
        ({"size": [3, 4, 1]}, 24, "uint8"),
        ({"size": 24}, 24, "uint8"),
        ({"bound": "3"}, 24, "uint8"),
    ],
)
def test_flow_that_is_none_is_refused(
    index: Index, change: dict[str, object], size: int, dtype: str
) -> None:
    plan = store(index, "flow", {**FLOW, **change}, size, dtype)
    with pytest.raises(ValueError, match=f"of {index.name} holds no fields of flow"):
        video_flow(index.name)
    if "bound" not in change:
        with pytest.raises(ValueError, match="holds no fields of flow"):
            size_of(plan)


def test_whole_stores_are_taken(index: Index) -> None:
    store(index, "patches", PATCHES, 9, "uint8")
    store(index, "flow", FLOW, 24, "uint8")
    assert find_patches(index.name).frame_size == 9
    assert video_flow(index.name).rows == 3


def test_percepts_that_do_not_say_who_made_them_are_not_known_to_be_alike(index: Index) -> None:
    other = replace(index, name="other")
    folder_of("other").mkdir(parents=True)
    other.write(folder_of("other"))
    for each, told in ((index, "by hand"), (other, "by another hand")):
        store(each, "percepts", {"imported": told}, 5, "float32")
    one, two = video_percepts(index.name), video_percepts("other")
    with pytest.raises(ValueError, match=r"what made the features of listed is not known"):
        check_alike(one, two)
