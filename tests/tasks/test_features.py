"""Reading a store: what is read is what was written, wherever it lies and whoever reads it."""

import gc
import os
import pickle
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import feature_shards
from tasks.data.features import (
    FeatureStore,
    StoreMismatch,
    StorePlan,
)
from tests.tasks.feature_sets import (
    CLIPS,
    ROOT,
    Arrays,
    features_of,
    open_files,
    quick,
    small_plan,
    write_all,
)


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


# ---- against plain slices


@quick
@given(
    frames=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    frame_size=st.integers(1, 9),
    dtype=st.sampled_from(["float16", "float32"]),
    shard_bytes=st.integers(1, 2000),
    data=st.data(),
)
def test_windows_are_the_slices_of_what_was_written(
    frames: list[int],
    frame_size: int,
    dtype: Literal["float16", "float32"],
    shard_bytes: int,
    data: st.DataObject,
) -> None:
    videos = [(f"v{index}", each) for index, each in enumerate(frames)]
    plan = StorePlan.cut({}, videos, frame_size, shard_bytes, dtype=dtype)
    arrays = features_of(plan)
    count = data.draw(st.integers(1, max(frames)))
    long = [(video, each) for video, each in videos if each >= count]
    window = st.sampled_from(long).flatmap(
        lambda clip: st.tuples(st.just(clip[0]), st.integers(0, clip[1] - count))
    )
    windows = data.draw(st.lists(window, max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder), plan, arrays)
        with FeatureStore.open(Path(folder)) as store:
            read_TBD = store.windows(windows, count)
            wide_BDT = np.full((len(windows), frame_size, count), np.nan, np.float32)
            store.windows(windows, count, wide_BDT.transpose(2, 0, 1))
            for index, (video, start) in enumerate(windows):
                expected_TD = arrays[video][start : start + count]
                np.testing.assert_array_equal(read_TBD[:, index], expected_TD, strict=True)
                np.testing.assert_array_equal(wide_BDT[index].T, expected_TD)
                np.testing.assert_array_equal(store.window(video, start, count), expected_TD)
            for video, each in videos:
                np.testing.assert_array_equal(store.frames(video), arrays[video], strict=True)
                assert store.videos[video] == each
            store.verify()


def test_buffers_are_filled_in_place(store: FeatureStore, arrays: Arrays) -> None:
    for dtype in (np.float16, np.float32):
        out_TBD = np.full((16, 2, 6), np.nan, dtype)
        assert store.windows([("y", 13), ("v_Run_g01_c02", 0)], 16, out_TBD) is out_TBD
        np.testing.assert_array_equal(out_TBD[:, 0], arrays["y"][13:])
        np.testing.assert_array_equal(out_TBD[:, 1], arrays["v_Run_g01_c02"])
        out_TD = np.full((3, 6), np.nan, dtype)
        store.window("y", 2, 3, out_TD)
        np.testing.assert_array_equal(out_TD, arrays["y"][2:5])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_beyond_the_end_of_a_video_its_last_frame_is_held_where_that_is_asked_for(
    store: FeatureStore, arrays: Arrays, dtype: type[np.floating]
) -> None:
    places = [("y", 20), ("x", 0), ("y", 3), ("y", 28)]
    out_TBD = np.full((12, 4, 6), np.nan, dtype)
    store.windows(places, 12, out_TBD, hold=True)
    for index, (video, start) in enumerate(places):
        last = len(arrays[video]) - 1
        expected_TD = [arrays[video][min(start + t, last)] for t in range(12)]
        np.testing.assert_array_equal(out_TBD[:, index], expected_TD)
    for video, start in (("y", 29), ("y", -1)):
        with pytest.raises(IndexError, match=re.escape("windows start at 0 to 28")):
            store.windows([(video, start)], 12, hold=True)


def test_every_half_is_widened_to_the_number_that_it_is(tmp_path: Path) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite_D = halves[np.isfinite(halves)]
    plan = StorePlan.cut({}, [("all", 3)], len(finite_D))
    write_all(tmp_path, plan, {"all": np.stack([finite_D, finite_D[::-1], finite_D])})
    out_TBD = np.empty((2, 2, len(finite_D)), np.float32)
    with FeatureStore.open(tmp_path) as store:
        store.windows([("all", 0), ("all", 1)], 2, out_TBD)
    wide_D = np.array([float(each) for each in finite_D.tolist()], np.float32)
    for found_D, expected_D in ((out_TBD[0, 0], wide_D), (out_TBD[0, 1], wide_D[::-1])):
        np.testing.assert_array_equal(found_D.view(np.uint32), expected_D.view(np.uint32))


