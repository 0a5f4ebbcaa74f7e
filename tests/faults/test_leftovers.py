"""What killed processes leave: it is taken up where it was finished, and goes where it was not; what lives is left alone."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from configs.experiment import Experiment
from configs.fig12 import fig12
from harness import aftermath, files, orphans, plan, result
from harness.workdir import Workdir, WorkdirBusy
from slurm.job import Event, Job, signal_name
from slurm.local import Local
from tasks.cell import Cell
from tasks.data import writing

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from typing import BinaryIO
from tasks.data import writing

def reached(point, path):
    if point == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

writing.reached = reached
writing.write_whole(Path(sys.argv[1]), b"content" * 100)
"""


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    made = Workdir(tmp_path / "work")
    made.prepare()
    return made


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return fig12(methods=("pretrained",), shots=(1,), resamples=1)


@pytest.fixture
def cells(experiment: Experiment) -> tuple[Cell, Cell]:
    """A pretraining, and a classifier that needs it."""
    needed, needing = experiment.all_cells()
    return needed, needing


def killed(path: Path, point: str) -> None:
    """Have a process write a file and be killed at a point of that."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(path), point], check=False
    )
    assert done.returncode == -signal.SIGKILL


def seal(workdir: Workdir, cell: Cell, weights: bytes = b"weights") -> Path:
    """An attempt as it is on disk just before it is accepted."""
    attempt = result.new_attempt(workdir, cell)
    rests_on = {}
    for need in cell.needs:
        found = result.read(workdir, need)
        assert found is not None
        rests_on[need.key] = found.weights()
    body = {"cell": cell.key, "rests_on": rests_on, "scores": []}
    result.seal(attempt, body, {"model.safetensors": weights})
    return attempt


@pytest.mark.parametrize("point", ["half", "written", "rename"])
def test_what_a_killed_writer_left_goes(tmp_path: Path, point: str) -> None:
    killed(tmp_path / "file", point)
    (left,) = tmp_path.iterdir()
    assert writing.BESIDE.fullmatch(left.name)
    assert writing.remove_abandoned(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: dict[str, list[Path]] = {}

    def reached(point: str, path: Path) -> None:
        swept[point] = writing.remove_abandoned(path.parent)

    monkeypatch.setattr(writing, "reached", reached)
    writing.write_whole(tmp_path / "file", b"content")
    assert swept == {"open": [], "half": [], "written": [], "rename": [], "renamed": []}
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_that_is_swept_before_it_could_be_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, swept = fcntl.flock, []

    def flock(handle: object, how: int) -> None:
        if not swept:
            swept.append(next(tmp_path.iterdir()))
            swept[0].unlink()
        locked(handle, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", flock)
    writing.write_whole(tmp_path / "file", b"content")
    assert len(swept) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_what_a_killed_writer_left_goes_on_nfs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There an exclusive lock is given only on a file that is open for writing (flock(2))."""
    locked = fcntl.flock

    def flock(handle: BinaryIO, how: int) -> None:
        if how & fcntl.LOCK_EX and not handle.writable():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        locked(handle, how)

    killed(tmp_path / "file", "half")
    monkeypatch.setattr(fcntl, "flock", flock)
    (left,) = tmp_path.iterdir()
    assert writing.remove_abandoned(tmp_path) == [left]


def test_what_another_machine_was_writing_goes_a_day_later(tmp_path: Path) -> None:
    """Its lock may not be seen from here."""
    other = "beef" if writing.HOST != "beef" else "cafe"
    left = tmp_path / f".file.12.{other}0123abcd"
    left.touch()
    assert writing.remove_abandoned(tmp_path) == []
    days_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (days_ago, days_ago))
    assert writing.remove_abandoned(tmp_path) == [left]


