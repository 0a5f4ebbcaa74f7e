"""Writing shards: checked, whole or not there, the same bytes every time."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from tasks.data import feature_shards
from tasks.data.features import (
    FeatureStore,
    StoreIncomplete,
    StorePlan,
    shards_missing,
    write_shard,
)
from tests.tasks.feature_sets import CLIPS, ROOT, Arrays, features_of, small_plan, write_all


@pytest.fixture
def plan() -> StorePlan:
    return small_plan()


@pytest.fixture
def arrays(plan: StorePlan) -> Arrays:
    return features_of(plan)


@pytest.fixture
def store(tmp_path: Path, plan: StorePlan, arrays: Arrays) -> Iterator[FeatureStore]:
    write_all(tmp_path, plan, arrays)
    with FeatureStore.open(tmp_path, expect=plan.identity) as opened:
        yield opened


def test_a_shard_is_a_safetensors_file_that_says_where_it_comes_from(
    store: FeatureStore, plan: StorePlan, arrays: Arrays
) -> None:
    for number, clips in enumerate(plan.shards):
        path = store.folder / f"shard-{number:05d}.safetensors"
        with safe_open(path, "np") as shard:
            assert sorted(shard.keys()) == sorted(video for video, _ in clips)
            for video, _ in clips:
                np.testing.assert_array_equal(shard.get_tensor(video), arrays[video], strict=True)
            metadata = shard.metadata()
        assert metadata["identity"] == plan.identity
        assert json.loads(metadata["made_of"]) == plan.made_of
        assert len(metadata["crc32"]) == 8 * len(clips)


def test_the_same_features_give_the_same_bytes_and_their_hash(
    tmp_path: Path, plan: StorePlan, arrays: Arrays
) -> None:
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        wide = ((video, arrays[video].astype(np.float64)) for video, _ in plan.shards[1])
        written = write_shard(folder, plan, 1, wide)
        content = (folder / "shard-00001.safetensors").read_bytes()
        assert (written.bytes, written.sha256) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        contents.append(content)
    assert contents[0] == contents[1]
    assert shards_missing(tmp_path / "a", plan) == [0]
    with pytest.raises(StoreIncomplete) as error:
        FeatureStore.open(tmp_path / "a")
    assert "lacks 1 of 2 shards, the first is shard-00000" in str(error.value)


def test_tensors_begin_at_a_page_and_shards_of_before_are_read_beside_them(
    tmp_path: Path, plan: StorePlan, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(feature_shards, "PAGE", 8)  # how shards were padded once
        write_shard(tmp_path, plan, 0, ((video, arrays[video]) for video, _ in plan.shards[0]))
    assert feature_shards.shards_missing(tmp_path, plan) == list(range(1, len(plan.shards)))
    for number, shard in list(enumerate(plan.shards))[1:]:
        write_shard(tmp_path, plan, number, ((video, arrays[video]) for video, _ in shard))
    begins = [
        8 + int.from_bytes(feature_shards.shard_path(tmp_path, number).read_bytes()[:8], "little")
        for number in range(len(plan.shards))
    ]
    assert begins[0] % 4096
    assert [begin % 4096 for begin in begins[1:]] == [0] * (len(plan.shards) - 1)
    with FeatureStore.open(tmp_path) as mixed:
        mixed.verify()
        for video, features_TD in arrays.items():
            assert np.array_equal(mixed.frames(video), features_TD.astype(np.float16))


def test_no_more_than_two_videos_are_held_while_writing(tmp_path: Path) -> None:
    plan = StorePlan.cut({}, [(f"v{index}", 5) for index in range(20)], 4)
    held: list[weakref.ref[object]] = []

    def stream() -> Iterator[tuple[str, NDArray[np.floating]]]:
        for video, frames in plan.shards[0]:
            features_TD = np.ones((frames, 4), np.float16)
            held.append(weakref.ref(features_TD))
            assert sum(each() is not None for each in held) <= 2
            yield video, features_TD

    write_shard(tmp_path, plan, 0, stream())
    assert len(held) == 20


@pytest.mark.parametrize("given_as", [np.float16, np.float64])
def test_a_video_in_pieces_gives_the_bytes_that_it_gives_whole(
    tmp_path: Path, plan: StorePlan, arrays: Arrays, given_as: type[np.floating]
) -> None:
    cuts = {1: [0], 16: [3, 3, 15], 20: [19], 29: [1, 2, 28], 33: [32, 33]}  # some pieces are empty
    for number, clips in enumerate(plan.shards):
        whole = write_shard(tmp_path / "whole", plan, number, [(v, arrays[v]) for v, _ in clips])
        pieces = write_shard(
            tmp_path / "pieces",
            plan,
            number,
            ((v, iter(np.split(arrays[v].astype(given_as), cuts[n]))) for v, n in clips),
        )
        assert whole == pieces
    with FeatureStore.open(tmp_path / "pieces", expect=plan.identity) as store:
        store.verify()


def test_no_more_than_two_pieces_of_a_video_are_held_while_writing(tmp_path: Path) -> None:
    plan = StorePlan.cut({}, [("v", 50)], 4, shards=1)
    held: list[weakref.ref[object]] = []

    def pieces() -> Iterator[NDArray[np.floating]]:
        for _ in range(10):
            piece_ND = np.ones((5, 4), np.float16)
            held.append(weakref.ref(piece_ND))
            assert sum(each() is not None for each in held) <= 2
            yield piece_ND

    write_shard(tmp_path, plan, 0, [("v", pieces())])
    assert len(held) == 10


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(2, 6), (2, 6)], "features of video v go on after its 3 frames"),
        ([(2, 6)], "features of video v end after 2 of its 3 frames"),
        ([], "features of video v end after 0 of its 3 frames"),
        ([(2, 6), (1, 5)], "has the shape (1, 5), but the plan says (any number, 6)"),
        ([(2, 6), (6,)], "has the shape (6,), but the plan says (any number, 6)"),
        ([(2, 6), "nan"], "video v, frame 2, number 4 is nan"),
    ],
)
def test_wrong_pieces_are_refused_and_leave_nothing(
    tmp_path: Path, shapes: list[tuple[int, ...] | str], said: str
) -> None:
    plan = StorePlan.cut({}, [("v", 3)], 6, shards=1)
    bad = np.zeros((1, 6), np.float32)
    bad[0, 4] = np.nan
    pieces = [bad if isinstance(shape, str) else np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(ValueError, match=re.escape(said)):
        write_shard(tmp_path, plan, 0, [("v", pieces)])
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


def faulty(fault: str) -> list[tuple[str, NDArray[np.floating]]]:
    good = {video: np.zeros((frames, 6), np.float32) for video, frames in CLIPS}
    if fault in ("nan", "inf", "large"):
        good["y"][28, 3] = {"nan": np.nan, "inf": -np.inf, "large": -65505.0}[fault]
    if fault == "frames":
        good["x"] = np.zeros((2, 6), np.float32)
    if fault == "width":
        good["x"] = np.zeros((1, 5), np.float32)
    if fault == "type":
        good["x"] = np.zeros((1, 6), np.int32)  # type: ignore[assignment]
    listed = list(good.items())
    if fault == "order":
        listed[0], listed[1] = listed[1], listed[0]
    if fault == "few":
        listed.pop()
    if fault == "many":
        listed.append(("z", good["x"]))
    return listed


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nan", "video y, frame 28, number 3 is nan, not a finite number"),
        ("inf", "video y, frame 28, number 3 is -inf, not a finite number"),
        ("large", "video y, frame 28, number 3 is -65505, beyond the 65504 of float16"),
        ("frames", "video x have the shape (2, 6), but the plan says (1, 6)"),
        ("width", "video x have the shape (1, 5), but the plan says (1, 6)"),
        ("type", "video x are int32"),
        ("order", "features of 'v_Run_g01_c02' came where shard 0 has 'v_Run_g01_c01'"),
        ("few", "features ended before video 'y'"),
        ("many", "features of 'z' came after"),
    ],
)
def test_wrong_features_are_refused_and_leave_nothing(
    tmp_path: Path, fault: str, said: str
) -> None:
    plan = StorePlan.cut({}, CLIPS, 6)
    with pytest.raises(ValueError, match=re.escape(said)):
        write_shard(tmp_path, plan, 0, faulty(fault))
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


def test_the_largest_numbers_of_each_type_are_kept(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    cases: list[tuple[Literal["float16", "float32"], list[float], type[np.floating]]] = [
        ("float16", [65504, -65504, 6e-8, -0.0], np.float32),
        ("float32", [65504, -65504, 6e-8, -0.0], np.float16),
        ("float32", [largest, -largest, 1e-45, -0.0], np.float64),
    ]
    for index, (dtype, values, given_as) in enumerate(cases):
        plan = StorePlan.cut({}, [("v", 1)], 4, dtype=dtype)
        features_TD = np.array([values], given_as)
        write_all(tmp_path / str(index), plan, {"v": features_TD})
        with FeatureStore.open(tmp_path / str(index)) as store:
            assert store.frames("v").tobytes() == features_TD.astype(dtype).tobytes()


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tasks.data.feature_plan import read_plan
from tasks.data.features import write_shard

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def stream(clips, last):
    for index, (video, frames) in enumerate(clips):
        if index == last:
            die()
        yield video, np.full((frames, 6), index, np.float16)

folder, when = Path(sys.argv[1]), sys.argv[2]
plan = read_plan(folder)
if when == "flushed":
    os.fsync = die
if when == "renamed":
    Path.replace = die
write_shard(folder, plan, 0, stream(plan.shards[0], int(when) if when.isdigit() else None))
"""


