"""The index: what `check` refuses, what alters its identity, what survives on disk, and how files become videos."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.data import survey as surveying
from tasks.data.build import Rule, assemble, check_before, find_faults, match
from tasks.data.check import check_lists
from tasks.data.index import FILE, Index, IndexedVideo, LeftOut, NoIndex, check, read, read_from
from tasks.data.labels import by_folder, from_csv
from tasks.data.lists import read_lists
from tasks.data.root import data_root, folder_of
from tasks.data.sheet import Entry, Sheet, Split
from tasks.data.survey import find_videos, survey
from tasks.data.verify import verify_videos
from tests.tasks.clips import look_or_die, real_data, truncate, write_clip


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


# ---- which file is which video


def sheet_of(*files: str) -> Sheet:
    entries = [
        Entry(id=file.removesuffix(".avi"), file=file, label=0, group=file) for file in files
    ]
    return Sheet(classes=("run",), entries=tuple(sorted(entries, key=lambda entry: entry.id)))


@pytest.mark.parametrize(
    "files",
    [
        ("run/a.avi", "run/b.avi"),
        ("a.avi", "b.avi"),  # flattened
        ("run/a.mp4", "run/b.mkv"),  # converted
        ("deep/down/run/a.avi", "deep/down/run/b.avi"),
    ],
)
def test_lists_fit_folders_that_were_flattened_or_converted(files: tuple[str, ...]) -> None:
    found = match(sheet_of("run/a.avi", "run/b.avi"), [*files, "other.avi"])
    assert found.paths == {"run/a": files[0], "run/b": files[1]}
    assert (found.missing, found.extra, found.problems) == ((), ("other.avi",), ())


def test_a_file_in_its_place_wins_over_others_of_its_name() -> None:
    found = match(sheet_of("run/a.avi"), ["a.avi", "run/a.avi", "run/a.mp4"])
    assert found.paths == {"run/a": "run/a.avi"}
    assert found.extra == ("a.avi", "run/a.mp4")


def test_two_files_of_one_name_are_refused() -> None:
    found = match(sheet_of("run/a.avi"), ["x/a.avi", "y/a.avi"])
    assert found.problems == ("run/a.avi could be any of 2 files of one name: x/a.avi, y/a.avi",)
    found = match(sheet_of("run/a.avi", "walk/a.avi"), ["a.avi"])
    assert found.problems == ("a.avi is the only file for 2 videos: run/a, walk/a",)
    sheet = by_folder(["run/a.avi", "run/a.mp4"])
    files = ["run/a.avi", "run/a.mp4"]
    problems = check_before("mine", sheet, match(sheet, files), partial=False)
    assert problems[0].startswith("the id run/a is there 2 times")


def test_classes_that_are_not_in_the_folder_are_named_before_anything_is_decoded() -> None:
    sheet = Sheet(
        classes=("run", "walk"),
        entries=(
            Entry(id="run/a", file="run/a.avi", label=0, group="a"),
            Entry(id="walk/b", file="walk/b.avi", label=1, group="b"),
        ),
    )
    found = match(sheet, ["run/a.avi"])
    (problem,) = check_before("mine", sheet, found, partial=False)
    assert problem == (
        "class walk is in the lists and not in the folder: none of its 1 videos is there"
    )
    assert check_before("mine", sheet, found, partial=True) == ()
    (problem,) = check_before("mine", sheet, match(sheet, ["z.avi"]), partial=True)
    assert problem.startswith("none of the 2 videos is in the folder (the first would be run/a.avi")


def test_a_rule_refuses_classes_of_one_group() -> None:
    sheet = by_folder(["run/a.avi", "run/b.avi", "walk/c.avi"])
    with pytest.raises(ValueError, match="class walk has one group only"):
        Rule().apply(sheet)


# ---- files


def test_videos_are_found_by_their_endings_without_hidden_ones_and_through_links(
    tmp_path: Path,
) -> None:
    for name in ("b/x.AVI", "a/y.mp4", "a/._y.mp4", ".hidden/z.avi", "a/notes.txt", "é.mkv"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.avi").touch()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    found = find_videos(tmp_path / "set")
    assert found == ("a/y.mp4", "b/x.AVI", "link/w.avi", "é.mkv")
    with pytest.raises(FileNotFoundError):
        find_videos(tmp_path / "absent")


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    try:
        Path(f"{tmp_path}/\udcff.avi").touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(ValueError, match=r"the name \\xff\.avi in .* is not UTF-8"):
        find_videos(tmp_path)


def test_an_interrupted_survey_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [f"{number}.avi" for number in range(5)]
    for number, file in enumerate(files):
        write_clip(tmp_path / file, 3, seed=number)
    memory = tmp_path / "memory.json"
    decoded: list[str] = []

    def look(path: Path) -> surveying.Surveyed:
        decoded.append(path.name)
        return surveying.look_at(path)

    monkeypatch.setattr(
        surveying,
        "_in_parallel",
        lambda root, files, jobs: ((file, look(root / file)) for file in files),
    )
    first = survey(tmp_path, files, memory=memory, jobs=1)
    for _ in range(2):
        next(first)
    first.close()  # as an interrupt does
    assert decoded == files[:2]
    found = dict(survey(tmp_path, files, memory=memory, jobs=1))
    assert decoded == files
    assert {file: seen.examined.num_frames for file, seen in found.items()} == dict.fromkeys(files, 3)  # fmt: skip
    write_clip(tmp_path / files[3], 4, seed=9)
    again = dict(survey(tmp_path, files, memory=memory, jobs=1))
    assert decoded == [*files, files[3]]
    assert again[files[3]].examined.num_frames == 4
    memory.write_text("damaged")
    assert dict(survey(tmp_path, files, memory=memory, jobs=1)) == again
    assert decoded == [*files, files[3], *files]


def test_a_file_that_kills_its_process_is_named_and_the_others_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["a.avi", "deadly.avi", "z.avi"]
    for file in files:
        write_clip(tmp_path / file, 3)
    monkeypatch.setattr(surveying, "look_at", look_or_die)
    found = dict(survey(tmp_path, files, memory=tmp_path / "memory.json", jobs=1))
    assert found["deadly.avi"].examined.problem == "the decoder crashes on it"
    assert [found[file].examined.num_frames for file in ("a.avi", "z.avi")] == [3, 3]


# ---- the whole


def test_what_is_missing_unreadable_damaged_short_or_extra_is_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b", "short", "damaged", "extra"):
        write_clip(tmp_path / f"{name}.avi", 5 if name == "short" else 20, height=96, width=96)
    truncate(tmp_path / "damaged.avi")
    (tmp_path / "text.avi").write_text("no video")
    table = tmp_path / "mine.csv"
    lines = [f"{name},run,{name},train" for name in ("a", "short", "damaged", "text", "gone")]
    table.write_text("\n".join(["video,label,group,split", *lines, "b,run,b,test", ""]))
    sheet = from_csv(table)
    matched = match(sheet, find_videos(tmp_path))
    seen = {path: surveying.look_at(tmp_path / path) for path in matched.paths.values()}
    found = find_faults(matched, seen)
    assert found.missing == ("gone",)
    assert [each.path for each in found.unreadable] == ["text.avi"]
    assert [each.path for each in found.damaged] == ["damaged.avi"]
    assert found.extra == ("extra.avi",)
    assert found.short == ("short.avi",)
    made, problems = assemble("mine", tmp_path, sheet, matched, seen, partial=False)
    assert problems == ()
    assert [each.id for each in made.videos] == ["a", "b", "short"]
    assert made.splits[1] == Split(train=("a", "short"), test=("b",))
    assert {each.path for each in made.left_out} == {"gone", "text.avi", "damaged.avi"}
    assert made.notes == ("left out: 3 of 6 videos, missing or damaged",)
    assert [problem for _, problem in verify_videos(made, full=True) if problem] == []


def test_a_partial_set_loses_the_classes_without_videos_and_says_so(tmp_path: Path) -> None:
    names = ("fly", "run", "walk")
    entries = tuple(
        Entry(id=f"{name}/{group}", file=f"{name}/{group}.avi", label=label, group=group)
        for label, name in enumerate(names)
        for group in ("g1", "g2")
    )
    sheet = Sheet(
        classes=names,
        entries=entries,
        splits={
            1: Split(
                train=tuple(each.id for each in entries if each.group == "g1"),
                test=tuple(each.id for each in entries if each.group == "g2"),
            )
        },
        splits_from="ucf101",
    )
    for name in ("fly", "walk"):
        for group in ("g1", "g2"):
            write_clip(tmp_path / name / f"{group}.avi", 3)
    matched = match(sheet, find_videos(tmp_path))
    seen = {path: surveying.look_at(tmp_path / path) for path in matched.paths.values()}
    made, problems = assemble("ucf101", tmp_path, sheet, matched, seen, partial=True)
    assert problems == ()
    assert made.classes == ("fly", "walk")
    assert [each.label for each in made.videos] == [0, 0, 1, 1]
    assert made.partial
    assert "this is a part of ucf101: 4 of its 6 videos" in " ".join(made.notes)
    whole, problems = assemble("ucf101", tmp_path, sheet, matched, seen, partial=False)
    assert any("class run has no videos" in problem for problem in problems)
    assert any("videos: 4, not 13320" in problem for problem in problems)
    with pytest.raises(ValueError, match="is not written"):
        whole.write(tmp_path / "index")


def test_verifying_names_files_that_are_gone_or_changed(tmp_path: Path) -> None:
    videos = []
    for name in ("same", "gone", "longer", "altered"):
        path = write_clip(tmp_path / f"{name}.avi", 3)
        seen = surveying.look_at(path)
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