def test_names_of_others_stay(tmp_path: Path) -> None:
    digits = f"{writing.HOST}0123abcd"
    names = [
        ".hidden", ".file.12.xyz", f"file.12.{digits}", f".12.{digits}", f".file.{digits}", ".file.12.0123abcd",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".folder.12.{digits}").mkdir()
    assert writing.remove_abandoned(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == len(names) + 1
    assert writing.remove_abandoned(tmp_path / "nowhere") == []


def test_where_there_are_no_locks_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: object, how: int) -> None:
        raise OSError(38, "Function not implemented")

    killed(tmp_path / "file", "half")
    monkeypatch.setattr(fcntl, "flock", flock)
    writing.write_whole(tmp_path / "other", b"content")
    assert writing.remove_abandoned(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_attempt_sweeps_what_earlier_ones_left(
    workdir: Workdir, cells: tuple[Cell, Cell]
) -> None:
    earlier = result.new_attempt(workdir, cells[0])
    killed(earlier / "checkpoint-000000002.pt", "half")
    files.write(earlier / "checkpoint-000000001.pt", b"whole")
    result.new_attempt(workdir, cells[0])
    assert [each.name for each in earlier.iterdir()] == ["checkpoint-000000001.pt"]


def test_a_run_begins_with_sweeping(
    workdir: Workdir, experiment: Experiment, cells: tuple[Cell, Cell]
) -> None:
    done, to_do = seal(workdir, cells[0]), result.new_attempt(workdir, cells[1])
    result.accept(done)
    lost_the_race = seal(workdir, cells[0])
    places = (
        workdir.root / "driver.json",
        workdir.root / "orders/fig12.json",
        workdir.report("fig12") / "fig12.png",
        workdir.report("paper") / "fig12/fig12.png",
        done / "checkpoint-000000004.pt",
        to_do / "cell.json",
    )
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        killed(place, "half")
    for attempt in (done, lost_the_race, to_do):
        files.write(attempt / "checkpoint-000000003.pt", b"whole")
    before = {path for path in workdir.root.rglob("*") if path.is_file()}
    told: list[str] = []
    aftermath.settled(experiment, workdir, told.append)
    gone = before - set(workdir.root.rglob("*"))
    assert len([path for path in gone if writing.BESIDE.fullmatch(path.name)]) == len(places)
    # Those of a cell that is done; the other continues from its own.
    assert {path for path in gone if not path.name.startswith(".")} == {
        attempt / "checkpoint-000000003.pt" for attempt in (done, lost_the_race)
    }
    assert told == []


def test_an_attempt_that_was_sealed_and_not_accepted_is_taken_up(
    workdir: Workdir, experiment: Experiment, cells: tuple[Cell, Cell]
) -> None:
    needed, needing = cells
    first = seal(workdir, needed)
    result.write_failure(first, error="OSError: [Errno 28] No space left on device")
    told: list[str] = []
    made = aftermath.settled(experiment, workdir, told.append)
    assert made.done[needed.key].folder == first
    assert [cell.key for cell in made.todo] == [needing.key]
    assert told == [
        f"cell {needed.short} was finished when its process was killed: its result is accepted"
    ]
    seal(workdir, needing)
    assert not aftermath.settled(experiment, workdir, told.append).todo
    assert not plan.take_up(needing, workdir)  # once is enough


@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "cut result", "other cell"])
def test_an_attempt_with_any_damage_is_not_taken_up(
    workdir: Workdir, cells: tuple[Cell, Cell], harm: str
) -> None:
    cell = cells[0]
    attempt = seal(workdir, cell)
    weights, sealed = attempt / "model.safetensors", attempt / "result.json"
    if harm == "cut":
        weights.write_bytes(b"weigh")
    elif harm == "flip":
        weights.write_bytes(b"weightz")
        os.utime(weights, ns=(0, 0))  # older than the result, as if nobody had touched it
    elif harm == "gone":
        weights.unlink()
    elif harm == "cut result":
        sealed.write_bytes(sealed.read_bytes()[:-9])
    else:
        cell = replace(cell, seed=cell.seed + 1)
        attempt.parent.rename(workdir.cell(cell))
    assert not plan.take_up(cell, workdir)
    assert result.read(workdir, cell) is None


def test_an_attempt_that_rests_on_other_weights_is_not_taken_up(
    workdir: Workdir, cells: tuple[Cell, Cell]
) -> None:
    needed, needing = cells
    first = seal(workdir, needed)
    result.accept(first)
    attempt = seal(workdir, needing)
    workdir.accepted(needed.key).unlink()
    assert not plan.take_up(needing, workdir)  # what it needs is not there
    (first / "result.json").unlink()
    result.accept(seal(workdir, needed, b"other weights"))
    assert not plan.take_up(needing, workdir)
    result.accept(seal(workdir, needing, b"of the other weights"))
    found = result.read(workdir, needing)
    assert found is not None
    assert found.folder != attempt


@pytest.mark.parametrize("number", [signal.SIGKILL, 40])
def test_a_worker_killed_by_any_signal_is_told_of(tmp_path: Path, number: int) -> None:
    """Most real-time signals have no name."""
    assert signal_name(number) == ("SIGKILL" if number == signal.SIGKILL else "signal 40")
    worker = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"]
    told: list[Event] = []
    Local(worker, slots=1, logs=tmp_path).run([Job(id="job")], told.append)
    assert told[-1].kind == "failed"
    assert f"3 times in a row: its worker was killed by {signal_name(number)}" in told[-1].detail


def orphan(workdir: Workdir, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """A process that inherited the lock of a driver which is gone, and does not leave."""
    with orphans.held(workdir) as kept:
        process = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)", *words],
            pass_fds=kept,
            stdout=subprocess.PIPE,
        )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def test_a_worker_without_driver_that_does_not_leave_is_ended_aloud(workdir: Workdir) -> None:
    told: list[str] = []
    orphans.wait(workdir, told.append)
    assert told == []
    process = orphan(workdir, ("-m", "harness.work", "order.json"))
    orphans.wait(workdir, told.append, patience_s=0.2)
    assert process.wait() == -signal.SIGKILL
    assert "workers of a run that was killed are still at work" in told[0]
    assert told[1] == f"worker {process.pid} did not leave: it is ended"
    orphans.wait(workdir, told.append)
    assert len(told) == 2


def test_what_is_no_worker_is_not_ended_and_the_run_is_refused(
    workdir: Workdir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the workers were on another machine, and the file system had locks between machines."""
    monkeypatch.setattr(orphans, "ENDING_S", 0.2)
    process = orphan(workdir, ())
    try:
        with pytest.raises(WorkdirBusy, match="cannot be ended from here"):
            orphans.wait(workdir, lambda text: None, patience_s=0.2)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    orphans.wait(workdir, lambda text: None)


def test_without_locks_nobody_is_waited_for(
    workdir: Workdir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: object, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with orphans.held(workdir) as kept:
        assert kept == ()
        orphans.wait(workdir, pytest.fail)