def test_what_a_read_cannot_fill_is_refused(store: FeatureStore) -> None:
    read_only = np.empty((16, 1, 6), np.float16)
    read_only.setflags(write=False)
    for out, said in (
        (np.empty((16, 2, 6), np.float16), "(16, 2, 6)"),
        (np.empty((16, 1, 6), np.float64), "float64"),
        (read_only, "read-only"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            store.windows([("y", 0)], 16, out)


@pytest.mark.parametrize(
    ("video", "start", "count", "kind", "said"),
    [
        ("y", 14, 16, IndexError, "windows of 16 start at 0 to 13"),
        ("y", -1, 16, IndexError, "frames -1 to 14"),
        ("x", 0, 16, IndexError, "16 frames of video x were asked for, which has 1"),
        ("y", 0, 0, ValueError, "count is 0"),
        ("v_Run_g01_c03", 0, 1, LookupError, "did you mean 'v_Run_g01_c0"),
        ("zebra", 0, 1, LookupError, "has no video 'zebra'"),
    ],
)
def test_windows_that_do_not_exist_are_refused(
    store: FeatureStore, video: str, start: int, count: int, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        store.window(video, start, count)


def test_offsets_beyond_4_gib_are_read(tmp_path: Path) -> None:
    plan = StorePlan.cut({}, [("a", 2**20), ("b", 1004)], 2048, shard_bytes=2**40)
    plan.write(tmp_path)
    layout = feature_shards.layout_of(tmp_path, plan, 0)
    row = np.arange(2048, dtype=np.float16)
    b_TD = np.zeros((1004, 2048), np.float16)
    b_TD[1000], b_TD[1001] = row, 2 * row
    with layout.path.open("wb") as sink:  # a hole of 4 GiB: nothing of "a" is stored
        sink.write(layout.head([0, zlib.crc32(b_TD.tobytes())]))
        sink.seek(layout.starts[1])
        sink.write(b_TD.tobytes())
    with FeatureStore.open(tmp_path) as store:
        read_TD = store.window("b", 999, 4)
    np.testing.assert_array_equal(read_TD, [0 * row, row, 2 * row, 0 * row])


def test_more_frames_than_one_system_call_takes(tmp_path: Path) -> None:
    plan = StorePlan.cut({}, [("long", 2500)], 3)
    arrays = features_of(plan)
    write_all(tmp_path, plan, arrays)
    with FeatureStore.open(tmp_path) as store:
        np.testing.assert_array_equal(store.frames("long"), arrays["long"])


def test_short_reads_are_continued(
    store: FeatureStore, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.preadv

    def seven_bytes_at_most(handle: int, buffers: list[memoryview], offset: int) -> int:
        return whole(handle, [buffers[0][:7]], offset)

    monkeypatch.setattr(feature_shards.os, "preadv", seven_bytes_at_most)
    np.testing.assert_array_equal(store.frames("y"), arrays["y"])


# ---- threads, processes, file descriptors


def test_threads_share_a_store_and_its_few_files(store: FeatureStore, arrays: Arrays) -> None:
    before = open_files()

    def read(turn: int) -> bool:
        video, frames = CLIPS[turn % len(CLIPS)]
        start = turn % frames
        return bool((store.window(video, start, 1)[0] == arrays[video][start]).all())

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(2000)))
    assert open_files() - before == len(store.plan.shards)
    store.close()
    assert open_files() == before


def test_a_forgotten_store_closes_its_files(
    tmp_path: Path, plan: StorePlan, arrays: Arrays
) -> None:
    write_all(tmp_path, plan, arrays)
    before = open_files()
    store = FeatureStore.open(tmp_path)
    store.frames("y")
    del store
    gc.collect()
    assert open_files() == before


PROCESSES = """
import multiprocessing, sys
from pathlib import Path
import numpy as np
from tasks.data.features import FeatureStore

store = FeatureStore.open(Path(sys.argv[1]))
store.frames("y")  # a file is open already when processes are forked
windows = [("y", 5), ("v_Run_g01_c01", 4), ("bücher/b 2", 17), ("v_Run_g01_c02", 0)] * 50
expected = store.windows(windows, 16)
with multiprocessing.get_context(sys.argv[2]).Pool(3) as pool:
    answers = pool.starmap(store.windows, [(windows, 16)] * 12)
    whole = pool.map(store.frames, ["y", "x"] * 6)
print(all((each == expected).all() for each in answers), sum(map(len, whole)))
"""


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_processes_read_at_once(store: FeatureStore, way: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROCESSES, str(store.folder), way],
        cwd=ROOT, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["True", "180"]


FORKED = """
import multiprocessing, sys
from pathlib import Path
import numpy as np, torch
from tasks.data.features import FeatureStore

torch.set_num_threads(3)
torch.ones(10**6).half().float()  # its threads are started, and are not there in a forked process
store = FeatureStore.open(Path(sys.argv[1]))

def wide(window):
    out = np.empty((40, 1, store.plan.frame_size), np.float32)
    return store.windows([window], 40, out, hold=True)

windows = [("long", 3), ("short", 0), ("long", 9)]
with multiprocessing.get_context("fork").Pool(1) as pool:
    widened = pool.map_async(wide, windows).get(60)
print(all((out == store.windows([each], 40, hold=True)).all() for each, out in zip(windows, widened)))
"""


# Of 5000 numbers one thread takes 6 frames at once: as many as a video has of which a longer window is asked. Of 40,000 not one.
@pytest.mark.parametrize("frame_size", [5000, 40_000])
def test_a_process_forked_from_one_with_threads_of_torch_widens_large_windows(
    tmp_path: Path, frame_size: int
) -> None:
    plan = StorePlan.cut({}, [("long", 49), ("short", 6)], frame_size)
    write_all(tmp_path, plan, features_of(plan))
    said = subprocess.run([sys.executable, "-c", FORKED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    assert said.stdout.split() == ["True"]


def test_a_pickled_store_opens_the_same_store_or_none(
    store: FeatureStore, arrays: Arrays, plan: StorePlan
) -> None:
    pickled = pickle.dumps(store)
    with pickle.loads(pickled) as again:
        np.testing.assert_array_equal(again.frames("y"), arrays["y"])
    (store.folder / "store.json").unlink()
    StorePlan.cut({"layer": "fc7"}, CLIPS, 6, shards=2).write(store.folder)
    with pytest.raises(StoreMismatch):
        pickle.loads(pickled)
