"""Windows gathered on a device are, bit by bit, those that are read from the files, whatever is kept and whatever is not."""

import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from tasks.data import on_device
from tasks.data.dataset import DrawnOnDevice, ReadOnDevice
from tasks.data.feature_shards import shard_path
from tasks.data.features import FeatureStore, StoreDamaged, StorePlan
from tasks.data.videos import video_percepts
from tests.configs.percept_sets import set_with
from tests.tasks.feature_sets import CLIPS, Arrays, features_of, write_all

WINDOWS = [("y", 13), ("bücher/b 2", 0), ("x", 0), ("y", 28), ("v_Run_g01_c02", 9), ("y", 13)]
DIVISOR, OFFSET = np.float32(3.1237), np.float32(0.7071)


def bits(wide_TBD: torch.Tensor) -> np.ndarray:
    assert wide_TBD.dtype == torch.float32
    return wide_TBD.cpu().numpy().view(np.uint32)


def bytes_of(plan: StorePlan) -> Arrays:
    draw = np.random.default_rng(0)
    return {video: draw.integers(0, 256, (frames, 6), np.uint8) for video, frames in CLIPS}  # type: ignore[misc]


@pytest.fixture(params=["float16", "float32", "uint8"])
def written(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[FeatureStore, Arrays]]:
    dtype: Literal["float16", "float32", "uint8"] = request.param
    plan = StorePlan.cut({"layer": "fc6"}, CLIPS, 6, shards=2, dtype=dtype)
    arrays = bytes_of(plan) if dtype == "uint8" else features_of(plan)
    write_all(tmp_path, plan, arrays)
    with FeatureStore.open(tmp_path) as store:
        yield store, arrays


def expected(arrays: Arrays, count: int, offset: np.float32 | None) -> np.ndarray:
    """By NumPy, from what was written."""
    taken = [
        [arrays[video][min(start + t, len(arrays[video]) - 1)] for video, start in WINDOWS]
        for t in range(count)
    ]
    wide_TBD = np.array(taken).astype(np.float32)
    if offset is not None:
        wide_TBD = wide_TBD - offset
    scaled_TBD: np.ndarray = wide_TBD / DIVISOR
    return scaled_TBD.view(np.uint32)


