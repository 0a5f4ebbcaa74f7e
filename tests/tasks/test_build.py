"""From files to an index: which file is which video, what was remembered, what is left out, what remains."""

from pathlib import Path

import pytest

from tasks.data import survey as surveying
from tasks.data.build import Rule, assemble, check_before, find_faults, match
from tasks.data.labels import by_folder, from_csv, with_groups
from tasks.data.sheet import Entry, Sheet, Split
from tasks.data.survey import find_videos, survey
from tasks.data.verify import verify_videos
from tests.tasks.clips import look_or_die, truncate, write_clip

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
    assert problems == (
        "run/a.avi and run/a.mp4 would both be the video run/a: rename all but one",
    )


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


def test_leaving_many_groups_out_names_ten_of_them() -> None:
    sheet = by_folder([f"{name}/{n:03d}.avi" for name in ("run", "walk") for n in range(300)])
    rule = Rule(leave_one_group_out=True)
    groups, alone = rule.apply(sheet).notes
    assert groups.startswith("splits leave one group out: 1 tests run/000, 2 tests run/001, ")
    assert groups.endswith(", 10 tests run/009 and 590 more")
    assert alone == (
        "no groups were given, so every video is a group of its own: near-copies of a tested video may be trained on"
    )
    (groups,) = rule.apply(with_groups(sheet, r"(\d)\.avi")).notes
    assert groups.endswith("9 tests 8, 10 tests 9")


def test_drawn_splits_say_what_share_came_out() -> None:
    # Groups of 1, 2, 3 and 6 videos of each class: no fewer than one of them is tested.
    files = [
        f"{name}/{group}_{n}.avi"
        for name in ("run", "walk")
        for group, size in (("a", 1), ("b", 2), ("c", 3), ("d", 6))
        for n in range(size)
    ]
    made = Rule(num_splits=3, seed=5).apply(with_groups(by_folder(files), r"([a-d])_"))
    shares = sorted(len(split.test) / 24 for split in made.splits.values())
    assert shares[0] < shares[-1]
    assert made.notes == (
        f"splits are drawn by group: test share 0.3 asked, {shares[0]:.2f} to {shares[-1]:.2f} drawn, seed 5",
    )
    even = Rule(num_splits=2, test_share=0.5).apply(by_folder(files))
    assert even.notes == ("splits are drawn by group: test share 0.5 asked, 0.50 drawn, seed 0",)


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
    made, problems = assemble("mine", tmp_path, sheet, matched, seen, rule=None, partial=False)
    assert problems == ()
    assert [each.id for each in made.videos] == ["a", "b", "short"]
    assert made.splits[1] == Split(train=("a", "short"), test=("b",))
    assert {each.path for each in made.left_out} == {"gone", "text.avi", "damaged.avi"}
    assert made.notes == (
        "left out: 3 of 6 videos, missing or damaged: gone, text.avi, damaged.avi",
    )
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
    made, problems = assemble("ucf101", tmp_path, sheet, matched, seen, rule=None, partial=True)
    assert problems == ()
    assert made.classes == ("fly", "walk")
    assert [each.label for each in made.videos] == [0, 0, 1, 1]
    assert made.partial
    assert "this is a part of ucf101: 4 of its 6 videos" in " ".join(made.notes)
    whole, problems = assemble("ucf101", tmp_path, sheet, matched, seen, rule=None, partial=False)
    assert any("class run has no videos" in problem for problem in problems)
    assert any("videos: 4, not 13320" in problem for problem in problems)
    with pytest.raises(ValueError, match="is not written"):
        whole.write(tmp_path / "index")


def test_a_rule_makes_its_splits_of_the_videos_that_are_left(tmp_path: Path) -> None:
    files = [f"run/{number}.avi" for number in range(6)]
    for file in files:
        write_clip(tmp_path / file, 3)
    sheet, rule = by_folder(files), Rule(num_splits=1, test_share=0.5)
    (planned,) = rule.apply(sheet).splits.values()
    for lost in planned.test:
        (tmp_path / f"{lost}.avi").write_text("no video")
    matched = match(sheet, files)
    seen = {path: surveying.look_at(tmp_path / path) for path in files}
    made, problems = assemble("mine", tmp_path, sheet, matched, seen, rule=rule, partial=False)
    assert problems == ()
    assert made.splits_from == "drawn"
    assert sorted(made.splits[1].train + made.splits[1].test) == list(planned.train)
    assert made.splits[1].test
    for kept in planned.train[1:]:
        (tmp_path / f"{kept}.avi").write_text("no video")
    seen = {path: surveying.look_at(tmp_path / path) for path in files}
    _, problems = assemble("mine", tmp_path, sheet, matched, seen, rule=rule, partial=False)
    assert problems[0].startswith("class run has one group only")
