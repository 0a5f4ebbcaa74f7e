"""The feature store: windows against plain arrays, whole files or none, and no wrong features ever."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tasks.data.features import (
    BadFeatures,
    FeatureStore,
    StoreDamaged,
    StoreIncomplete,
    StoreMismatch,
    StorePlan,
    missing_shards,
    shard_file,
    write_shard,
)

LENGTHS = {"a": 20, "b c": 1, "ü/ß": 33, "d": 16, "e": 40}
MADE_OF = {"videos": "1234", "convnet": "vgg16", "weights": "abcd", "layer": "fc6"}
PLAN = StorePlan.cut(MADE_OF, list(LENGTHS.items()), 6, shard_bytes=600)

Features = dict[str, NDArray[np.float16]]


def features(plan: StorePlan = PLAN, seed: int = 0) -> Features:
    draws = np.random.default_rng(seed)
    return {
        video: draws.normal(size=(frames, plan.frame_size)).astype(np.float16)
        for shard in plan.shards
        for video, frames in shard
    }


def of_shard(all_of_them: Features, plan: StorePlan, shard: int) -> Iterator[tuple[str, NDArray[np.float16]]]:  # fmt: skip
    return ((video, all_of_them[video]) for video, _ in plan.shards[shard])


def write_all(folder: Path, plan: StorePlan = PLAN, seed: int = 0) -> Features:
    made = features(plan, seed)
    for shard in range(len(plan.shards)):
        write_shard(folder, plan, shard, of_shard(made, plan, shard))
    return made


@pytest.fixture
def written(tmp_path: Path) -> tuple[FeatureStore, Features]:
    made = write_all(tmp_path / "store")
    return FeatureStore.open(tmp_path / "store", expect=PLAN.identity), made


def test_shards_are_cut_in_order_and_a_long_video_has_one_of_its_own() -> None:
    cut = [[video for video, _ in shard] for shard in PLAN.shards]
    assert cut == [["a", "b c"], ["ü/ß", "d"], ["e"]]
    tight = StorePlan.cut(MADE_OF, list(LENGTHS.items()), 6, shard_bytes=1)
    assert [len(shard) for shard in tight.shards] == [1] * 5


def test_a_shard_is_a_safetensors_file(written: tuple[FeatureStore, Features]) -> None:
    store, made = written
    for number, shard in enumerate(PLAN.shards):
        loaded = load_file(shard_file(store.folder, number))
        assert set(loaded) == {video for video, _ in shard}
        for video, values_TD in loaded.items():
            assert np.array_equal(values_TD, made[video])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_are_those_of_plain_arrays(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lengths = data.draw(st.dictionaries(st.text(max_size=5).filter(lambda t: t != "__metadata__"), st.integers(1, 40), min_size=1, max_size=6))  # fmt: skip
    size, shard_bytes = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 2000))
    try:
        plan = StorePlan.cut({}, list(lengths.items()), size, shard_bytes=shard_bytes)
        folder = tmp_path_factory.mktemp("store")
        made = write_all(folder, plan)
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    store = FeatureStore.open(folder)
    count = data.draw(st.integers(1, min(lengths.values())))
    places = [
        (video, data.draw(st.integers(0, frames - count))) for video, frames in lengths.items()
    ]
    windows_WBD = store.windows(places, count)
    assert windows_WBD.shape == (count, len(places), size)
    for number, (video, start) in enumerate(places):
        assert np.array_equal(windows_WBD[:, number], made[video][start : start + count])
        assert np.array_equal(store.frames(video), made[video])
    store.verify()
    store.close()


def test_a_window_beyond_the_end_or_of_another_video_is_an_error(
    written: tuple[FeatureStore, Features],
) -> None:
    store, _ = written
    for start, count in ((5, 16), (-1, 3), (20, 1)):
        with pytest.raises(IndexError, match="of a: it has 20"):
            store.window("a", start, count)
    with pytest.raises(KeyError, match="has no video 'nobody'"):
        store.window("nobody", 0, 1)


def test_the_same_features_are_the_same_bytes_in_any_order_of_shards(tmp_path: Path) -> None:
    made = write_all(tmp_path / "one")
    for shard in reversed(range(len(PLAN.shards))):
        write_shard(tmp_path / "two", PLAN, shard, of_shard(made, PLAN, shard))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


DIES = """
import os, signal, sys
from pathlib import Path
from tasks.data.features import write_shard
from tests.tasks.test_features import PLAN, features

def dying():
    for number, (video, _) in enumerate(PLAN.shards[0]):
        if number == len(PLAN.shards[0]) - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield video, features()[video]