@pytest.mark.parametrize("offset", [None, OFFSET])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_what_is_kept_on_a_device_gives_the_bits_of_the_files(
    written: tuple[FeatureStore, Arrays],
    count: int,
    offset: np.float32 | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, arrays = written
    read = on_device.float32_windows(store, "cpu", WINDOWS, count, DIVISOR, offset)
    np.testing.assert_array_equal(bits(read), expected(arrays, count, offset))
    kept = on_device.Kept(store, "cpu")  # the CPU in the place of a GPU that has room
    monkeypatch.setattr(on_device, "kept_on", lambda store, device: kept)
    for _ in range(
        2
    ):  # as it is brought, and when it is there; what was gathered before is not written over
        gathered = on_device.float32_windows(store, "cuda", WINDOWS, count, DIVISOR, offset)
        np.testing.assert_array_equal(bits(gathered), expected(arrays, count, offset))


def test_a_video_is_read_once_and_only_if_it_is_asked_for(
    written: tuple[FeatureStore, Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = written
    read: list[str] = []
    frames = FeatureStore.frames

    def told(self: FeatureStore, video: str) -> np.ndarray:
        read.append(video)
        return frames(self, video)

    monkeypatch.setattr(FeatureStore, "frames", told)
    kept = on_device.Kept(store, "cpu")
    for _ in range(3):
        kept.windows([("y", 0), ("x", 0), ("y", 20)], 4)
    assert read == ["y", "x"]


def test_a_damaged_video_is_never_kept(tmp_path: Path) -> None:
    plan = StorePlan.cut({}, CLIPS, 6)
    write_all(tmp_path, plan, features_of(plan))
    with FeatureStore.open(tmp_path) as store:
        content = bytearray(shard_path(tmp_path, 0).read_bytes())
        content[-1] ^= 4  # in the last frame of "y", the last video
        shard_path(tmp_path, 0).write_bytes(content)
        kept = on_device.Kept(store, "cpu")
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"video y in .* is not what was written"):
                kept.windows([("x", 0), ("y", 0)], 4)


@pytest.mark.parametrize(
    ("video", "start", "kind", "said"),
    [
        ("y", 29, IndexError, "windows start at 0 to 28"),
        ("y", -1, IndexError, "a window from frame -1 of video y was asked for, which has 29"),
        ("z", 0, LookupError, "has no video 'z'"),
    ],
)
def test_windows_that_do_not_exist_are_refused(
    written: tuple[FeatureStore, Arrays], video: str, start: int, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        on_device.Kept(written[0], "cpu").windows([("x", 0), (video, start)], 2)


def test_a_store_is_kept_if_it_takes_no_more_than_its_share(tmp_path: Path) -> None:
    plan = StorePlan.cut({}, [("a", 10), ("b", 90)], 1000)  # 200,000 bytes of halves
    write_all(tmp_path, plan, features_of(plan))
    with FeatureStore.open(tmp_path) as store:
        assert on_device.num_bytes(store) == 200_000
        assert on_device.fits(store, 500_000)
        assert not on_device.fits(store, 499_000)
        assert on_device.kept_on(store, "cpu") is None


def test_a_set_gives_the_same_windows_one_by_one_many_at_once_and_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    set_with(tmp_path, "moves", "rgb")
    data = video_percepts("moves")
    assert isinstance(data, ReadOnDevice)
    assert isinstance(data, DrawnOnDevice)
    videos = data.test(1)
    windows = [(video, start) for video in videos for start in (0, 1, video.num_frames - 1)]
    together_TBD = data.windows_on("cpu", windows, 6)
    for row, (video, start) in enumerate(windows):
        alone_TD = data.window(video, start, 6)
        assert len(alone_TD) == min(6, video.num_frames - start)
        np.testing.assert_array_equal(together_TBD[: len(alone_TD), row], alone_TD)
        np.testing.assert_array_equal(alone_TD, data.frames(video)[start : start + 6])
        assert (together_TBD[len(alone_TD) :, row] == torch.from_numpy(alone_TD[-1])).all()
    drawn_TBD = data.unlabelled_on("cpu", 3, range(20), 5)
    np.testing.assert_array_equal(drawn_TBD.numpy(), data.unlabelled(3, range(20), 5))
    kept = on_device.Kept(data._store, "cpu")
    monkeypatch.setattr(on_device, "kept_on", lambda store, device: kept)
    assert torch.equal(data.windows_on("cuda", windows, 6), together_TBD)
    assert torch.equal(data.unlabelled_on("cuda", 3, range(20), 5), drawn_TBD)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_video_with_fewer_percepts_than_frames_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    set_with(tmp_path, "moves", "rgb")
    data = video_percepts("moves")
    kept = on_device.Kept(data._store, "cpu")
    monkeypatch.setattr(on_device, "kept_on", lambda store, device: kept)
    whole = data.test(1)[0]
    longer = replace(whole, num_frames=whole.num_frames + 1)
    said = f"video {whole.id} has {whole.num_frames + 1} frames and {whole.num_frames} percepts in {data.place}"
    with pytest.raises(IndexError, match=re.escape(said)):
        data.windows_on(device, [(whole, 0), (longer, 0)], 2)


def test_each_store_gives_its_own_bits_and_the_last_one_is_gone_before_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[on_device.Kept]] = []
    whose: list[FeatureStore] = []
    told: list[tuple[str, int]] = []  # what the GPU was asked, and how many stores were kept then

    class OnCPU(on_device.Kept):  # the CPU in the place of a GPU
        def __init__(self, store: FeatureStore, device: str) -> None:
            super().__init__(store, "cpu")
            whose.append(store)
            made.append(weakref.ref(self))

    def alive(what: str) -> None:
        told.append((what, sum(each() is not None for each in made)))

    def free(device: str) -> tuple[int, int]:
        alive("free")
        return 10**9, 10**9

    monkeypatch.setattr(on_device, "Kept", OnCPU)
    monkeypatch.setattr(on_device, "_kept", {})
    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: alive("wait"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive("empty"))
    plan = StorePlan.cut({}, CLIPS, 6)
    both = [features_of(plan, seed) for seed in (1, 2)]
    for number, arrays in enumerate(both):
        write_all(tmp_path / str(number), plan, arrays)
    with FeatureStore.open(tmp_path / "0") as first, FeatureStore.open(tmp_path / "1") as second:
        for store, arrays in ((first, both[0]), (second, both[1]), (second, both[1]), (first, both[0])):  # fmt: skip
            found = on_device.float32_windows(store, "cuda", WINDOWS, 5, DIVISOR)
            np.testing.assert_array_equal(bits(found), expected(arrays, 5, None))
        assert whose == [first, second, first]
    # What the device may still read is let go after it has finished, and before memory is given back and measured.
    assert told == [("free", 0), *[("wait", 1), ("empty", 0), ("free", 0)] * 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("share", [0.4, 0.0])
@pytest.mark.parametrize("offset", [None, OFFSET])
def test_a_gpu_gives_the_bits_of_the_files_with_the_store_in_its_memory_and_without(
    written: tuple[FeatureStore, Arrays],
    share: float,
    offset: np.float32 | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, arrays = written
    monkeypatch.setattr(on_device, "SHARE", share)
    monkeypatch.setattr(on_device, "_kept", {})
    for _ in range(2):
        found = on_device.float32_windows(store, "cuda", WINDOWS, 16, DIVISOR, offset)
        np.testing.assert_array_equal(bits(found), expected(arrays, 16, offset))
    assert (on_device.kept_on(store, "cuda") is not None) == (share > 0)
