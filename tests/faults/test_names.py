"""Work folders, experiment files, data and temporary folders and homes of any name: spaces, quotes, newlines, `;`, `%`, any letters."""

import json
import os
import shutil
from pathlib import Path

import pytest

from harness.workdir import Workdir
from tests.faults.forked import QUICK, Forked, Left
from tests.harness.running import Harness
from tests.tasks.clips import write_clip

NAMES = {
    "spaces": " a  b ",
    "quotes": 'it\'s "one" `two`',
    "newline": "one\ntwo\r\nthree\x0bfour\u2028five\x85",
    "shell": "a;b && $(touch owned) | $HOME * [x] {y} ~ > z < \\ !",
    "web": "50%20 a%b?c=d#e&f",
    "letters": "Äpfel 三 ☃ \u00a0 e\u0301 \u202e",
    "option": "--workdir",
    "no text": os.fsdecode(b"a\xffb"),
}
ALL = "".join(NAMES[each] for each in ("spaces", "quotes", "newline", "shell", "letters"))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return NAMES[request.param]


def test_a_folder_of_any_name_keeps_its_identity(name: str, tmp_path: Path) -> None:
    work = tmp_path / name
    work.mkdir()
    (first,) = Workdir(work).identities()
    told = (work / ".id").read_bytes()
    for _ in range(3):
        assert Workdir(work).identities() == (first,)
    assert (work / ".id").read_bytes() == told
    assert len(told.split(b"\n")) == 4

    moved = tmp_path / f"moved {name}"
    work.rename(moved)
    assert Workdir(moved).identities() == (first,)
    shutil.copytree(moved, work)
    second, *copied_from = Workdir(work).identities()
    assert copied_from == [first]
    assert second != first
    assert Workdir(work).identities() == (second, first)
    assert Workdir(moved).identities() == (first,)


@pytest.mark.parametrize("name", [ALL, NAMES["web"]], ids=["all", "web"])
def test_a_run_is_the_same_in_folders_of_any_name(
    name: str, quickly: Forked, undisturbed: Left, tmp_path: Path
) -> None:
    """But for the store, which lies elsewhere: its tests do, too."""
    place, store = tmp_path / name, tmp_path / "store"
    for each in ("home", "temporary", "data"):
        (place / each).mkdir(parents=True)
    store.mkdir()
    folders = {
        "HOME": place / "home",
        "TMPDIR": place / "temporary",
        "HARNESS_DATA": place / "data",
    }
    env = {key: str(value) for key, value in folders.items()}
    env["MLFLOW_TRACKING_URI"] = f"sqlite:///{store}/mlflow.db"
    experiment = place / "my file.py"
    shutil.copy(QUICK, experiment)
    work = place / name
    words = (f"{experiment}:quick", "--workdir", str(work))
    ended = quickly("run", *words, "--cluster", "inline", env=env)
    assert "Traceback" not in ended.err
    left = Left(work)
    assert left.reports == undisturbed.reports
    assert set(left.accepted) == set(undisturbed.accepted)
    assert json.loads(quickly("status", *words, "--json", env=env).out)["done"] == 3
    (short, *_) = left.accepted
    told = json.loads(quickly("logs", short, "--workdir", str(work), "--json", env=env).out)
    assert told["folder"].startswith(str(work))
    before = left.attempts
    assert "nothing to run" in quickly("run", *words, "--cluster", "inline", env=env).err
    assert left.attempts == before
    # Nothing was made under another name, as a part of this one or as its percents spell it.
    assert {path.name for path in tmp_path.iterdir()} == {name, "store"}
    assert {path.name for path in place.iterdir()} == {"home", "temporary", "data", "my file.py", name}  # fmt: skip


def test_a_work_folder_whose_name_is_no_text_is_refused_before_anything_starts(
    quickly: Forked, tmp_path: Path
) -> None:
    work = tmp_path / NAMES["no text"]
    ended = quickly.run(work, code=2)
    assert "is no UTF-8" in ended.err
    assert "Traceback" not in ended.err
    assert not work.exists()


def test_workers_find_a_folder_and_a_file_of_any_name(undisturbed: Left, tmp_path: Path) -> None:
    place = tmp_path / ALL
    place.mkdir()
    experiment = place / "my; file.py"
    shutil.copy(QUICK, experiment)
    harness = Harness(place / "work")
    harness("run", f"{experiment}:quick", "--jobs", "2")
    left = Left(harness.work)
    assert left.reports == undisturbed.reports
    assert {path.name for path in place.iterdir()} == {"my; file.py", "work"}


def test_data_and_videos_are_found_in_folders_of_any_name(
    name: str, quickly: Forked, tmp_path: Path
) -> None:
    place = tmp_path / name
    for clip in ("one", "two"):
        write_clip(place / "videos" / f"a {name}" / f"{clip}.avi", 16)
    env = {"HARNESS_DATA": str(place / "data")}
    words = ("--videos", str(place / "videos"), "--labels", "by-folder", "--jobs", "1")
    ended = quickly("data", "index", "mine", *words, env=env, code=None)
    if ended.code:  # names that a list of videos cannot hold are refused by name
        assert "Traceback" not in ended.err
        assert ended.code in (1, 2)
        return
    assert "2 of 2 files" in quickly("data", "verify", "mine", "--full", env=env).out
