"""Exactly one attempt at a cell is accepted, and whole: at once, without hard links, on a full disk, and when it is said too late."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import result
from harness.workdir import Workdir
from tasks.data import writing
from tasks.data.feature_plan import NAME, StoreMismatch, StorePlan
from tests.faults.at_once import key_of, refuse_links

KEY = key_of(1)
REFUSALS = ["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EMLINK", "EXDEV"]


def sealed(folder: Path, name: str, key: str = KEY) -> Path:
    attempt = Workdir(folder).accepted(key).parent / name
    attempt.mkdir(parents=True)
    result.seal(attempt, {"cell": key, "scores": [], "by": name}, {"weights.bin": b"12345"})
    return attempt


def accepted(folder: Path, key: str = KEY) -> str:
    """The attempt that counts; every file of it is as it was sealed."""
    found = result.read_key(Workdir(folder), key, verify=True)
    return "" if found is None else found.attempt


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Refuses hard links from now on, with this error."""

    def refuse(name: str) -> None:
        monkeypatch.setattr(os, "link", os.link)  # so that it comes back at the end
        refuse_links(name)

    return refuse


@pytest.mark.parametrize(
    ("cells", "attempts", "refusal"),
    [(64, 1, ""), (1, 64, ""), (64, 1, "EPERM"), (1, 64, "ENOSYS")],
    ids=["64-cells", "1-cell", "64-cells-no-links", "1-cell-no-links"],
)
def test_of_64_processes_at_once_one_a_cell_is_accepted_and_readers_see_it_whole_or_not_at_all(
    cells: int, attempts: int, refusal: str, tmp_path: Path
) -> None:
    words = [str(tmp_path), str(cells), str(attempts), *([refusal] if refusal else [])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.at_once", *words],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["reader"] == 0, done.stderr
    for cell in range(cells):
        assert told["accepted"][key_of(cell)] == [accepted(tmp_path, key_of(cell))]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_without_hard_links_the_first_is_accepted_and_the_second_told(
    refusal: str, tmp_path: Path, links: Callable[[str], None]
) -> None:
    first, second = sealed(tmp_path, "attempt-1"), sealed(tmp_path, "attempt-2")
    links(refusal)
    assert result.accept(first)
    assert not result.accept(second)
    assert accepted(tmp_path) == "attempt-1"


POINTS = ["link", "open", "half", "written", "rename", "renamed"]
"""That are reached when a result is accepted without hard links, in order."""


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_without_hard_links_an_error_leaves_the_whole_result_or_none(
    point: str, error: int, tmp_path: Path, links: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first, second = sealed(tmp_path, "attempt-1"), sealed(tmp_path, "attempt-2")
    links("EPERM")
    reached = fails_at(monkeypatch, point, error)
    if point == "renamed":  # it is there: it counts, and is said to
        assert result.accept(first)
    else:
        with pytest.raises(OSError, match=os.strerror(error)):
            result.accept(first)
        assert accepted(tmp_path) == ""
    assert reached == POINTS[: POINTS.index(point) + 1]
    monkeypatch.setattr(writing, "reached", lambda point, path: None)
    assert result.accept(second) == (point != "renamed")
    assert accepted(tmp_path) == ("attempt-1" if point == "renamed" else "attempt-2")
    left = {path.name for path in first.parent.iterdir()}
    assert left == {"attempt-1", "attempt-2", "result.json", ".lock"}


@pytest.mark.parametrize("point", POINTS)
def test_without_hard_links_a_kill_leaves_the_whole_result_or_none(
    point: str, tmp_path: Path
) -> None:
    first, second = sealed(tmp_path, "attempt-1"), sealed(tmp_path, "attempt-2")
    killed = f"""
import os
from pathlib import Path
from harness import result
from tasks.data import writing
from tests.faults.at_once import refuse_links
refuse_links("EPERM")
writing.reached = lambda point, path: os.kill(os.getpid(), 9) if point == {point!r} else None
result.accept(Path({str(first)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", killed], cwd=Path(__file__).parents[2], check=False, timeout=200
    )
    assert done.returncode == -9
    assert accepted(tmp_path) == ("attempt-1" if point == "renamed" else "")
    assert result.accept(second) == (point != "renamed")
    assert accepted(tmp_path) == ("attempt-1" if point == "renamed" else "attempt-2")


def test_an_error_after_the_link_does_not_make_an_accepted_result_a_failed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = sealed(tmp_path, "attempt-1")
    fails_at(monkeypatch, "linked", errno.EIO)
    assert result.accept(attempt)
    assert "accepted, though its folder could not be flushed" in caplog.text
    assert accepted(tmp_path) == "attempt-1"


def test_a_link_that_a_file_server_made_and_then_says_exists_is_the_attempts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sealed(tmp_path, "attempt-1"), sealed(tmp_path, "attempt-2")
    link = os.link

    def answered_twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)  # the request is sent again, as the answer was lost

    monkeypatch.setattr(os, "link", answered_twice)
    assert result.accept(first)
    assert not result.accept(second)
    assert accepted(tmp_path) == "attempt-1"


@pytest.mark.parametrize("refusal", [None, *REFUSALS])
def test_a_feature_store_is_begun_without_hard_links_as_with_them(
    refusal: str | None, tmp_path: Path, links: Callable[[str], None]
) -> None:
    def plan(of: str) -> StorePlan:
        return StorePlan.cut({"made": of}, [("v_1", 3), ("v_2", 4)], frame_size=5)

    if refusal:
        links(refusal)
    plan("one").write(tmp_path)
    assert (tmp_path / NAME).read_bytes() == plan("one").encoded()
    plan("one").write(tmp_path)
    with pytest.raises(StoreMismatch):
        plan("another").write(tmp_path)
    (tmp_path / ".lock").unlink(missing_ok=True)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_file_system_with_neither_links_nor_locks_says_so(
    tmp_path: Path, links: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = sealed(tmp_path, "attempt-1")
    links("ENOSYS")

    def no_locks(handle: object, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(OSError, match="neither hard links nor locks"):
        result.accept(attempt)
    assert accepted(tmp_path) == ""


def fails_at(monkeypatch: pytest.MonkeyPatch, where: str, error: int) -> list[str]:
    """Have a point raise an error; gives the points that are reached."""
    seen: list[str] = []

    def reached(point: str, path: Path) -> None:
        seen.append(point)
        if point == where:
            raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(writing, "reached", reached)
    return seen


def in_order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process does to names from now on, and which folders it flushes."""
    told: list[str] = []
    replace, link, mkdir, fsync = Path.replace, os.link, Path.mkdir, os.fsync

    def noted_replace(self: Path, target: Path) -> Path:
        told.append(f"name {target}")
        return replace(self, target)

    def noted_link(source: Path, target: Path) -> None:
        told.append(f"name {target}")
        link(source, target)

    def noted_mkdir(self: Path, *words: object, **more: object) -> None:
        if not self.exists():
            told.append(f"name {self}")
        mkdir(self, *words, **more)  # type: ignore[arg-type]

    def noted_fsync(handle: int) -> None:
        told.append(f"flush {Path(f'/proc/self/fd/{handle}').readlink()}")
        fsync(handle)

    monkeypatch.setattr(Path, "replace", noted_replace)
    monkeypatch.setattr(os, "link", noted_link)
    monkeypatch.setattr(Path, "mkdir", noted_mkdir)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    return told


def test_what_is_accepted_is_flushed_with_every_name_on_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Workdir(tmp_path / "work").accepted(KEY).parent
    told = in_order(monkeypatch)
    attempt = result._new_attempt(cell)
    result.seal(attempt, {"cell": KEY, "scores": []}, {"weights.bin": b"12345"})
    assert result.accept(attempt)
    named = [each.removeprefix("name ") for each in told if each.startswith("name ")]
    for path in (tmp_path / "work", cell.parent, cell, attempt, attempt / "weights.bin",
                 attempt / "result.json", cell / "result.json"):  # fmt: skip
        assert str(path) in named
    for place, each in enumerate(told):
        # A power cut may take a name away until its folder is flushed.
        if each.startswith("name "):
            folder = Path(each.removeprefix("name ")).parent
            assert f"flush {folder}" in told[place:], f"{each} is not followed by a flush"
    # Content first: a name must not be on disk before what it names.
    sealing = told.index(f"name {attempt / 'result.json'}")
    assert told[sealing - 1].startswith(f"flush {attempt}/.result.json.")
    assert told.index(f"name {cell / 'result.json'}") > told.index(f"flush {attempt}", sealing)
