"""`harness data` as a user types it: what is written, what is refused, what is said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from tasks.data import survey as surveying
from tasks.data.index import read
from tests.harness.running import environment
from tests.real_data import real_data
from tests.tasks.clips import truncate, write_clip
from tests.tasks.test_lists import write_hmdb, write_ucf

Decoded = list[str]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "140")
    return tmp_path / "data"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """Decoding happens in this process, and the files are noted."""
    noted: Decoded = []

    def here(root: Path, files: list[str], jobs: int) -> Iterator[tuple[str, surveying.Surveyed]]:
        for file in files:
            noted.append(file)
            yield file, surveying.look_at(root / file)

    monkeypatch.setattr(surveying, "_in_parallel", here)
    return noted


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two classes of four clips, each of two sources."""
    for name in ("run", "walk"):
        for group in ("g1", "g2"):
            for clip in ("c1", "c2"):
                write_clip(tmp_path / "videos" / name / f"{name}_{group}_{clip}.avi", 20)
    return tmp_path / "videos"


def data(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["data", *map(str, words)], prog_name="harness")
    assert done.exit_code == code, (done.exit_code, done.output, done.exception)
    return done


def test_labels_by_folder_and_groups_by_an_expression(
    videos: Path, root: Path, decoded: Decoded
) -> None:
    done = data(
        "index", "mine", "--videos", videos, "--labels", "by-folder", "--groups", r"_(g\d)_", "--splits", 2, "--seed", 3
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == (
        "mine: 8 videos, 2 classes, 2 groups, 160 frames, 0.1 minutes"
    )
    assert "split 2: 4 to train, 4 to test" in done.stdout
    assert "test share 0.3 asked, 0.50 drawn, seed 3" in done.stdout
    assert f"index: {root / 'mine' / 'index.json'}" in done.stdout
    found = read("mine")
    assert found.classes == ("run", "walk")
    assert {each.group for each in found.videos} == {"g1", "g2"}
    assert found.splits_from == "drawn"
    assert len(decoded) == 8


def test_json_says_what_was_indexed_and_listing_it_says_it_again(
    videos: Path, root: Path, decoded: Decoded
) -> None:
    done = data("index", "mine", "--videos", videos, "--unlabelled", "--json")
    told = json.loads(done.stdout)
    assert (told["videos"], told["classes"], told["frames"], told["splits"]) == (8, 0, 160, {})
    assert told["index"] == str(root / "mine" / "index.json")
    assert told["identity"] == read("mine").identity
    (root / "mine" / "percepts" / "rgb-vgg16").mkdir(parents=True)
    (root / "mine" / "percepts" / ".half").mkdir()
    (listed,) = json.loads(data("list", "--json").stdout)["sets"]
    assert listed["features"] == ["rgb-vgg16"]
    assert {key: listed[key] for key in ("videos", "frames", "identity")} == {
        key: told[key] for key in ("videos", "frames", "identity")
    }
    assert data("list").stdout.splitlines()[1].split() == (
        ["mine", "8", "0", "0", "160", "0.00", "0", "rgb-vgg16"]
    )


def test_examples_in_help_stay_lines_of_their_own() -> None:
    for words in ((), ("import-features",)):
        shown = data(*words, "--help").stdout
        assert "\\b" not in shown
        examples = [line for line in shown.splitlines() if line.startswith("  harness data ")]
        assert len(examples) == (1 if words else 5)


def test_listing_nothing_says_how_to_begin(root: Path) -> None:
    assert "no set is indexed" in data("list").stdout


def test_listing_names_a_damaged_index_beside_the_others(
    videos: Path, root: Path, decoded: Decoded
) -> None:
    for name in ("mine", "yours"):
        data("index", name, "--videos", videos, "--unlabelled")
    (root / "yours" / "index.json").write_text("{}")
    done = data("list", code=1)
    assert "mine " in done.stdout
    assert "does not match its own checksum" in done.stderr
    assert "does not match its own checksum" in data("verify", "yours", code=2).stderr


def test_bad_files_are_all_listed_and_nothing_is_written_unless_they_are_skipped(
    videos: Path, root: Path, decoded: Decoded, tmp_path: Path
) -> None:
    lists = write_ucf(tmp_path / "lists")
    for line in (lists / "trainlist01.txt").read_text().split("\n"):
        if line.strip():
            write_clip(tmp_path / "ucf" / line.split(" ")[0], 20, height=96, width=96)
    for line in (lists / "testlist01.txt").read_text().split("\n"):
        if line.strip():
            write_clip(tmp_path / "ucf" / line.strip(), 12)
    folder = tmp_path / "ucf"
    (folder / "Run" / "v_Run_g01_c01.avi").unlink()
    truncate(folder / "Run" / "v_Run_g02_c01.avi")
    (folder / "Walk" / "v_Walk_g03_c01.avi").write_text("no video")
    write_clip(folder / "Walk" / "extra.avi", 20)
    words = ("index", "small", "--videos", folder, "--lists", lists)
    said = data(*words, code=1).stderr
    for line in (
        "1 missing: not in the folder\n  Run/v_Run_g01_c01.avi",
        "1 unreadable: no frame can be decoded\n  Walk/v_Walk_g03_c01.avi: it is no video",
        "1 damaged\n  Run/v_Run_g02_c01.avi: its container claims 20 frames",
        "1 extra: in the folder and not in the lists, left alone\n  Walk/extra.avi",
        "3 short: fewer than 16 frames, kept\n",
        "3 of 12 videos are missing or damaged",
        "leave them out by --skip-bad",
    ):
        assert line in said
    assert not (root / "small" / "index.json").exists()
    told = json.loads(data(*words, "--json", code=1).stdout)
    assert told["missing"] == ["Run/v_Run_g01_c01.avi"]
    assert told["index"] is None
    data(*words, "--skip-bad")
    found = read("small")
    assert {each.path for each in found.left_out} == {
        "Run/v_Run_g01_c01.avi",
        "Run/v_Run_g02_c01.avi",
        "Walk/v_Walk_g03_c01.avi",
    }
    assert len(found.videos) == 9
    assert len(decoded) == 11  # once each, extra and missing ones never
    assert json.loads(data("list", "--json").stdout)["sets"][0]["left_out"] == 3


def test_hmdb51s_format_works_with_names_of_spaces(
    tmp_path: Path, root: Path, decoded: Decoded
) -> None:
    lists = write_hmdb(tmp_path / "lists")
    for path in lists.glob("*_split1.txt"):
        name = path.name.removesuffix("_test_split1.txt")
        for line in path.read_text().splitlines():
            write_clip(tmp_path / "hmdb" / name / line.strip()[:-2], 18)
    data("index", "small", "--videos", tmp_path / "hmdb", "--lists", lists)
    assert len(read("small").videos) == 12
    assert read("small").splits_from == "hmdb51"


def test_an_official_name_needs_its_lists_and_all_its_videos(
    tmp_path: Path, root: Path, decoded: Decoded
) -> None:
    lists = write_ucf(tmp_path / "lists")
    folder = tmp_path / "ucf"
    for name in ("Run", "Walk"):
        for group in ("g01", "g02", "g03"):
            write_clip(folder / name / f"v_{name}_{group}_c01.avi", 20)
    said = data("index", "ucf101", "--videos", folder, "--unlabelled", code=2).stderr
    assert "ucf101 is the name of an official set" in said
    words = ("index", "ucf101", "--videos", folder, "--lists", lists)
    said = data(*words, code=1).stderr
    assert "ucf101 is not complete (videos: 12, not 13320)" in said
    assert "training and test videos in split 1: (8, 4), not (9537, 3783)" in said
    assert "take a part of ucf101 by --partial; no video was decoded yet" in said
    assert decoded == []
    done = data(*words, "--partial")
    assert "note: this is a part of ucf101: 6 of its 12 videos" in done.stdout
    assert read("ucf101").partial
    assert "ucf101 (partial)" in data("list").stdout


def test_lists_that_leak_are_refused_before_anything_is_decoded(
    videos: Path, tmp_path: Path, decoded: Decoded
) -> None:
    table = tmp_path / "leaky.csv"
    lines = [
        f"{name}_{group}_{clip}.avi,{name},{group},{'train' if clip == 'c1' else 'test'}"
        for name in ("run", "walk")
        for group in ("g1", "g2")
        for clip in ("c1", "c2")
    ]
    table.write_text("\n".join(["video,label,group,split", *lines]))
    said = data("index", "mine", "--videos", videos, "--labels", table, code=1).stderr
    assert "- group g1 is on both sides of split 1" in said
    assert "- group g2 is on both sides of split 1" in said
    assert decoded == []


def test_an_interrupted_indexing_continues(
    videos: Path, root: Path, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("index", "mine", "--videos", videos, "--unlabelled")
    look = surveying.look_at

    def interrupted(path: Path) -> surveying.Surveyed:
        if len(decoded) > 3:
            raise KeyboardInterrupt
        return look(path)

    monkeypatch.setattr(surveying, "look_at", interrupted)
    said = data(*words, code=130).stderr
    assert "interrupted" in said
    assert not (root / "mine" / "index.json").exists()
    first = decoded[:3]
    decoded.clear()
    monkeypatch.setattr(surveying, "look_at", look)
    data(*words)
    assert sorted([*first, *decoded]) == sorted(each.path for each in read("mine").videos)
    decoded.clear()
    data(*words)
    assert decoded == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "by exactly one of --lists DIR, --labels by-folder"),
        (("--unlabelled", "--labels", "by-folder"), "by exactly one of"),
        (("--labels", "folders"), "use by-folder, or the name of a CSV file"),
        (("--labels", "absent.csv"), "there is no such file"),
        (("--lists", "absent"), "is no folder"),
        (("--lists", "absent", "--groups", "(g)"), "--groups has no effect beside --lists"),
        (("--unlabelled", "--splits", "2"), "--splits has no effect, as no video is labelled"),
        (("--labels", "by-folder", "--splits", "0"), "use a number from 1, or leave-one-group-out"),
        (
            ("--labels", "by-folder", "--splits", "leave-one-group-out", "--seed", "1"),
            "--seed has no effect beside --splits leave-one-group-out",
        ),
        (("--unlabelled", "--partial"), "--partial has no effect without --lists"),
        (("--labels", "by-folder", "--groups", "("), "is no regular expression"),
        (("--labels", "by-folder", "--test-share", "1"), "test-share"),
    ],
)
def test_wrong_words_get_a_sentence_and_exit_code_2(
    videos: Path, root: Path, decoded: Decoded, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in data("index", "mine", "--videos", videos, *words, code=2).stderr
    assert decoded == []
    assert not root.exists()


def test_empty_and_absent_folders_and_impossible_names(tmp_path: Path, decoded: Decoded) -> None:
    (tmp_path / "empty").mkdir()
    words = ("--unlabelled", "--videos")
    assert "holds no videos" in data("index", "a", *words, tmp_path / "empty", code=2).stderr
    assert "is no folder" in data("index", "a", *words, tmp_path / "absent", code=2).stderr
    assert "is no name" in data("index", "a/b", *words, tmp_path / "empty", code=2).stderr
    assert "there is no index of 'nothing'" in data("verify", "nothing", code=2).stderr
    assert "digits is the name of built-in data, which runs would take instead" in (
        data("index", "digits", *words, tmp_path / "empty", code=2).stderr
    )
    assert "did you mean 'verify'" in data("verfy", "nothing", code=2).stderr


def test_verify_names_what_is_gone(videos: Path, decoded: Decoded) -> None:
    data("index", "mine", "--videos", videos, "--unlabelled")
    assert "8 of 8 files are there" in data("verify", "mine", "--full").stdout
    gone = videos / "run" / "run_g1_c1.avi"
    gone.unlink()
    done = data("verify", "mine", code=1)
    assert f"- {gone} is not there" in done.stderr
    assert "7 of 8 files" in done.stdout
    told = json.loads(data("verify", "mine", "--json", code=1).stdout)
    assert told["problems"] == [f"{gone} is not there"]


def test_names_with_quotes_spaces_and_letters_of_any_language(
    tmp_path: Path, decoded: Decoded
) -> None:
    for name in ('it\'s "one"', "zwei Äpfel", "三"):
        for clip in ("a b", "c,d"):
            write_clip(tmp_path / "my videos" / name / f"{clip}.avi", 16)
    data("index", "mine", "--videos", tmp_path / "my videos", "--labels", "by-folder")
    assert read("mine").classes == ('it\'s "one"', "zwei Äpfel", "三")
    assert read("mine").video("三/c,d").num_frames == 16


def test_ut_interaction_by_a_csv_leaves_one_sequence_out(tmp_path: Path, decoded: Decoded) -> None:
    folder = real_data("ut_interaction_set1")
    classes = ("shake hands", "hug", "kick", "point", "punch", "push")
    table = tmp_path / "ut.csv"
    lines = ["video,label,group"]
    for path in sorted(folder.glob("*.avi")):
        _, sequence, label = path.stem.split("_")
        lines.append(f"{path.name},{classes[int(label)]},{sequence}")
    table.write_text("\n".join(lines))
    data("index", "ut", "--videos", folder, "--labels", table, "--splits", "leave-one-group-out")
    found = read("ut")
    assert found.classes == tuple(sorted(classes))
    assert len(found.videos) == 60
    assert found.left_out == ()
    assert list(found.splits) == list(range(1, 11))
    for number, split in found.splits.items():
        assert {found.video(each).group for each in split.test} == {str(number)}
        assert len(split.train) + len(split.test) == 60
    assert sum(len(split.test) for split in found.splits.values()) == 60


def test_processes_in_parallel_find_what_one_finds(videos: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "harness", "data", "index", "mine", "--videos", str(videos)]
    environ = {**environment(), "HARNESS_DATA": str(tmp_path / "parallel")}
    done = subprocess.run(
        [*words, "--unlabelled", "--jobs", "2"],
        capture_output=True,
        text=True,
        env=environ,
        check=True,
    )
    assert "mine: 8 of 8 videos decoded" in done.stderr
    again = subprocess.run(
        [*words[:4], "list", "--json"], capture_output=True, text=True, env=environ, check=True
    )
    data("index", "mine", "--videos", videos, "--unlabelled", "--jobs", "1")
    assert json.loads(again.stdout)["sets"][0]["identity"] == read("mine").identity


@pytest.mark.parametrize(
    "words", [("data", "--help"), ("data", "index", "--help"), ("data", "list")]
)
def test_nothing_heavy_is_imported(words: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom harness.cli import cli\n"
        f"try:\n    cli({list(words)!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'av', 'cv2', 'numpy', 'rich'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
