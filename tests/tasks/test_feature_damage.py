"""Damaged stores: whatever happens to a byte, a named error says it, and no file can make a reader take much memory."""

import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import feature_plan
from tasks.data.feature_shards import layout_of
from tasks.data.features import (
    FeatureStore,
    StoreDamaged,
    StoreError,
    StoreIncomplete,
    StoreMismatch,
    StorePlan,
    plan_problem,
    shards_missing,
)
from tests.tasks.feature_sets import features_of, quick, small_plan, write_all

SHARD = "shard-00001.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests alter and put right again."""
    folder = tmp_path_factory.mktemp("whole")
    plan = small_plan()
    write_all(folder, plan, features_of(plan))
    return folder


def read_all(folder: Path) -> None:
    with FeatureStore.open(folder) as store:
        store.verify()


def altered(path: Path, alter: Callable[[bytes], bytes]) -> StoreError | None:
    """What a reader says of a file that was altered; the file is put right again."""
    content = path.read_bytes()
    try:
        path.write_bytes(alter(content))
        read_all(path.parent)
    except StoreError as error:
        return error
    finally:
        path.write_bytes(content)
    return None


def flip(content: bytes, bit: int) -> bytes:
    place, bit = divmod(bit % (8 * len(content)), 8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["store.json", SHARD])
def test_a_flipped_bit_is_found_wherever_it_is(whole: Path, name: str) -> None:
    size = (whole / name).stat().st_size

    @quick
    @given(st.integers(0, 8 * size - 1))
    def every_bit(bit: int) -> None:
        assert isinstance(altered(whole / name, lambda content: flip(content, bit)), StoreDamaged)

    every_bit()
    read_all(whole)


