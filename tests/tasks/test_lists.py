"""Lists, labels, groups and rules for splits: official ones to the last count, and a sentence for every mistake."""

from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.check import check_lists
from tasks.data.labels import by_folder, from_csv, unlabelled, with_groups
from tasks.data.lists import BadList, hmdb51_source, official_counts, read_lists
from tasks.data.sheet import Entry, Sheet, Split, id_of
from tasks.data.splits import draw, leave_one_group_out
from tests.real_data import real_data
from tests.tasks.feature_sets import quick


def problems(name: str, sheet: Sheet) -> tuple[str, ...]:
    return check_lists(
        name, sheet.classes, sheet.entries, sheet.splits, sheet.splits_from, partial=False
    )


def write_ucf(folder: Path, end: str = "\r\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "classInd.txt").write_bytes(f"1 Run{end}2 Walk{end}{end}".encode())
    for split, tested in ((1, "g01"), (2, "g02")):
        train, test = [], []
        for label, name in ((1, "Run"), (2, "Walk")):
            for group in ("g01", "g02", "g03"):
                for clip in ("c01", "c02"):
                    file = f"{name}/v_{name}_{group}_{clip}.avi"
                    if group == tested:
                        test.append(file)
                    else:
                        train.append(f"{file} {label}")
        (folder / f"trainlist0{split}.txt").write_bytes(end.join([*train, ""]).encode())
        (folder / f"testlist0{split}.txt").write_bytes(end.join([*test, ""]).encode())
    return folder


def write_hmdb(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("climb", "climb_stairs"):
        for split in (1, 2):
            codes = (1, 2, 0) if split == 1 else (2, 1, 0)
            (folder / f"{name}_test_split{split}.txt").write_text(
                "".join(
                    f"{source} film_{name}_f_cm_np{people}_ri_bad_{number}.avi {code} \n"
                    for source, code in zip("ABC", codes, strict=True)
                    for number, people in ((0, 1), (1, 10))
                )
            )
    return folder


# ---- the official lists


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_the_official_lists_count_what_their_authors_say_and_leak_no_group(name: str) -> None:
    sheet = read_lists(real_data("splits", name))
    official = official_counts(name)
    assert official is not None
    assert problems(name, sheet) == ()
    assert len(sheet.entries) == official.videos == {"ucf101": 13320, "hmdb51": 6766}[name]
    assert len(sheet.classes) == {"ucf101": 101, "hmdb51": 51}[name]
    assert {n: (len(s.train), len(s.test)) for n, s in sheet.splits.items()} == {
        "ucf101": {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)},
        "hmdb51": {1: (3570, 1530), 2: (3570, 1530), 3: (3570, 1530)},
    }[name]


def test_ucf101_labels_are_those_of_class_ind_and_its_groups_are_25_across_all_classes() -> None:
    folder = real_data("splits", "ucf101")
    sheet = read_lists(folder)
    by_id = {entry.id: entry for entry in sheet.entries}
    for line in (folder / "trainlist02.txt").read_bytes().split(b"\r\n"):
        if line:
            file, label = line.decode().split(" ")
            assert by_id[file[:-4]].label == int(label) - 1
            assert sheet.classes[int(label) - 1] == file.split("/")[0]
    assert {entry.group for entry in sheet.entries} == {f"g{n:02d}" for n in range(1, 26)}
    assert by_id["YoYo/v_YoYo_g25_c03"].group == "g25"


def test_hmdb51_keeps_sources_apart_within_a_class_and_not_between_classes() -> None:
    sheet = read_lists(real_data("splits", "hmdb51"))
    group_of = {entry.id: entry.group for entry in sheet.entries}
    for split in sheet.splits.values():
        within = [{group_of[video] for video in ids} for ids in (split.train, split.test)]
        assert not within[0] & within[1]
        between = [{group.partition("/")[2] for group in groups} for groups in within]
        assert len(between[0] & between[1]) > 100
    for split in sheet.splits.values():
        for ids, number in ((split.train, 70), (split.test, 30)):
            counts = Counter(video.partition("/")[0] for video in ids)
            assert set(counts.values()) == {number}
            assert len(counts) == 51


@pytest.mark.parametrize(
    ("name", "class_name", "source"),
    [
        ("50_FIRST_DATES_dive_f_cm_np1_ri_bad_32", "dive", "50_FIRST_DATES"),
        ("April_09_brush_hair_u_nm_np1_ba_goo_0", "brush_hair", "April_09"),
        ("metacafe_coolsoccer_run_f_cm_np10_le_bad_2", "run", "metacafe_coolsoccer"),
        ("a_climb_stairs_f_cm_np1_ri_bad_3", "climb_stairs", "a"),
        ("of_another_build", "run", "of_another_build"),
    ],
)
def test_the_source_of_an_hmdb51_clip_is_what_its_name_begins_with(
    name: str, class_name: str, source: str
) -> None:
    assert hmdb51_source(name, class_name) == source


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_small_lists_of_ucf101s_format(tmp_path: Path, end: str) -> None:
    sheet = read_lists(write_ucf(tmp_path, end))
    assert sheet.classes == ("Run", "Walk")
    assert len(sheet.entries) == 12
    assert sheet.splits[2].test == tuple(
        f"{name}/v_{name}_g02_{clip}" for name in ("Run", "Walk") for clip in ("c01", "c02")
    )
    assert sheet.entries[-1] == Entry(
        id="Walk/v_Walk_g03_c02", file="Walk/v_Walk_g03_c02.avi", label=1, group="g03"
    )
    assert problems("mine", sheet) == ()


def test_small_lists_of_hmdb51s_format(tmp_path: Path) -> None:
    sheet = read_lists(write_hmdb(tmp_path))
    assert sheet.classes == ("climb", "climb_stairs")
    assert len(sheet.entries) == 12
    assert {len(split.train) for split in sheet.splits.values()} == {4}
    unused = "climb/C film_climb_f_cm_np1_ri_bad_0"
    assert unused in {entry.id for entry in sheet.entries}
    for split in sheet.splits.values():
        assert unused not in split.train + split.test
    assert "climb_stairs/B film" in {entry.group for entry in sheet.entries}
    assert problems("mine", sheet) == ()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("classInd.txt", "0 Run\n1 Walk\n", "line 1: '0 Run' is not '1 CLASS'"),
        ("classInd.txt", "1 Run\n2 Run\n", "line 2: '2 Run' is not '2 CLASS' with a new class"),
        ("trainlist01.txt", "Run/v_Run_g02_c01.avi 2\n", "should end with 1, the number of Run"),
        ("trainlist01.txt", "Run/v_Run_g02_c01.avi\n", "does not begin with a class"),
        ("testlist01.txt", "\nJump/v_Jump_g02_c01.avi\n", "line 2: 'Jump/v_Jump_g02_c01.avi'"),
        ("testlist01.txt", "", "split 1 has no test list"),
        ("testlist01.txt", "Run/v.avi\nRun/v.avi\n", "Run/v is 2 times on the test list"),
    ],
)
def test_a_mistake_in_lists_is_named_with_its_line(
    tmp_path: Path, file: str, content: str, sentence: str
) -> None:
    write_ucf(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(BadList, match=sentence.replace("(", r"\(")):
        read_lists(tmp_path)


def test_an_unknown_code_of_hmdb51_and_a_folder_without_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadList, match="holds no lists"):
        read_lists(tmp_path)
    with pytest.raises(BadList, match="is no folder"):
        read_lists(tmp_path / "absent")
    (tmp_path / "run_test_split1.txt").write_text("a.avi 3\n")
    with pytest.raises(BadList, match=r"line 1: 'a\.avi 3' is not 'NAME CODE'"):
        read_lists(tmp_path)


