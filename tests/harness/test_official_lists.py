"""The official lists of UCF-101 and HMDB-51 against folders of all 13,320 and 6,766 names, as a user types it.

The videos are tiny and synthetic (`tests.official_sets`); everything else is the real thing. What should come out is read
from the raw lists by `read_plainly`, which shares no line with the harness. Each set is made once.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tasks.data import survey as surveying
from tasks.data.survey import Surveyed
from tests.harness.faked import invoke
from tests.harness.official import COUNTS, NUM_CLASSES, NUM_VIDEOS, SPLITS, Official
from tests.official_sets import group_of


@pytest.fixture
def again(
    official: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`harness data index` once more, with other lists or another folder, where no file may be decoded."""

    def decoding(root: Path, files: list[str], jobs: int) -> Iterator[tuple[str, Surveyed]]:
        raise AssertionError(f"{len(files)} files are decoded")

    monkeypatch.setattr(surveying, "_in_parallel", decoding)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))

    def run(*more: str, lists: Path | None = None, videos: Path | None = None) -> Result:
        # What decoding found is remembered by path, size and time; links have the last two from their files.
        memory = (official.root / official.name / "examined.json").read_text()
        moved = memory.replace(f'"{official.videos}/', f'"{videos or official.videos}/')
        (tmp_path / "data" / official.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / official.name / "examined.json").write_text(moved)
        return invoke(
            "data", "index", official.name, "--videos", str(videos or official.videos),
            "--lists", str(lists or official.lists), *more,
        )  # fmt: skip

    return run


# ---- the index is the lists


def test_the_counts_are_the_official_ones_and_the_lists_are_the_authors_line_for_line(
    official: Official,
) -> None:
    name, counts = official.name, COUNTS[official.name]
    said = (official.folder / "said.txt").read_text().splitlines()
    assert said[0].startswith(f"{name}: {NUM_VIDEOS[name]:,} videos, {NUM_CLASSES[name]} classes, ")
    assert said[1:4] == [
        f"split {split}: {counts[split][0]:,} to train, {counts[split][1]:,} to test"
        for split in SPLITS
    ]
    assert not [line for line in said if line.startswith("note:")]
    found = official.index["splits"]
    assert sorted(found) == ["1", "2", "3"]
    for split in SPLITS:
        for side, number in zip(("train", "test"), counts[split], strict=True):
            assert found[str(split)][side] == official.ids(split, side)
            assert len(set(found[str(split)][side])) == number
    videos = official.index["videos"]
    everything = {path for each in official.plain.values() for path in each}
    assert sorted(each["path"] for each in videos) == sorted(everything)
    assert len(videos) == NUM_VIDEOS[name]


def test_labels_are_the_authors_numbers(official: Official) -> None:
    if official.name == "ucf101":
        lines = (official.lists / "classInd.txt").read_bytes().decode().split()
        assert lines[::2] == [str(number) for number in range(1, 102)]
        classes = lines[1::2]
    else:
        classes = sorted(
            {path.name.partition("_test_")[0] for path in official.lists.glob("*_test_*")}
        )
    assert official.index["classes"] == classes
    for video in official.index["videos"]:
        assert classes[video["label"]] == video["id"].partition("/")[0]


def test_no_group_crosses_a_split_and_unused_videos_are_on_neither_side(
    official: Official,
) -> None:
    for split in SPLITS:
        train, test = official.plain[split, "train"], official.plain[split, "test"]
        groups = [{group_of(official.name, path) for path in side} for side in (train, test)]
        assert not groups[0] & groups[1]
        of_index = {video["id"]: video["group"] for video in official.index["videos"]}
        sides = official.index["splits"][str(split)]
        assert {of_index[video] for video in sides["test"]} == groups[1]
        if official.name == "hmdb51":
            for side, number in ((sides["train"], 70), (sides["test"], 30)):
                counted = Counter(video.partition("/")[0] for video in side)
                assert set(counted.values()) == {number}
                assert len(counted) == 51
            unused = set(official.ids(split, "unused"))
            assert len(unused) == 6766 - 51 * 100
            assert not unused & {*sides["train"], *sides["test"]}


