"""`harness data import-features` and `export-features` as a user types them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tasks.data.features import FeatureStore
from tasks.data.index import Index, read
from tasks.data.videos import video_percepts
from tests.harness.faked import invoke
from tests.harness.feature_files import (
    FRAMES,
    LABELS,
    NAMES,
    Files,
    refusal,
    run_fig12,
    stores,
    take,
    write_files,
)  # fmt: skip
from tests.harness.running import environment
from tests.tasks.clips import write_clip


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path / "given")


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    for number, (name, frames) in enumerate(zip(NAMES, FRAMES, strict=True)):
        write_clip(tmp_path / "videos" / f"{name}.avi", frames, seed=number)
    return index(tmp_path)


def index(folder: Path) -> Path:
    done = invoke(
        "data", "index", "mine", "--videos", str(folder / "videos"), "--labels", "by-folder", "--groups", r"(g\d+)",
        "--splits", "2", "--test-share", "0.5", "--jobs", "1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder


def test_features_of_an_indexed_set_become_its_percepts(
    files: Files, indexed: Path, root: Path
) -> None:
    before = read("mine").identity
    done = take(files)
    (folder,) = stores(root)
    assert f"--set percepts={folder.name}" in done.stdout
    assert folder.name.startswith("rgb-hidden6-")
    assert read("mine").identity == before
    ends = np.cumsum(FRAMES)
    with FeatureStore.open(folder) as store:
        for name, frames, end in zip(NAMES, FRAMES, ends, strict=True):
            np.testing.assert_array_equal(store.frames(name), files.rows_RD[end - frames : end])
    run_fig12(indexed)
    assert f"percepts {folder.name}" in (indexed / "work/reports/fig12/fig12.md").read_text()
    take(files)  # again: nothing to do
    assert stores(root) == [folder]


def test_an_indexed_set_needs_names_and_the_same_videos(
    files: Files, indexed: Path, root: Path
) -> None:
    assert "which row belongs to which of its videos is not told" in refusal(files, named=False)
    assert "leave out --groups, or import under another name" in refusal(files, "--groups", "(g)")
    files.lines("names.txt", ["c/x", "c/y", "c/z", "c/w", *NAMES[4:]])
    assert refusal(files).endswith(
        "not of the videos of mine: 4 with features and not indexed (c/w; c/x; c/y; and 1 more), 4 indexed and without "
        "features (a/a_g00; a/a_g01; b/b_g00; and 1 more); mend the files, or import under another name"
    )
    files.lines("names.txt", NAMES)
    files.lines("labels.txt", [1, 1, *LABELS[2:]])
    assert "1 with another label (a/a_g00: 1, indexed as 0)" in refusal(files)
    files.lines("labels.txt", LABELS)
    files.lines("num_frames.txt", [19, 18, *FRAMES[2:]])
    assert (
        "2 with another number of frames (a/a_g00: 19, indexed with 20; b/b_g00: 18, indexed with 17)"
        in refusal(files)
    )
    assert stores(root) == []


def test_features_alone_make_a_set_without_videos(files: Files, root: Path, tmp_path: Path) -> None:
    classes = files.lines("classes.txt", ["run", "walk"])
    words = ("--classes", classes, "--groups", r"(g\d+)", "--splits", 2, "--test-share", 0.5)
    done = take(files, *words)
    assert (
        done.stdout.splitlines()[0] == "mine: 8 videos, 2 classes, 4 groups, 175 frames, no files"
    )
    assert "note: indexed from features alone: there are no video files" in done.stdout
    index = read("mine")
    assert (index.has_files, index.classes) == (False, ("run", "walk"))
    assert {(v.id, v.label, v.num_frames, v.path, v.bytes) for v in index.videos} == {
        (*each, "", 0) for each in zip(NAMES, LABELS, FRAMES, strict=True)
    }
    for split in index.splits.values():
        sides = [{index.video(each).group for each in ids} for ids in (split.train, split.test)]
        assert not sides[0] & sides[1]
    run_fig12(tmp_path)
    report = (tmp_path / "work/reports/fig12/fig12.md").read_text()
    assert "mine: indexed from features alone: there are no video files." in report
    verified = invoke("data", "verify", "mine", "--full")
    assert verified.exit_code == 0, verified.output
    assert verified.stdout.splitlines() == [
        "mine: there are no files to verify, it was made of features",
        "mine: 1 of 1 stores of percepts are there, with their checksums",
    ]
    listed = invoke("data", "list").stdout.splitlines()[1].split()
    assert listed == ["mine", "8", "2", "2", "175", "-", "0", stores(root)[0].name]
    # Another stream of the same videos; and what was typed before, typed again.
    flow = write_files(tmp_path / "flow", size=3)
    take(flow, "--stream", "flow10")
    take(files, *words)
    assert [path.name.partition("-")[0] for path in stores(root)] == ["flow10", "rgb"]
    assert video_percepts("mine", "flow").stream == "flow10"
    assert "leave out --groups, --splits" in refusal(files, "--groups", r"(g\d+)", "--splits", 3)


def test_lists_of_names_say_the_splits(files: Files, tmp_path: Path) -> None:
    sides = []
    for split, tested in enumerate(("g00", "g01")):
        train = files.lines(f"train{split}.txt", [name for name in NAMES if tested not in name])
        test = files.lines(f"test{split}.txt", [f"{name}.avi" for name in NAMES if tested in name])
        sides += ["--train-ids", train, "--test-ids", test]
    take(files, *sides)
    index = read("mine")
    assert index.splits_from == "ids"
    assert index.splits[2].test == ("a/a_g01", "b/b_g01")
    assert len(index.splits[1].train) == 6
    assert index.classes == ("0", "1")
    assert "--splits has no effect, as the lists say the splits" in refusal(
        files, *sides, "--splits", 2, name="other"
    )
    assert "--train-ids is there 2 times and --test-ids 1 times" in refusal(
        files, *sides[:-2], name="other"
    )
    files.lines("train0.txt", NAMES)
    assert "is on both lists of split 1" in refusal(files, *sides, name="other")
    files.lines("train0.txt", ["z"])
    assert "train0.txt, line 1: there is no video 'z' among the features" in refusal(
        files, *sides, name="other"
    )


def test_without_names_videos_are_numbered_and_reports_say_that_sources_are_unknown(
    files: Files, tmp_path: Path
) -> None:
    for _ in range(2):
        take(files, named=False)
    index = read("mine")
    assert index.videos[7].id == "video-000007"
    assert any("have no names" in note for note in index.notes)
    run_fig12(tmp_path, methods="single_frame")


def test_official_lists_say_what_features_are_of(files: Files, tmp_path: Path) -> None:
    assert "mine" not in refusal(files, name="ucf101")
    assert "ucf101 is the name of an official set: give its lists" in refusal(files, name="ucf101")
    assert "digits is the name of built-in data" in refusal(files, name="digits")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 a\n2 b\n")
    train = [
        f"{n}.avi {label + 1}\n" for n, label in zip(NAMES, LABELS, strict=True) if "g00" not in n
    ]
    (lists / "trainlist01.txt").write_text("".join(train))
    (lists / "testlist01.txt").write_text("a/a_g00.avi\nb/b_g00.avi\n")
    take(files, "--lists", lists)
    assert read("mine").splits[1].test == ("a/a_g00", "b/b_g00")
    files.lines("labels.txt", [1, 0, *LABELS[2:]])
    assert "2 with another label (a/a_g00: 1, listed as 0; b/b_g00: 0, listed as 1)" in refusal(
        files, "--lists", lists, name="other"
    )


def test_what_is_exported_is_imported_again_bit_by_bit(
    files: Files, indexed: Path, root: Path, tmp_path: Path
) -> None:
    take(files)
    out = tmp_path / "deep" / "out"
    done = invoke("data", "export-features", "mine", "--percepts", "rgb", "--to", str(out))
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {
        "hidden6.h5", "labels.txt", "num_frames.txt", "names.txt", "classes.txt", "made_of.json"
    }  # fmt: skip
    words = ["--hdf5", "hidden6.h5", "--labels", "labels.txt", "--num-frames", "num_frames.txt"]
    words += ["--names", "names.txt", "--classes", "classes.txt", "--groups", r"(g\d+)"]
    words = [str(out / word) if (out / word).is_file() else word for word in words]
    done = invoke("data", "import-features", "again", *words)
    assert done.exit_code == 0, done.output
    assert read("again").classes == read("mine").classes
    (first,), (second,) = stores(root), stores(root, "again")
    with FeatureStore.open(first) as mine, FeatureStore.open(second) as again:
        assert set(mine.videos) == set(again.videos)
        for video in mine.videos:
            assert mine.frames(video).tobytes() == again.frames(video).tobytes()
    refused = invoke("data", "export-features", "mine", "--to", str(out))
    assert refused.exit_code == 2
    assert "exists: name a folder that does not" in refused.stderr


def test_a_bad_number_leaves_neither_store_nor_index(
    files: Files, root: Path, tmp_path: Path
) -> None:
    rows_RD = files.rows_RD.copy()
    rows_RD[120, 3] = np.nan
    files = write_files(tmp_path / "given", rows_RD)
    assert "video a/a_g03, frame 1, number 3 is nan, not a finite number" in refusal(files)
    assert stores(root) == []
    assert not (root / "mine" / "index.json").exists()
    files = write_files(tmp_path / "given", np.full((sum(FRAMES), 5), 1e9))
    assert "are float64, which a store has not" in refusal(files)
    assert "beyond the 65504 of float16" in refusal(files, "--dtype", "float16")
    take(files, "--dtype", "float32")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--stream", "colour"), "--stream colour: use rgb, or flow and a number such as flow10"),
        (("--dataset", "fc7"), "has no dataset 'fc7': it has hidden6"),
        (("--classes", "CLASSES"), "names 1 classes, but there is a label 1, and labels count from 0"),
        (("--groups", "(x)"), "finds no group in a/a_g00 (8 such videos)"),
        (("--splits", "many"), "--splits many: use a number from 1, or leave-one-group-out"),
        (("--names", "/nowhere.txt"), "/nowhere.txt does not exist: name a file with a line for each"),
        (("--hdf5", "/nowhere.h5"), "/nowhere.h5 is no file: name the HDF5 file"),
        (("--lists", "/nowhere"), "/nowhere is no folder"),
        (("--labels", "SHORT"), "has 1 lines and"),
        (("--labels", "HUGE"), "huge.txt, line 2 is '999999999999999999': a whole number from 0 to 99999 is needed"),
        (("--hdf5", "LINKED"), "has 'hidden6' in another file ('hidden6.h5'), which is not read: name that file"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_sentence_and_nothing_is_written(
    files: Files, tmp_path: Path, root: Path, words: tuple[str, str], sentence: str
) -> None:
    known = {
        "CLASSES": files.lines("classes.txt", ["run"]),
        "SHORT": files.lines("short.txt", [1]),
        "HUGE": files.lines("huge.txt", [0, 999999999999999999, *LABELS[2:]]),
        "LINKED": str(tmp_path / "linked.h5"),
    }
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["hidden6"] = h5py.ExternalLink("hidden6.h5", "hidden6")
    assert sentence in refusal(files, *(known.get(word, word) for word in words))
    assert not root.exists()


def test_an_import_that_is_killed_is_completed_by_the_same_command(
    tmp_path: Path, root: Path
) -> None:
    frames = sum(FRAMES)
    files = write_files(tmp_path / "given", np.ones((frames, 300_000), np.float16))  # 105 MB
    command = [sys.executable, "-m", "harness", "data", "import-features", "mine", *files.words()]
    killed = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(root.glob("mine/percepts/*/.shard*")) and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (root / "mine" / "index.json").exists()
    take(files)
    (folder,) = stores(root)
    assert sorted(path.name for path in folder.iterdir()) == [
        "shard-00000.safetensors",
        "store.json",
    ]
    FeatureStore.open(folder).verify()
    assert read("mine").classes == ("0", "1")


def test_an_import_that_is_killed_before_its_index_is_completed_too(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def killed(self: Index, folder: Path) -> Path:
            raise KeyboardInterrupt

        patch.setattr(Index, "write", killed)
        take(files, code=130, named=False)
    (folder,) = stores(root)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert "no set is indexed" in invoke("data", "list").stdout
    take(files, named=False)
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    assert len(read("mine").videos) == 8


def test_sets_of_imported_features_pretrain_for_each_other_if_one_maker_is_named(
    files: Files, tmp_path: Path
) -> None:
    other = write_files(tmp_path / "other", -files.rows_RD)
    for name, source in (("mine", files), ("more", other)):
        take(source, name=name)
    refused = run_fig12(tmp_path, "--dry-run", code=2, pretrain_on="more")
    assert "import both sets' with one --made-by TEXT" in refused.stderr
    for name, source in (("mine", files), ("more", other)):
        take(source, "--made-by", "VGG-16 fc6", name=name)
    chosen = {
        knob: next(
            path.name
            for path in stores(tmp_path / "data", name)
            if json.loads((path / "store.json").read_bytes())["made_of"]["made_by"]
        )
        for knob, name in (("percepts", "mine"), ("pretrain_percepts", "more"))
    }
    run_fig12(tmp_path, "--dry-run", pretrain_on="more", **chosen)


def test_the_same_name_under_another_root_is_another_store(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root in ("one", "two"):
        monkeypatch.setenv("HARNESS_DATA", str(tmp_path / root))
        take(files)
        data = video_percepts("mine")
        assert data.unlabelled(0, [0], 8).shape == (8, 1, 5)
        shutil.rmtree(tmp_path / root)


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys\nfrom harness.cli import cli\n"
        "try:\n    cli(['data', 'import-features', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(','.join({'torch', 'h5py', 'numpy', 'av', 'cv2'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