# ---- labels and groups


def test_ids_are_paths_without_the_ending_of_a_video() -> None:
    assert id_of("a/b.c/take 1. slow.AVI") == "a/b.c/take 1. slow"
    assert id_of("a/clip.v2") == "a/clip.v2"
    assert id_of("a/.avi") == "a/.avi"


def test_folders_are_classes_and_every_video_is_its_own_group() -> None:
    sheet = by_folder(["b/x/1.avi", "a/1.mp4"])
    assert sheet.classes == ("a", "b")
    assert [(e.id, e.label, e.group) for e in sheet.entries] == [
        ("a/1", 0, "a/1"),
        ("b/x/1", 1, "b/x/1"),
    ]
    with pytest.raises(BadList, match=r"1\.avi lies in no folder of a class"):
        by_folder(["1.avi", "a/1.avi"])
    assert [e.label for e in unlabelled(["1.avi", "a/1.avi"]).entries] == [None, None]


def test_decomposed_and_composed_letters_are_one_name() -> None:
    (entry,) = by_folder(["e\u0301/e\u0301.avi"]).entries
    assert entry.id == "\u00e9/\u00e9"
    assert entry.file == "e\u0301/e\u0301.avi"


def test_a_csv_gives_labels_groups_and_splits(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(
        b"\xef\xbb\xbfvideo,label,group,split1,split2\r\n"
        b'"a, b.avi",walk,p1,train,test\r\nc/d,run,p2,test,\r\n\r\ne.mp4,,p3,,\r\n'
    )
    sheet = from_csv(path)
    assert sheet.classes == ("run", "walk")
    assert [(e.id, e.file, e.label, e.group) for e in sheet.entries] == [
        ("a, b", "a, b.avi", 1, "p1"),
        ("c/d", "c/d", 0, "p2"),
        ("e", "e.mp4", None, "p3"),
    ]
    assert (sheet.splits[1].train, sheet.splits[1].test) == (("a, b",), ("c/d",))
    assert (sheet.splits[2].train, sheet.splits[2].test) == ((), ("a, b",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("video,label\n", "no line below"),
        ("video,lable\na,b\n", "line 1: no column is called 'lable'"),
        ("video,group\na,b\n", "line 1: there is no column 'label'"),
        ("video,label,split,split1\na,b,,\n", "line 1: a column is there twice"),
        ("video,label\na.avi,x\nb.avi,x,y\n", "line 3: 3 values, but 2 columns"),
        ("video,label\na.avi,x\n\na.mp4,x\n", "line 4: a is on line 2 already"),
        ("video,label\n,x\n", "line 2: the video has no name"),
        ("video,label,split\na,x,valid\n", "line 2: 'valid' in column split"),
        ("video,label,split\na,,train\n", "line 2: a has no label"),
        ('video,label\n"a,x\n', "line 2"),
    ],
)
def test_a_mistake_in_a_csv_is_named_with_its_line(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(BadList, match=sentence):
        from_csv(path)
    path.write_bytes(b"video,label\n\xff,a\n")
    with pytest.raises(BadList, match="byte 12 is not UTF-8"):
        from_csv(path)


def test_groups_are_found_in_file_names_and_in_paths_where_the_pattern_has_a_slash() -> None:
    sheet = by_folder(["Juggling1/v_g02_c1.avi", "Juggling1/v_g10_c1.avi"])
    assert [e.group for e in with_groups(sheet, r"g(\d+)").entries] == ["02", "10"]
    assert [e.group for e in with_groups(sheet, r"g(\d+)/").entries] == ["1", "1"]
    for pattern, sentence in (
        ("(", "no regular expression"),
        (r"g\d+", "0 pairs of parentheses"),
        (r"(g)(\d+)", "2 pairs"),
        (r"g(1\d)", "finds no group in Juggling1/v_g02_c1.avi \\(1 such"),
    ):
        with pytest.raises(ValueError, match=sentence):
            with_groups(sheet, pattern)


# ---- splits by a rule


def entries(sizes: dict[tuple[int, str], int]) -> list[Entry]:
    return [
        Entry(id=f"{label}/{group}/{n}", file=f"{label}/{group}/{n}.avi", label=label, group=group)
        for (label, group), number in sizes.items()
        for n in range(number)
    ]


def as_many_as_there_are(
    videos: list[Entry], most: int, share: float, seed: int
) -> dict[int, Split]:
    for number in range(most, 1, -1):
        with suppress(ValueError):
            return draw(videos, num_splits=number, test_share=share, seed=seed)
    return draw(videos, num_splits=1, test_share=share, seed=seed)


@quick
@given(
    sizes=st.dictionaries(
        st.tuples(st.integers(0, 3), st.sampled_from([f"p{n}" for n in range(9)])),
        st.integers(1, 6),
        min_size=1,
    ),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_drawn_splits_keep_groups_whole_and_a_group_to_train_every_class(
    sizes: dict[tuple[int, str], int], share: float, seed: int
) -> None:
    videos = entries(sizes)
    group_of = {video.id: video.group for video in videos}
    drawn = as_many_as_there_are(videos, 3, share, seed)
    assert drawn == draw(videos[::-1], num_splits=len(drawn), test_share=share, seed=seed)
    assert drawn[1] == draw(videos, num_splits=1, test_share=share, seed=seed)[1]
    assert len({split.test for split in drawn.values()}) == len(drawn)
    for split in drawn.values():
        assert sorted(split.train + split.test) == sorted(group_of)
        assert not {group_of[v] for v in split.train} & {group_of[v] for v in split.test}
        assert {v[0] for v in split.train} == {str(label) for label, _ in sizes}


def test_drawn_splits_are_stratified_when_every_video_is_a_group() -> None:
    videos = entries({(label, f"{label}-{n}"): 1 for label in range(4) for n in range(10)})
    drawn = draw(videos, num_splits=3, test_share=0.3, seed=0)
    for split in drawn.values():
        assert Counter(video[0] for video in split.test) == dict.fromkeys("0123", 3)
    assert len({split.test for split in drawn.values()}) == 3
    assert drawn[1] != draw(videos, num_splits=1, test_share=0.3, seed=1)[1]


def test_a_drawn_split_is_the_same_in_every_version() -> None:
    videos = entries({(label, f"p{n}"): 2 for label in range(2) for n in range(5)})
    (split,) = draw(videos, num_splits=1, test_share=0.4, seed=7).values()
    assert {video.split("/")[1] for video in split.test} == {
        "p2",
        "p3",
    }  # the first two by sha256 of "7\n1\n<group>"


def test_drawn_splits_test_different_videos_or_are_refused() -> None:
    videos = entries({(label, f"g{n}"): 2 for label in range(2) for n in range(4)})
    for seed in range(12):
        drawn = draw(videos, num_splits=4, test_share=0.3, seed=seed)
        # 4 groups, one of which comes nearest to three tenths of each class.
        assert {split.test for split in drawn.values()} == {
            tuple(sorted(video.id for video in videos if video.group == f"g{n}")) for n in range(4)
        }
        assert draw(videos, num_splits=3, test_share=0.3, seed=seed) == dict(
            list(drawn.items())[:3]
        )
        with pytest.raises(
            ValueError,
            match=r"5 splits cannot be drawn: the 4 groups give only 4 different test sets .*--splits 4, ",
        ):
            draw(videos, num_splits=5, test_share=0.3, seed=seed)


def test_splits_that_do_not_meet_are_drawn_as_ever() -> None:
    videos = entries({(label, f"p{n}"): 2 for label in range(2) for n in range(5)})
    wanted = {
        split: set(sorted((f"p{n}" for n in range(5)), key=lambda group: sha256(f"7\n{split}\n{group}".encode()).digest())[:2])
        for split in range(1, 7)
    }  # fmt: skip
    drawn = draw(videos, num_splits=6, test_share=0.4, seed=7)
    seen: list[set[str]] = []
    met = 0
    for split, groups in wanted.items():
        found = {video.split("/")[1] for video in drawn[split].test}
        met += groups in seen
        assert (found == groups) is (groups not in seen)
        seen.append(found)
    assert met


@pytest.mark.parametrize(("number", "share"), [(0, 0.3), (1, 0.0), (1, 1.0)])
def test_a_draw_that_leaves_a_side_empty_is_refused(number: int, share: float) -> None:
    with pytest.raises(ValueError, match=r"draw at least 1|leaves one side empty"):
        draw(entries({(0, "a"): 1, (0, "b"): 1}), num_splits=number, test_share=share, seed=0)


def test_leaving_one_group_out_tests_every_video_once_in_the_order_of_numbers() -> None:
    videos = entries({(label, f"s{n}"): 1 for label in range(2) for n in (1, 2, 10)})
    splits, tested = leave_one_group_out(videos)
    assert tested == ("s1", "s2", "s10")
    assert sorted(v for split in splits.values() for v in split.test) == sorted(
        v.id for v in videos
    )
    assert splits[3].test == ("0/s10/0", "1/s10/0")
    with pytest.raises(ValueError, match="needs 2 groups and there are 1"):
        leave_one_group_out(entries({(0, "a"): 3}))
