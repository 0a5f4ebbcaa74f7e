"""The authors' layout: what goes in comes out, bit by bit, and files that contradict each other are refused."""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.data import hidden6
from tasks.data.features import FeatureStore, StoreIncomplete, StoreMismatch
from tasks.data.hidden6 import Imported, Source, export_hidden6, import_hidden6
from tests.tasks.feature_sets import quick

FRAMES = [3, 1, 4]


@dataclass(frozen=True, kw_only=True)
class Files:
    folder: Path

    def write(
        self,
        rows_RD: NDArray[np.generic],
        frames: Sequence[object] = FRAMES,
        labels: Sequence[object] = (2, 0, 2),
        names: Sequence[str] | None = ("a", "b c", "ü"),
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(self.folder / "in.h5", "w") as file:
            file["hidden6"] = rows_RD
        for name, lines in (("labels", labels), ("num_frames", frames), ("names", names or ())):
            text = "".join(f"{line}\n" for line in lines)
            (self.folder / f"{name}.txt").write_text(text, encoding="utf-8")

    def read(
        self,
        *,
        named: bool = True,
        dtype: Literal["float16", "float32"] | None = None,
        shard_bytes: int = 2**30,
    ) -> Imported:
        names = self.folder / "names.txt" if named else None
        source = Source(
            hdf5=self.folder / "in.h5",
            labels=self.folder / "labels.txt",
            num_frames=self.folder / "num_frames.txt",
            names=names,
        )
        return import_hidden6(source, self.folder / "store", dtype=dtype, shard_bytes=shard_bytes)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(folder=tmp_path / "given")


def rows(dtype: str = "<f4", width: int = 5) -> NDArray[np.generic]:
    return np.random.default_rng(0).standard_normal((sum(FRAMES), width)).astype(dtype)


@settings(quick, max_examples=12)  # each has processes to start
@given(
    frames=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    width=st.integers(1, 5),
    dtype=st.sampled_from(["<f2", "<f4", ">f4"]),
    shard_bytes=st.integers(1, 400),
    seed=st.integers(0, 99),
)
def test_a_round_trip_keeps_every_bit(
    frames: list[int], width: int, dtype: str, shard_bytes: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    # Any finite bit pattern: subnormal numbers and -0.0 too.
    rows_RD = draw.integers(0, 256, (sum(frames), width * int(dtype[2])), np.uint8).view(dtype)
    rows_RD = np.where(np.isfinite(rows_RD), rows_RD, np.array(-0.0, dtype)).astype(dtype)
    labels = [int(label) for label in draw.integers(0, 5, len(frames))]
    names = [f"v{index}" for index in range(len(frames))]
    with tempfile.TemporaryDirectory() as folder:
        files = Files(folder=Path(folder))
        files.write(rows_RD, frames, labels, names)
        imported = files.read(shard_bytes=shard_bytes)
        assert imported.labels == dict(zip(names, labels, strict=True))
        out = Path(folder) / "deep" / "out"
        with FeatureStore.open(Path(folder) / "store", expect=imported.plan.identity) as store:
            export_hidden6(store, out, list(imported.labels.items()))
        with h5py.File(out / "hidden6.h5", "r") as file:
            assert file["hidden6"][()].tobytes() == rows_RD.astype(f"<{dtype[1:]}").tobytes()
        for name in ("labels", "num_frames", "names"):
            assert (out / f"{name}.txt").read_bytes() == (files.folder / f"{name}.txt").read_bytes()


def test_an_imported_store_says_what_it_was_made_of(files: Files) -> None:
    files.write(rows())
    made_of = files.read().plan.made_of
    assert made_of["imported"] == "hidden6"
    for key, name in (
        ("hdf5_sha256", "in.h5"),
        ("labels_sha256", "labels.txt"),
        ("num_frames_sha256", "num_frames.txt"),
        ("names_sha256", "names.txt"),
    ):
        content = (files.folder / name).read_bytes()
        assert made_of[key] == hashlib.sha256(content).hexdigest()


def test_videos_without_names_are_numbered(files: Files) -> None:
    files.write(rows("<f2"))
    imported = files.read(named=False)
    assert imported.labels == {"video-000000": 2, "video-000001": 0, "video-000002": 2}
    assert imported.plan.made_of["names_sha256"] is None
    with FeatureStore.open(files.folder / "store") as store:
        np.testing.assert_array_equal(store.frames("video-000002"), rows("<f2")[4:], strict=True)


def test_features_are_halved_where_asked_for(files: Files) -> None:
    files.write(rows("<f8"))
    files.read(dtype="float16")
    with FeatureStore.open(files.folder / "store") as store:
        np.testing.assert_array_equal(
            store.frames("a"), rows("<f8")[:3].astype(np.float16), strict=True
        )


def test_an_import_goes_on_where_it_was_killed(files: Files) -> None:
    files.write(rows())
    files.read(shard_bytes=1)
    whole = {path.name: path.read_bytes() for path in (files.folder / "store").iterdir()}
    assert len(whole) == 4
    kept = files.folder / "store" / "shard-00000.safetensors"
    (files.folder / "store" / "shard-00001.safetensors").unlink()
    before = kept.stat().st_ino
    files.read(shard_bytes=1)
    assert {path.name: path.read_bytes() for path in (files.folder / "store").iterdir()} == whole
    assert kept.stat().st_ino == before


def test_another_import_into_the_same_folder_is_refused(files: Files) -> None:
    files.write(rows())
    files.read()
    files.write(rows() * 2)
    with pytest.raises(StoreMismatch, match="hdf5_sha256"):
        files.read()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"frames": [3, 1, 5]}, "says 9 frames and hidden6 of"),
        ({"frames": [3, 5]}, "labels.txt has 3 lines and"),
        ({"labels": [1, 2]}, "labels.txt has 2 lines and"),
        ({"labels": [1, 2, -1]}, "labels.txt, line 3 is '-1': a whole number from 0"),
        ({"labels": ["1,2", 2, 1]}, "labels.txt, line 1 is '1,2'"),
        ({"frames": [3, 0, 5]}, "num_frames.txt, line 2 is '0': a whole number from 1"),
        (
            {"frames": [3, 2**31, 5]},
            "num_frames.txt, line 2 is '2147483648': a whole number from 1 to 2147483647",
        ),
        (
            {"labels": [1, 999999999999999999, 0]},
            "labels.txt, line 2 is '999999999999999999': a whole number from 0 to 99999",
        ),
        ({"frames": [3, "", 5]}, "num_frames.txt, line 2 is ''"),
        ({"frames": [3, "9" * 5000, 5]}, "num_frames.txt, line 2"),
        ({"frames": []}, "num_frames.txt, line 1 is ''"),
        ({"names": ["a", "b"]}, "names.txt has 2 lines and"),
        ({"names": ["a", "b\tc", "d"]}, "names.txt, line 2: 'b\\tc' cannot be a video's id"),
        ({"names": ["a", "", "d"]}, "names.txt, line 2: '' cannot be a video's id"),
        (
            {"names": ["a", "b", "d" * 300]},
            f"names.txt, line 3: '{'d' * 39}... cannot be a video's id",
        ),
        ({"names": ["a", "b", "a"]}, "'a' is there twice"),
        ({"rows_RD": rows("<i4")}, "is int32 (8, 5): rows of floating-point"),
        ({"rows_RD": np.zeros(8, np.float32)}, "(8,): rows of floating-point"),
        ({"rows_RD": np.zeros((8, 0), np.float32)}, "(8, 0): rows of floating-point"),
        ({"rows_RD": rows("<f8")}, "are float64, which a store has not: pass dtype"),
        ({"rows_RD": np.full((8, 5), np.nan, np.float32)}, "video a, frame 0, number 0 is nan"),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    files: Files, words: dict[str, Sequence[object]], said: str
) -> None:
    files.write(**({"rows_RD": rows()} | words))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape(said)):
        files.read()
    assert not list(files.folder.glob("store/*shard*"))