def test_line_ends_of_another_system_give_the_same_index_to_the_byte(
    official: Official, again: Callable[..., Result], tmp_path: Path
) -> None:
    shutil.copytree(official.lists, tmp_path / "lists")
    for path in (tmp_path / "lists").glob("*.txt"):
        content = path.read_bytes()
        other = (b"\r\n", b"\n") if b"\r\n" in content else (b"\n", b"\r\n")
        path.write_bytes(content.replace(*other))
        assert path.read_bytes() != content
    done = again(lists=tmp_path / "lists")
    assert done.exit_code == 0, done.output
    made = (tmp_path / "data" / official.name / "index.json").read_bytes()
    assert made == (official.root / official.name / "index.json").read_bytes()


# ---- what is refused, before any file is decoded


def replace_line(path: Path, old: str, *new: str) -> None:
    """Put lines in the place of the one line that begins with `old`."""
    lines = path.read_bytes().decode().splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith(old))
    lines[place : place + 1] = new
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def one_line_less(lists: Path) -> None:
    replace_line(lists / "testlist02.txt", "YoYo/v_YoYo_g08_c01.avi")


def one_video_on_both_sides(lists: Path) -> None:
    tested = "YoYo/v_YoYo_g01_c01.avi"
    replace_line(lists / "trainlist01.txt", "YoYo/v_YoYo_g08_c01.avi", f"{tested} 101")


def one_group_on_both_sides(lists: Path) -> None:
    """A video of group 8 is tested and not trained on, one of group 1 the other way: no count changes."""
    first, eighth = "YoYo/v_YoYo_g01_c01.avi", "YoYo/v_YoYo_g08_c01.avi"
    replace_line(lists / "trainlist01.txt", eighth, f"{first} 101")
    replace_line(lists / "testlist01.txt", first, eighth)


def the_next_label(lists: Path) -> None:
    first = "Archery/v_Archery_g08_c01.avi"
    replace_line(lists / "trainlist03.txt", first, f"{first} 4")


def a_fourth_code(lists: Path) -> None:
    path = lists / "wave_test_split3.txt"
    path.write_text(path.read_text().replace(".avi 2", ".avi 3", 1))


def an_unused_video_is_tested(lists: Path) -> None:
    path = lists / "wave_test_split3.txt"
    path.write_text(path.read_text().replace(".avi 0", ".avi 2", 1))


@pytest.mark.parametrize(
    ("official", "edit", "sentences"),
    [
        ("ucf101", one_line_less, ["ucf101 is not complete (training and test videos in split 2: (9586, 3733), not (9586, 3734))"]),
        (
            "ucf101", one_video_on_both_sides,
            ["YoYo/v_YoYo_g01_c01 is on both lists of split 1", "group g01 is on both sides of split 1: "],
        ),
        ("ucf101", one_group_on_both_sides, ["group g01 is on both sides of split 1: ", "group g08 is on both sides of split 1: "]),
        ("ucf101", the_next_label, ["'Archery/v_Archery_g08_c01.avi 4' should end with 3, the number of Archery in classInd.txt"]),
        ("hmdb51", a_fourth_code, ["3' is not 'NAME CODE' with the code 0 (unused), 1 (train) or 2 (test)"]),
        (
            "hmdb51", an_unused_video_is_tested,
            [
                "group wave/Bush_Wave_vs__Obama_Wave_and_Which_Commander-in-chief_Salutes_the_Best__You_Decide is on both sides",
                "(training and test videos in split 3: (3570, 1531), not (3570, 1530))",
                "videos of wave in split 3: (70, 31), not (70, 30)",
            ],
        ),
    ],
    indirect=["official"],
)  # fmt: skip
def test_lists_that_were_altered_are_refused_in_a_sentence_each(
    official: Official,
    again: Callable[..., Result],
    tmp_path: Path,
    edit: Callable[[Path], None],
    sentences: list[str],
) -> None:
    shutil.copytree(official.lists, tmp_path / "lists")
    edit(tmp_path / "lists")
    refused = again(lists=tmp_path / "lists")
    assert refused.exit_code in (1, 2)
    said = refused.stderr.splitlines()
    for sentence, line in zip(sentences, said, strict=False):
        assert sentence in line
    # No other rule is broken; what is said last is the way out, where it does not stand in the sentence itself.
    assert len(said) == len(sentences) + (refused.exit_code == 1)
    assert not (tmp_path / "data" / official.name / "index.json").exists()


