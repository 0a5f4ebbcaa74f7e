"""The index: what `check` refuses, what alters its identity, what survives on disk, what verifying finds."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.data import index as index_module
from tasks.data.check import check_lists
from tasks.data.index import FILE, Index, IndexedVideo, LeftOut, NoIndex, check, read, read_from
from tasks.data.lists import read_lists
from tasks.data.root import data_root, folder_of
from tasks.data.sheet import Split
from tasks.data.survey import look_at
from tasks.data.verify import verify_videos
from tests.real_data import real_data
from tests.tasks.clips import write_clip


def video(name: str, label: int | None, group: str, **changes: object) -> IndexedVideo:
    made = IndexedVideo(
        id=name, path=f"{name}.avi", label=label, group=group, num_frames=20, fps=25.0, height=32, width=48, bytes=9, sha256="0" * 64,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def index(**changes: object) -> Index:
    made = Index(
        name="mine",
        videos_dir="/videos",
        classes=("run", "walk"),
        videos=(
            video("a", 0, "p1"),
            video("b", 0, "p2"),
            video("c", 1, "p1"),
            video("d", 1, "p2"),
            video("e", None, "p2"),
        ),
        splits={1: Split(train=("a", "c"), test=("b", "d"))},
        splits_from="csv",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def with_video(place: int, **changes: object) -> Index:
    videos = list(index().videos)
    videos[place] = replace(videos[place], **changes)  # type: ignore[arg-type]
    return index(videos=tuple(videos))


def with_split(train: tuple[str, ...], test: tuple[str, ...]) -> Index:
    return index(splits={1: Split(train=train, test=test)})


# ---- files


def test_a_file_is_whole_when_its_bytes_are_those_that_were_indexed(tmp_path: Path) -> None:
    content = b"frames" * 100_000
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    told = video("a", 0, "p1", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    made = index(videos_dir=str(tmp_path), videos=(told,))
    assert made.whole_file_of("a") == path
    path.write_bytes(content[:-1] + b"S")
    assert made.file_of("a") == path  # of the same size
    with pytest.raises(ValueError, match=r"a\.avi has another checksum than when it was indexed"):
        made.whole_file_of("a")
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="has 599999 bytes, and 600000 when it was indexed"):
        made.whole_file_of("a")
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot be read \(No such file or directory\)"):
        made.whole_file_of("a")
    path.mkdir()
    folder = replace(made, videos=(replace(told, bytes=path.stat().st_size),))
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        folder.whole_file_of("a")
    with pytest.raises(KeyError, match="mine has no video 'z'"):
        made.whole_file_of("z")


# ---- guards


def test_a_sound_index_has_no_problems() -> None:
    assert check(index()) == ()


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (with_video(1, id="a"), "the id a is there 2 times"),
        (with_video(1, path="a.avi"), "the file a.avi is 2 videos at once"),
        (with_video(1, label=2), "b has label 2, but there are 2 classes"),
        (with_video(1, num_frames=0), "b has 0 frames"),
        (with_split(("a", "c", "b"), ("b", "d")), "b is on both lists of split 1"),
        (with_split(("a", "c"), ("b", "d", "x")), "names x, which does not exist"),
        (with_split(("a", "c"), ("b", "d", "e")), "e is on the test list of split 1 and has no label"),
        (with_split(("a", "c", "a"), ("b", "d")), "a is 2 times on the training list"),
        (with_split(("a", "d"), ("b", "c")), "group p1 is on both sides of split 1"),
        (with_split(("a", "c"), ("b",)), "class walk has no test videos in split 1"),
        (with_split(("a",), ("b", "d")), "class walk has no training videos in split 1"),
        (index(classes=("run", "walk", "fly")), "class fly has no videos"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_mistake_is_refused_and_nothing_is_written(
    broken: Index, sentence: str, tmp_path: Path
) -> None:
    assert any(sentence in problem for problem in check(broken)), check(broken)
    with pytest.raises(ValueError, match="the index of mine is not written"):
        broken.write(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_class_may_lack_test_videos_only_where_one_group_is_left_out() -> None:
    lacking = with_split(("a", "c"), ("b",))
    assert check(lacking)
    assert check(replace(lacking, splits_from="leave-one-group-out")) == ()


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_an_official_set_that_lacks_a_video_is_refused_unless_it_may_be_partial(name: str) -> None:
    sheet = read_lists(real_data("splits", name))
    lost = sheet.splits[2].test[5]
    less = replace(
        sheet,
        entries=tuple(entry for entry in sheet.entries if entry.id != lost),
        splits={
            number: Split(
                train=tuple(each for each in split.train if each != lost),
                test=tuple(each for each in split.test if each != lost),
            )
            for number, split in sheet.splits.items()
        },
    )
    found = check_lists(name, less.classes, less.entries, less.splits, name, partial=False)  # type: ignore[arg-type]
    assert any("videos: " in problem for problem in found)
    assert any("in split 2" in problem for problem in found)
    assert check_lists(name, less.classes, less.entries, less.splits, name, partial=True) == ()  # type: ignore[arg-type]
    assert check_lists("mine", less.classes, less.entries, less.splits, name, partial=False) == ()  # type: ignore[arg-type]


# ---- identity


def test_the_identity_changes_with_whatever_can_alter_an_answer() -> None:
    altered = [
        index(name="yours"),
        index(classes=("run", "fly")),
        with_split(("a", "c"), ("d", "b")),
        index(splits={2: index().splits[1]}),
        with_video(4, id="f"),
        with_video(4, label=1),
        with_video(4, group="p3"),
        with_video(4, num_frames=21),
        with_video(4, sha256="1" * 64),
    ]
    assert len({index().identity, *(each.identity for each in altered)}) == len(altered) + 1


def test_the_identity_does_not_change_with_folders_and_notes() -> None:
    same = [
        index(videos_dir="/elsewhere"),
        with_video(0, path="moved/a.avi"),
        index(notes=("a note",), left_out=(LeftOut(path="x", reason="y"),)),
    ]
    assert {each.identity for each in same} == {index().identity}


def test_features_depend_on_the_videos_alone() -> None:
    same = [index(name="yours"), index(splits={}), with_video(0, label=1), with_video(0, group="x")]
    assert {each.content_identity for each in same} == {index().content_identity}
    for other in (with_video(0, num_frames=21), with_video(0, sha256="1" * 64)):
        assert other.content_identity != index().content_identity


# ---- on disk


def test_what_is_read_is_what_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    made = index(
        videos=(*index().videos[:4], video('é "q" \'', None, "p9")),
        left_out=(LeftOut(path="x", reason="y"),),
        notes=("n",),
        partial=True,
    )
    made.write(folder_of("mine"))
    found = read("mine")
    assert found == made
    assert found.identity == made.identity
    assert found.video("a") is found.videos[0]
    with pytest.raises(KeyError, match="has no video 'zz'"):
        found.video("zz")
    assert json.loads((tmp_path / "mine" / FILE).read_bytes())["content"]["name"] == "mine"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [FILE]


def test_a_folder_whose_name_is_no_text_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = os.fsdecode(b"/clips of J\xf6rg")
    index(videos_dir=folder).write(tmp_path)
    assert read_from(tmp_path).videos_dir == folder


def test_what_could_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="the index of mine is not written: 'classes' is not a"):
        index(classes=("run", "b\0")).write(tmp_path)
    monkeypatch.setattr(index_module, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"lists of 1 splits and 5 videos take 1,.* bytes: make"):
        index().write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_any_altered_byte_is_noticed(tmp_path: Path) -> None:
    path = index().write(tmp_path)
    content = path.read_bytes()
    for place in [*range(0, len(content), 7), len(content) - 1]:
        altered = bytearray(content)
        altered[place] ^= 1
        path.write_bytes(bytes(altered))
        with pytest.raises(NoIndex, match=r"is damaged|of another format"):
            read_from(tmp_path)
    for shorter in (b"", content[:40], content[:-1], content[: len(content) // 2]):
        path.write_bytes(shorter)
        with pytest.raises(NoIndex, match="is damaged"):
            read_from(tmp_path)


def test_an_index_of_another_format_and_a_missing_one_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match=r"no index of '.*harness data index"):
        read_from(tmp_path)
    path = index().write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'{"format": 1', b'{"format": 2'))
    with pytest.raises(NoIndex, match="is of another format"):
        read_from(tmp_path)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "é"])
def test_names_that_could_not_be_folders_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a set of videos"):
        folder_of(name)


def test_the_root_is_the_variables_or_data_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    assert data_root() == Path("data")
    monkeypatch.setenv("HARNESS_DATA", "/somewhere")
    assert folder_of("ucf101") == Path("/somewhere/ucf101")


def test_reading_imports_nothing_heavy(tmp_path: Path) -> None:
    index().write(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom tasks.data.index import read_from\n"
        f"read_from(Path({str(tmp_path)!r}))\n"
        "sys.exit(','.join({'av', 'numpy', 'torch', 'cv2', 'rich'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- verifying


def test_verifying_names_files_that_are_gone_or_changed(tmp_path: Path) -> None:
    videos = []
    for name in ("same", "gone", "longer", "altered"):
        path = write_clip(tmp_path / f"{name}.avi", 3)
        seen = look_at(path)
        videos.append(video(name, None, "g", bytes=seen.bytes, sha256=seen.sha256))
    made = index(videos_dir=str(tmp_path), classes=(), splits={}, videos=tuple(videos))
    (tmp_path / "gone.avi").unlink()
    content = (tmp_path / "altered.avi").read_bytes()
    (tmp_path / "altered.avi").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "longer.avi").write_bytes(content + b"!")

    def problems(full: bool) -> dict[str, str]:
        return {each.id: problem for each, problem in verify_videos(made, full=full) if problem}

    assert set(problems(full=False)) == {"gone", "longer"}
    assert set(problems(full=True)) == {"gone", "longer", "altered"}
    assert "has another content" in problems(full=True)["altered"]