@pytest.mark.parametrize("name", ["store.json", SHARD])
def test_a_file_that_was_cut_short_or_grew_is_found(whole: Path, name: str) -> None:
    size = (whole / name).stat().st_size
    for kept in (0, 1, 7, 8, 9, size // 2, size - 1):
        error = altered(whole / name, lambda content, kept=kept: content[:kept])  # type: ignore[misc]
        assert isinstance(error, StoreDamaged), kept
    assert isinstance(altered(whole / name, lambda content: content + b"\0"), StoreDamaged)


def test_verify_names_the_video_and_the_shards_to_extract_again(whole: Path) -> None:
    last_byte = 8 * (whole / SHARD).stat().st_size - 1
    error = altered(whole / SHARD, lambda content: flip(content, last_byte))
    assert isinstance(error, StoreDamaged)
    assert f"video y in {SHARD}" in str(error)
    assert error.shards == (1,)


def test_verify_tells_how_far_it_is(whole: Path) -> None:
    told: list[tuple[int, int]] = []
    with FeatureStore.open(whole) as store:
        store.verify(lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_a_cut_shard_is_missing_for_whoever_extracts(whole: Path) -> None:
    content = (whole / SHARD).read_bytes()
    os.truncate(whole / SHARD, len(content) - 1)
    with pytest.raises(StoreDamaged, match="extract shard 1 again"):
        FeatureStore.open(whole)
    assert shards_missing(whole, small_plan()) == [1]
    write_all(whole, small_plan(), features_of(small_plan()))
    assert (whole / SHARD).read_bytes() == content


def test_a_shard_cut_short_under_a_reader_is_found(tmp_path: Path) -> None:
    plan = small_plan()
    write_all(tmp_path, plan, features_of(plan))
    with FeatureStore.open(tmp_path) as store:
        store.window("y", 0, 1)
        os.truncate(tmp_path / SHARD, 600)
        with pytest.raises(StoreDamaged, match="cut short while it was read"):
            store.frames("y")


@pytest.mark.parametrize("place", [0, 11, 20 * 6 * 2 - 1], ids=["first", "not read", "last"])
def test_a_flipped_bit_is_never_computed_on(tmp_path: Path, place: int) -> None:
    plan = small_plan()
    write_all(tmp_path, plan, features_of(plan))
    layout = layout_of(tmp_path, plan, 0)
    content = bytearray(layout.path.read_bytes())
    content[layout.starts[0] + place] ^= 1
    layout.path.write_bytes(content)
    with FeatureStore.open(tmp_path) as store, pickle.loads(pickle.dumps(store)) as elsewhere:
        np.testing.assert_array_equal(
            store.frames("v_Run_g01_c02"), features_of(plan)["v_Run_g01_c02"]
        )
        for each in (store, elsewhere):
            for _ in range(2):  # and not only the first time
                with pytest.raises(StoreDamaged, match=r"video v_Run_g01_c01 in .*extract shard 0"):
                    each.window("v_Run_g01_c01", 8, 2)


def test_a_shard_of_other_features_is_no_shard_of_this_store(whole: Path, tmp_path: Path) -> None:
    plan = small_plan()
    other = StorePlan(made_of={**plan.made_of, "layer": "fc7"}, frame_size=6, shards=plan.shards)
    write_all(tmp_path, other, features_of(plan))
    foreign = (tmp_path / SHARD).read_bytes()
    assert len(foreign) == (whole / SHARD).stat().st_size
    error = altered(whole / SHARD, lambda _: foreign)
    assert isinstance(error, StoreDamaged)
    assert "a shard of other features" in str(error)


def test_a_store_of_another_identity_is_refused(whole: Path) -> None:
    with pytest.raises(StoreMismatch, match="0123456789ab is expected"):
        FeatureStore.open(whole, expect="0123456789abcdef")


def test_no_store_and_no_shard_are_told_apart(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreIncomplete, match=r"no store\.json"):
        FeatureStore.open(tmp_path)
    small_plan().write(tmp_path)
    with pytest.raises(StoreIncomplete, match="lacks 2 of 2 shards"):
        FeatureStore.open(tmp_path)
    (tmp_path / SHARD).mkdir()
    (tmp_path / "shard-00000.safetensors").symlink_to(whole / "shard-00000.safetensors")
    with pytest.raises(StoreDamaged, match=SHARD):
        FeatureStore.open(tmp_path)


def test_a_store_json_that_is_gone_altered_or_anothers_is_told_though_it_was_asked_before(
    tmp_path: Path,
) -> None:
    plan = small_plan()
    assert plan_problem(tmp_path, plan) == f"there is no store.json in {tmp_path}"
    plan.write(tmp_path)
    for _ in range(2):
        assert plan_problem(tmp_path, plan) == ""
    path = tmp_path / "store.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert "was cut short or altered" in plan_problem(tmp_path, plan)
    path.unlink()
    StorePlan(made_of={}, frame_size=6, shards=plan.shards).write(tmp_path)
    assert "holds other features" in plan_problem(tmp_path, plan)


# ---- what no writer wrote

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@quick
@given(data=st.data())
def test_any_store_json_is_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    fields: dict[str, Any] = json.loads(small_plan().encoded())
    for name in data.draw(st.sets(st.sampled_from(sorted(fields)), min_size=1)):
        fields[name] = data.draw(json_values | st.just(2**70) | st.just([[["a", 2**70]]]))
    raw = data.draw(st.sampled_from([json.dumps(fields).encode(), None]))
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "store.json").write_bytes(raw or data.draw(st.binary(max_size=200)))
    with pytest.raises(StoreDamaged):
        FeatureStore.open(folder)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"format":1,"made_of":' + b'{"a":' * 100_000, b"9" * 10_000]
)
def test_deep_and_long_json_is_a_named_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(StoreDamaged):
        FeatureStore.open(tmp_path)


def test_a_plan_that_says_it_is_large_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = StorePlan(made_of={}, frame_size=2**31, shards=((("v", 2**31 - 1),),))
    huge.write(tmp_path)
    (tmp_path / "shard-00000.safetensors").write_bytes(b"\xff" * 1000)
    tracemalloc.start()
    try:
        with pytest.raises(StoreDamaged):
            FeatureStore.open(tmp_path)
        with (tmp_path / "store.json").open("wb") as sink:
            sink.truncate(2**40)  # a hole
        with pytest.raises(StoreDamaged, match="larger than any store's"):
            FeatureStore.open(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    (tmp_path / "store.json").write_bytes(huge.encoded())
    monkeypatch.setattr(feature_plan, "MAX_STORE_JSON", len(huge.encoded()))
    assert feature_plan.read_plan(tmp_path) == huge


def test_a_store_json_of_many_small_parts_is_not_taken_apart(tmp_path: Path) -> None:
    """Each takes twenty times its bytes as a Python object."""
    (tmp_path / "store.json").write_bytes(b"[" + b"[]," * (2**23 + 1) + b"[]]")
    tracemalloc.start()
    try:
        with pytest.raises(StoreDamaged, match="larger than any store's"):
            FeatureStore.open(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", [2**31 + 1, 10**4000], ids=["beyond", "digits"])
def test_a_feature_of_more_numbers_than_any_is_a_named_error(tmp_path: Path, number: int) -> None:
    fields = json.loads(small_plan().encoded()) | {"frame_size": number}
    (tmp_path / "store.json").write_text(json.dumps(fields))
    with pytest.raises(StoreDamaged, match="frame_size is") as caught:
        FeatureStore.open(tmp_path)
    assert len(str(caught.value)) < 1000


def test_what_is_no_file_is_no_store_json(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "store.json")
    with pytest.raises(StoreDamaged, match=r"store\.json is no file"):
        FeatureStore.open(tmp_path)
    (tmp_path / "store.json").unlink()
    (tmp_path / "store.json").mkdir()
    with pytest.raises(StoreDamaged, match=r"store\.json is no file"):
        FeatureStore.open(tmp_path)


@quick
@given(data=st.data())
def test_any_shard_of_the_right_size_is_a_named_error(whole: Path, data: st.DataObject) -> None:
    size = (whole / SHARD).stat().st_size
    length = data.draw(st.integers(0, 2**64 - 1))
    noise = np.random.default_rng(data.draw(st.integers(0, 99))).bytes(size)
    begins = data.draw(st.sampled_from([length.to_bytes(8, "little"), b"", noise[:8]]))
    kept = data.draw(st.integers(0, size - 1))

    def spoil(content: bytes) -> bytes:
        return (begins + content[len(begins) : kept] + noise)[:size]

    error = altered(whole / SHARD, spoil)
    assert (
        isinstance(error, StoreDamaged)
        or spoil((whole / SHARD).read_bytes()) == (whole / SHARD).read_bytes()
    )
