"""Clocks that jump back and ahead: the newest attempt, why it failed, and whether files are younger than their result."""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness import checkpoint, plan, result, stamp, status, submission
from harness.workdir import Workdir
from tasks.cell import Cell
from tests.faults.forked import Forked, Left
from tests.harness.test_loop import PRETRAIN

CELL = Cell(task=PRETRAIN)
DAY = timedelta(days=1)


class Clock:
    """In the place of `datetime` in harness/stamp.py."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ = datetime(2031, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
        monkeypatch.setattr(stamp, "datetime", self)

    def now(self, zone: object) -> datetime:
        return self.now_

    strptime = staticmethod(datetime.strptime)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


JUMPS = [timedelta(0), -DAY, 3 * DAY, -timedelta(hours=1), timedelta(0), -400 * DAY]


def test_attempts_are_in_the_order_in_which_they_were_made(tmp_path: Path, clock: Clock) -> None:
    workdir, made = Workdir(tmp_path), []
    for jump in JUMPS:
        clock.now_ += jump
        made.append(result.new_attempt(workdir, CELL))
    assert result.attempts(workdir, CELL) == made
    assert len(set(made)) == len(JUMPS)


def test_submissions_are_in_the_order_in_which_they_were_sent(tmp_path: Path, clock: Clock) -> None:
    workdir, made = Workdir(tmp_path), []
    for jump in JUMPS:
        clock.now_ += jump
        folder = submission.new_folder(workdir)
        submission.Submission(folder=folder, experiment="fig12", cells={}).write()
        made.append(folder)
    assert [each.folder for each in submission.read_all(workdir)] == made


def test_at_the_same_moment_two_processes_of_one_number_make_two_attempts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = Workdir(tmp_path)
    monkeypatch.setattr(stamp, "name_after", lambda folder, prefix: f"{prefix}{next(names)}")
    names = iter(["the-same", "the-same", "another"])
    assert result.new_attempt(workdir, CELL) != result.new_attempt(workdir, CELL)


def test_why_the_newest_attempt_failed_is_told_after_the_clock_was_set_back(
    tmp_path: Path, clock: Clock
) -> None:
    workdir = Workdir(tmp_path)
    result.write_failure(result.new_attempt(workdir, CELL), error="the first")
    clock.now_ -= DAY
    assert result.failure(workdir, CELL) == "the first"
    killed = result.new_attempt(workdir, CELL)
    assert result.failure(workdir, CELL) is None  # it was begun again, and has not failed
    result.note_death(workdir, CELL.key, "was killed")
    assert result.failure(workdir, CELL) == "was killed"
    assert (killed / result.FAILURE).exists()
    (told,) = status.look(plan.of_cells((CELL,), workdir), workdir)
    assert (told.state, told.detail) == ("failed", "was killed")


def test_the_attempts_of_before_are_taken_up_after_the_clock_was_set_back(
    tmp_path: Path, clock: Clock
) -> None:
    workdir = Workdir(tmp_path)
    first = result.new_attempt(workdir, CELL)
    checkpoint.save(first, cell=CELL.key, step=10, state={"at": 10})
    clock.now_ -= DAY
    second = result.new_attempt(workdir, CELL)
    checkpoint.save(second, cell=CELL.key, step=20, state={"at": 20})
    for folder in (first, second):  # as a clock that jumped leaves them, or a copy
        for path in folder.glob("checkpoint-*"):
            os.utime(path, (time.time() - 86_400 * (folder == second),) * 2)
    assert checkpoint.newest(result.attempts(workdir, CELL), cell=CELL.key) == (20, {"at": 20})


@pytest.mark.parametrize("ahead", [-DAY, timedelta(0), DAY, 4000 * DAY])
def test_a_file_that_was_altered_is_noticed_wherever_the_clock_was_when_its_result_was_sealed(
    tmp_path: Path, ahead: timedelta
) -> None:
    workdir = Workdir(tmp_path)
    folder = result.new_attempt(workdir, CELL)
    result.seal(folder, {"cell": CELL.key, "scores": []}, {"weights.bin": b"12345"})
    assert result.accept(folder)
    sealed_at = time.time() + ahead.total_seconds()
    os.utime(folder / "weights.bin", (sealed_at - 1,) * 2)
    os.utime(workdir.accepted(CELL.key), (sealed_at,) * 2)
    assert result.read(workdir, CELL) is not None
    (folder / "weights.bin").write_bytes(b"54321")
    with pytest.raises(result.DamagedResult, match="was altered since it was written"):
        result.read(workdir, CELL)


def test_a_finished_work_folder_from_the_future_is_done_and_stays_so(
    quickly: Forked, undisturbed: Left, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed.work, tmp_path / "work")
    left = Left(tmp_path / "work")
    before, accepted = left.attempts, left.accepted
    for path in left.work.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() + 86_400,) * 2)
    quickly.run(left.work)
    assert (left.attempts, left.accepted) == (before, accepted)
    assert left.reports == undisturbed.reports