def test_what_is_no_such_file_is_refused(files: Files) -> None:
    files.write(rows())
    hdf5 = files.folder / "in.h5"
    content = hdf5.read_bytes()
    hdf5.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="no whole HDF5 file"):
        files.read()
    hdf5.write_text("hidden6")
    with pytest.raises(ValueError, match="no whole HDF5 file"):
        files.read()
    with h5py.File(hdf5, "w") as file:
        file.create_group("hidden6")
        file["features"] = rows()
    with pytest.raises(ValueError, match="no dataset 'hidden6': it has features, hidden6"):
        files.read()
    hdf5.unlink()
    with pytest.raises(ValueError, match=r"in\.h5 is no file"):
        files.read()
    (files.folder / "labels.txt").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        files.read()
    (files.folder / "labels.txt").unlink()
    with pytest.raises(ValueError, match="does not exist"):
        files.read()


@pytest.mark.parametrize("name", ["labels", "num_frames", "names"])
@pytest.mark.parametrize("line", ["", "1"])
def test_a_list_longer_than_any_is_refused_before_all_of_it_is_read(
    files: Files, name: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(rows())
    path = files.folder / f"{name}.txt"
    with path.open("a") as sink:
        sink.truncate(2**40)  # a hole
    with pytest.raises(ValueError, match=f"{name}.txt is longer than 64 MiB or 4194304 lines"):
        files.read()
    path.write_text(f"{line}\n" * 11)
    monkeypatch.setattr(hidden6, "MOST_LINES", 10)
    with pytest.raises(ValueError, match=f"{name}.txt is longer than 64 MiB or 10 lines"):
        files.read()


def test_what_is_no_regular_file_is_no_list(files: Files) -> None:
    files.write(rows())
    path = files.folder / "labels.txt"
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"labels\.txt is no regular file"):
        files.read()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"labels\.txt is no regular file"):
        files.read()