write_shard(Path(sys.argv[1]), PLAN, 0, dying())
"""


def test_a_writer_that_is_killed_leaves_no_shard_and_the_next_gives_the_same_bytes(
    tmp_path: Path,
) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "killed")], check=False)
    assert died.returncode == -signal.SIGKILL
    assert missing_shards(tmp_path / "killed", PLAN) == list(range(len(PLAN.shards)))
    with pytest.raises(StoreIncomplete, match=rf"lacks {len(PLAN.shards)} of {len(PLAN.shards)} shards"):  # fmt: skip
        FeatureStore.open(tmp_path / "killed")
    write_all(tmp_path / "killed")
    write_all(tmp_path / "undisturbed")
    for shard in range(len(PLAN.shards)):
        again = shard_file(tmp_path / "killed", shard).read_bytes()
        assert again == shard_file(tmp_path / "undisturbed", shard).read_bytes()


@pytest.mark.parametrize("what", ["nan", "inf", "too large", "frames", "width", "order", "fewer", "more"])  # fmt: skip
def test_what_a_store_must_not_hold_is_refused_and_leaves_nothing(
    tmp_path: Path, what: str
) -> None:
    made = {video: values.astype(np.float32) for video, values in features().items()}
    videos = [video for video, _ in PLAN.shards[0]]
    first = made[videos[0]]
    match = {
        "nan": "feature nan of a, frame 3", "inf": "feature -inf of a, frame 3", "too large": "feature 65536.0 of a, frame 3: a number of at most 65504",
        "frames": r"features of a are \(19, 6\), and its index says \(20, 6\)", "width": r"are \(20, 5\)", "order": "expects a, not",
        "fewer": "shard 0 lacks b c", "more": "expects no more videos, not e",
    }[what]  # fmt: skip
    if what in ("nan", "inf", "too large"):
        first[3, 2] = {"nan": np.nan, "inf": -np.inf, "too large": 65536}[what]
    if what == "frames":
        made[videos[0]] = first[:-1]
    if what == "width":
        made[videos[0]] = first[:, :-1]
    order = {"order": videos[::-1], "fewer": videos[:-1], "more": [*videos, "e"]}.get(what, videos)
    with pytest.raises(BadFeatures, match=match):
        write_shard(tmp_path, PLAN, 0, ((video, made[video]) for video in order))
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


def test_another_stores_features_are_never_served(written: tuple[FeatureStore, Features]) -> None:
    store, made = written
    other = StorePlan.cut({**MADE_OF, "layer": "fc7"}, list(LENGTHS.items()), 6, shard_bytes=600)
    with pytest.raises(StoreMismatch, match='layer is "fc6" there and "fc7" here'):
        write_shard(store.folder, other, 0, of_shard(made, PLAN, 0))
    with pytest.raises(StoreMismatch, match=f"{other.identity[:16]} are wanted"):
        FeatureStore.open(store.folder, expect=other.identity)
    assert other.identity != PLAN.identity


def test_a_flipped_bit_anywhere_is_found(written: tuple[FeatureStore, Features]) -> None:
    store, _ = written
    path = shard_file(store.folder, 1)
    content = path.read_bytes()
    for place in range(0, len(content), 37):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        with pytest.raises(StoreDamaged, match="altered: remove that file"):
            FeatureStore.open(store.folder).verify()
    path.write_bytes(content)
    seen: list[str] = []
    FeatureStore.open(store.folder).verify(seen.append)
    assert seen == list(LENGTHS)


def test_a_file_that_is_cut_short_is_refused_at_once(
    written: tuple[FeatureStore, Features],
) -> None:
    store, _ = written
    path = shard_file(store.folder, 0)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(StoreDamaged, match=r"has \d+ bytes instead of"):
        FeatureStore.open(store.folder)
    path.unlink()
    with pytest.raises(StoreIncomplete, match=r"lacks 1 of \d shards \(the first: 0\)"):
        FeatureStore.open(store.folder)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_description_is_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("store")
    PLAN.write(folder)
    path = folder / "store.json"
    content = json.loads(path.read_bytes())
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )  # fmt: skip
    if data.draw(st.booleans()):
        content[data.draw(st.sampled_from(sorted(content)))] = data.draw(anything)
        text = json.dumps(content).encode()
    else:
        text = data.draw(st.binary(max_size=60))
    path.write_bytes(text)
    with pytest.raises((StoreDamaged, StoreIncomplete), match=str(folder)):
        FeatureStore.open(
            folder
        )  # it has no shards, so that a description that is right is not enough


def _sum(folder: Path, answers: "multiprocessing.Queue[float]") -> None:
    answers.put(float(FeatureStore.open(folder).frames("e").astype(np.float64).sum()))


@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_processes_and_threads_read_at_once(
    written: tuple[FeatureStore, Features], way: str
) -> None:
    store, made = written
    expected = float(made["e"].astype(np.float64).sum())
    context = multiprocessing.get_context(way)
    answers: multiprocessing.Queue[float] = context.Queue()
    readers = [context.Process(target=_sum, args=(store.folder, answers)) for _ in range(2)]
    for each in readers:
        each.start()
    wrong: list[tuple[str, int]] = []

    def read() -> None:
        for start in range(200):
            piece = store.window("ü/ß", start % 30, 3)
            if not np.array_equal(piece, made["ü/ß"][start % 30 : start % 30 + 3]):
                wrong.append(("ü/ß", start))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers.get(timeout=60) for _ in readers] == [expected, expected]
    for each in readers:
        each.join(60)
    assert not wrong
