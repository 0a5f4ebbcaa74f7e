"""The plan of a store: cut into shards, told apart by its identity, written by whoever comes first."""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.features import (
    StoreMismatch,
    StorePlan,
    shards_missing,
    write_shard,
)
from tests.tasks.feature_sets import CLIPS, quick, small_plan


@pytest.fixture
def plan() -> StorePlan:
    return small_plan()


@quick
@given(
    frames=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    frame_size=st.integers(1, 9),
    shard_bytes=st.integers(1, 900),
)
def test_shards_hold_all_videos_in_order_and_as_many_as_fit(
    frames: list[int], frame_size: int, shard_bytes: int
) -> None:
    videos = [(f"v{index}", each) for index, each in enumerate(frames)]
    plan = StorePlan.cut({}, videos, frame_size, shard_bytes)
    assert [clip for shard in plan.shards for clip in shard] == videos
    sizes = [[each * frame_size * 2 for _, each in shard] for shard in plan.shards]
    assert all(sum(shard) <= shard_bytes or len(shard) == 1 for shard in sizes)
    for shard, after in pairwise(sizes):
        assert sum(shard) + after[0] > shard_bytes


@quick
@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.data())
def test_as_many_shards_as_asked_for_none_empty_and_of_about_equal_size(
    frames: list[int], data: st.DataObject
) -> None:
    videos = [(f"v{index}", each) for index, each in enumerate(frames)]
    shards = data.draw(st.integers(1, len(videos)))
    plan = StorePlan.cut({}, videos, 4, shards=shards)
    assert len(plan.shards) == shards
    assert [clip for shard in plan.shards for clip in shard] == videos
    sizes = [sum(each for _, each in shard) for shard in plan.shards]
    assert max(sizes) < sum(frames) / shards + 2 * max(frames)


@quick
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30), together=st.integers(1, 4), limit=st.integers(1, 3000)
)  # fmt: skip
def test_what_belongs_together_is_never_cut_apart(
    lengths: list[int], together: int, limit: int
) -> None:
    clips = [(f"v{n}#{part}", frames) for n, frames in enumerate(lengths) for part in range(together)]  # fmt: skip
    plan = StorePlan.cut({}, clips, 4, shard_bytes=limit, dtype="uint8", together=together)
    assert [clip for shard in plan.shards for clip in shard] == clips
    for shard in plan.shards:
        owners = [video.partition("#")[0] for video, _ in shard]
        assert all(owners.count(each) == together for each in owners)
        size = 4 * sum(frames for _, frames in shard)
        assert size <= limit or len(shard) == together
    few = min(3, len(lengths))
    by_count = StorePlan.cut({}, clips, 4, shards=few, together=together)
    assert [len(shard) % together for shard in by_count.shards] == [0] * few


def test_groups_that_are_not_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="3 videos are no groups of 2: pass whole groups"):
        StorePlan.cut({}, [("a", 1), ("b", 1), ("c", 1)], 4, together=2)


def test_the_identity_is_the_hash_of_what_the_features_are_of() -> None:
    plan = StorePlan(made_of={"b": (1, None), "a": "ü"}, frame_size=2, shards=((("v", 3),),))
    text = (
        r'{"dtype":"float16","format":1,"frame_size":2,"made_of":{"a":"\u00fc","b":[1,null]},'
        '"shards":[[["v",3]]]}'
    )
    assert plan.identity == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"made_of": {"layer": "fc7", "crop": {"side": 224}}},
            'layer is "fc6" there and "fc7" here',
        ),
        ({"made_of": {"layer": "fc6", "crop": {"side": 96}}}, "crop.side is 224 there and 96 here"),
        ({"made_of": {"layer": "fc6"}}, 'crop is {"side": 224} there and "absent" here'),
        ({"frame_size": 7}, "frame_size is 6 there and 7 here"),
        ({"dtype": "float32"}, 'dtype is "float16" there and "float32" here'),
        ({"shards": 3}, "the number of shards is 2 there and 3 here"),
        ({"videos": [("w", 20), *CLIPS[1:]]}, 'video 0 of shard 0 is ["v_Run_g01_c01", 20] there'),
    ],
)
def test_a_folder_of_another_store_is_refused_saying_what_differs(
    tmp_path: Path, plan: StorePlan, change: dict[str, object], said: str
) -> None:
    plan.write(tmp_path)
    before = (tmp_path / "store.json").read_bytes()
    words = {"made_of": plan.made_of, "videos": CLIPS, "frame_size": 6, "shards": 2} | change
    other = StorePlan.cut(**words)  # type: ignore[arg-type]
    for refuses in (other.write, lambda folder: write_shard(folder, other, 0, [])):
        with pytest.raises(StoreMismatch, match=re.escape(said)):
            refuses(tmp_path)
    assert (tmp_path / "store.json").read_bytes() == before
    with pytest.raises(StoreMismatch):
        shards_missing(tmp_path, other)


def test_of_two_plans_that_come_at_once_the_first_stays(
    tmp_path: Path, plan: StorePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.write(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as the second one saw it
    plan.write(tmp_path)
    with pytest.raises(StoreMismatch):
        StorePlan.cut({"layer": "fc7"}, CLIPS, 6).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]
    assert (tmp_path / "store.json").read_bytes() == plan.encoded()


def test_every_job_may_write_the_same_plan(tmp_path: Path, plan: StorePlan) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: plan.write(tmp_path), range(16)))
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]
    assert json.loads((tmp_path / "store.json").read_text())["identity"] == plan.identity


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"made_of": {"when": float("nan")}}, "made_of.when is nan"),
        ({"made_of": {"a": [{1: 2}]}}, "made_of.a[0] has the key 1"),
        ({"made_of": {"a": np.float32(1)}}, "which JSON cannot say"),
        ({"made_of": "fc6"}, "pass a mapping"),
        ({"videos": []}, "without videos"),
        ({"videos": [("a", 1), ("a", 2)]}, "'a' is there twice"),
        ({"videos": [("a", 0)]}, "0 frames"),
        ({"videos": [("a\nb", 1)]}, "cannot be a video's id"),
        ({"videos": [("__metadata__", 1)]}, "cannot be a video's id"),
        ({"videos": [("\ud800", 1)]}, "cannot be a video's id"),
        ({"frame_size": 0}, "frame_size is 0"),
        ({"dtype": "int8"}, "choose from float16, float32"),
        ({"shards": 6}, "5 videos cannot be cut into 6 shards"),
        ({"shard_bytes": 0}, "shard_bytes is 0"),
    ],
)
def test_what_could_not_be_stored_is_refused(words: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        StorePlan.cut(**({"made_of": {}, "videos": CLIPS, "frame_size": 6} | words))  # type: ignore[arg-type]


def test_plans_are_values(plan: StorePlan) -> None:
    made_of: dict[str, dict[str, int] | str] = {"layer": "fc6", "crop": {"side": 224}}
    again = StorePlan.cut(made_of, CLIPS, 6, shards=2)
    assert again == plan
    assert hash(again) == hash(plan)
    made_of["layer"] = "fc7"
    assert again == plan