def test_a_file_that_becomes_another_while_it_is_read_makes_no_store(files: Files) -> None:
    """A copy that is still on its way: numbers of the one file must not be called those of the other."""
    files.write(rows())
    source = Source(
        hdf5=files.folder / "in.h5", labels=files.folder / "labels.txt", num_frames=files.folder / "num_frames.txt", names=None
    )  # fmt: skip
    listing = hidden6.read_listing(source)
    plan = hidden6.plan_hidden6(source, listing, shard_bytes=1)
    store = files.folder / "store"
    hidden6.write_hidden6(source, plan, store)
    (kept, *others) = sorted(store.glob("shard-*"))
    content = kept.read_bytes()
    for each in others:
        each.unlink()
    files.write(rows() * 2)
    with pytest.raises(ValueError, match=r"in\.h5 was written to while it was read"):
        hidden6.write_hidden6(source, plan, store)
    assert [path.read_bytes() for path in store.glob("shard-*")] == [content]
    files.write(rows())
    hidden6.write_hidden6(source, plan, store)
    with FeatureStore.open(store) as features:
        np.testing.assert_array_equal(features.frames("video-000002"), rows()[4:])


def test_an_export_takes_the_videos_asked_for_or_writes_nothing(files: Files) -> None:
    files.write(rows())
    files.read()
    with FeatureStore.open(files.folder / "store") as store:
        out = files.folder / "out"
        with pytest.raises(LookupError, match="no video 'z'"):
            export_hidden6(store, out, [("a", 1), ("z", 0)])
        with pytest.raises(ValueError, match="at least one"):
            export_hidden6(store, out, [])
        assert not out.exists()
        (files.folder / ".out.0123abcd.export-tmp").mkdir()
        export_hidden6(store, out, [("ü", 7), ("a", 1)], dataset="features")
        with pytest.raises(ValueError, match="exists"):
            export_hidden6(store, out, [("a", 1)])
    with h5py.File(out / "hidden6.h5", "r") as file:
        expected_RD = np.concatenate([rows()[4:], rows()[:3]])
        np.testing.assert_array_equal(file["features"][()], expected_RD)
    assert (out / "labels.txt").read_text() == "7\n1\n"
    assert (out / "num_frames.txt").read_text() == "4\n3\n"
    assert (out / "names.txt").read_text(encoding="utf-8") == "ü\na\n"
    assert [path.name for path in files.folder.glob(".*")] == []


def test_an_export_leaves_what_others_keep_beside_it(files: Files) -> None:
    files.write(rows())
    files.read()
    others = {
        ".ut.backup", ".ut.v2.0123abcd.export-tmp", ".ut.0123abcd", ".ut.0123ABCD.export-tmp", ".ut.0123abcd.export-tmp.old",
        ".xut.0123abcd.export-tmp",
    }  # fmt: skip
    for name in others:
        (files.folder / name).mkdir()
        (files.folder / name / "kept").touch()
    with FeatureStore.open(files.folder / "store") as store:
        export_hidden6(store, files.folder / "ut", [("a", 1)])
    assert {path.parent.name for path in files.folder.glob(".*/kept")} == others


def test_a_folder_in_place_of_a_list_is_named(files: Files) -> None:
    files.write(rows())
    (files.folder / "names.txt").unlink()
    (files.folder / "names.txt").mkdir()
    with pytest.raises(
        ValueError, match=r"names\.txt cannot be read \(Is a directory\): name a file"
    ):
        files.read()


def test_lines_may_end_as_on_windows(files: Files) -> None:
    files.write(rows())
    for name in ("labels", "num_frames", "names"):
        path = files.folder / f"{name}.txt"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert files.read().labels == {"a": 2, "b c": 0, "ü": 2}


def test_an_export_that_fails_half_way_leaves_nothing(files: Files) -> None:
    files.write(rows())
    files.read(shard_bytes=1)
    with FeatureStore.open(files.folder / "store") as store:
        (files.folder / "store" / "shard-00002.safetensors").unlink()
        with pytest.raises(StoreIncomplete, match="shard-00002"):
            export_hidden6(store, files.folder / "out", [("a", 1), ("ü", 0)])
    assert not list(files.folder.glob("*out*"))
    assert not list(files.folder.glob(".*out*"))