@pytest.mark.parametrize("when", ["0", "2", "flushed", "renamed"])
def test_a_writer_that_is_killed_leaves_no_shard_and_the_next_one_tidies_up(
    tmp_path: Path, when: str
) -> None:
    plan = StorePlan.cut({}, CLIPS, 6)
    plan.write(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), when],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list(tmp_path.glob(".shard-00000*"))) == 1
    assert shards_missing(tmp_path, plan) == [0]
    with pytest.raises(StoreIncomplete):
        FeatureStore.open(tmp_path)
    stream = [
        (video, np.full((frames, 6), i, np.float16)) for i, (video, frames) in enumerate(CLIPS)
    ]
    again = write_shard(tmp_path, plan, 0, stream)
    assert again == write_shard(tmp_path / "fresh", plan, 0, stream)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "shard-00000.safetensors",
        "store.json",
    ]


def test_of_two_writers_of_one_shard_both_are_content(
    tmp_path: Path, plan: StorePlan, arrays: Arrays
) -> None:
    def stream() -> Iterator[tuple[str, NDArray[np.floating]]]:
        for video, _ in plan.shards[0]:
            yield video, arrays[video]

    def overtaken() -> Iterator[tuple[str, NDArray[np.floating]]]:
        yield from stream()
        first.append(write_shard(tmp_path, plan, 0, stream()))

    first: list[feature_shards.ShardWritten] = []
    assert write_shard(tmp_path, plan, 0, overtaken()) == first[0]
    assert shards_missing(tmp_path, plan) == [1]