def linked(official: Official, folder: Path, whole: str) -> Path:
    """The set's folder once more, by links; the class `whole` has a folder of its own, which may be altered."""
    folder.mkdir()
    for place in official.videos.iterdir():
        if place.name != whole:
            (folder / place.name).symlink_to(place)
    (folder / whole).mkdir()
    for file in (official.videos / whole).iterdir():
        os.link(file, folder / whole / file.name)
    return folder


@pytest.mark.parametrize("official", ["ucf101"], indirect=True)
def test_a_folder_that_lacks_a_class_or_a_video_or_has_one_twice_is_refused(
    official: Official, again: Callable[..., Result], tmp_path: Path
) -> None:
    videos = linked(official, tmp_path / "videos", "YoYo")
    index = tmp_path / "data" / "ucf101" / "index.json"
    video = videos / "YoYo" / "v_YoYo_g01_c01.avi"

    (tmp_path / "kept").mkdir()
    shutil.move(video, tmp_path / "kept")
    refused = again(videos=videos)
    assert refused.exit_code == 1
    assert "1 missing: not in the folder\n  YoYo/v_YoYo_g01_c01.avi\n" in refused.stderr
    assert "- 1 of 13320 videos are missing or damaged" in refused.stderr
    refused = again(
        "--skip-bad", videos=videos
    )  # counts stay the official ones, unless a part is asked for
    assert refused.exit_code == 1
    assert "- ucf101 is not complete (videos: 13319, not 13320)" in refused.stderr

    for folder in ("copies", "more copies"):
        (videos / folder).mkdir()
        os.link(tmp_path / "kept" / video.name, videos / folder / video.name)
    refused = again(videos=videos)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[0] == (
        "- YoYo/v_YoYo_g01_c01.avi could be any of 2 files of one name: copies/v_YoYo_g01_c01.avi, "
        "more copies/v_YoYo_g01_c01.avi"
    )

    shutil.rmtree(videos / "YoYo")
    refused = again(videos=videos)
    assert refused.exit_code == 1
    assert "class YoYo is in the lists and not in the folder: none of its 128" in refused.stderr
    assert not index.exists()


@pytest.mark.parametrize("official", ["ucf101"], indirect=True)
def test_a_file_that_is_on_no_list_is_told_and_left_alone(
    official: Official, again: Callable[..., Result], tmp_path: Path
) -> None:
    videos = linked(official, tmp_path / "videos", "YoYo")
    for extra in ("YoYo/v_YoYo_g26_c01.avi", "v_YoYo_g01_c01.avi"):
        os.link(videos / "YoYo/v_YoYo_g01_c01.avi", videos / extra)
    done = again(videos=videos)
    assert done.exit_code == 0, done.output
    told = "2 extra: in the folder and not in the lists, left alone\n  YoYo/v_YoYo_g26_c01.avi\n  v_YoYo_g01_c01.avi\n"
    assert told in done.stderr
    found = json.loads((tmp_path / "data/ucf101/index.json").read_bytes())["content"]
    assert found["videos"] == official.index["videos"]
