"""Disks that are full, over quota, read-only or failing, at every point of writing: nothing finished is lost or done again."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.workdir import Workdir, WorkdirUnusable
from tests.faults.forked import QUICK, At, Forked, Left
from tests.faults.points import ROOT, Plan
from tests.faults.small_disk import mounts, small_disk
from tests.harness.running import Harness

WORDS = {
    "ENOSPC": "No space left on device",
    "EDQUOT": "Disk quota exceeded",
    "EROFS": "Read-only file system",
    "EIO": "Input/output error",
}


def disturbed(quickly: Forked, work: Path, undisturbed: Left, **faults: object) -> str:
    """Run with faults; what was accepted before is neither lost nor done again, and no traceback is shown.

    Returns:
        What was said, or nothing where all went well.
    """
    left = Left(work)
    accepted, attempts = left.accepted, left.attempts
    ended = quickly.run(work, code=None, **faults)
    assert ended.code in (0, 1, 2), ended.err
    assert "Traceback" not in ended.err
    for cell, content in accepted.items():
        assert left.accepted[cell] == content
        assert left.attempts[cell] == attempts[cell]
    for cell in left.accepted:
        assert f"harness logs {cell}" not in ended.err  # advice on a cell that failed
    assert not left.half_written
    if ended.code == 0:
        assert left.reports == undisturbed.reports
    return ended.err if ended.code else ""


@pytest.mark.parametrize("seed", range(2))
def test_a_disk_that_is_full_again_and_again_from_any_point_on_loses_nothing(
    seed: int, quickly: Forked, undisturbed: Left, tmp_path: Path
) -> None:
    chosen, work, said = random.Random(seed), tmp_path / "work", []
    for trial in range(7):
        error = chosen.choice(["ENOSPC", "ENOSPC", "EDQUOT", "EROFS"])
        start = chosen.randint(1, 30 + 10 * trial)
        plan = Plan.of(tmp_path / f"plan-{trial}", **{"from": start, "error": error})
        told = disturbed(quickly, work, undisturbed, plan=plan.environment)
        assert WORDS[error] in told or not told
        said.append(told)
    assert any(said)
    quickly.run(work)
    assert Left(work).is_as(undisturbed)
    assert not Left(work).half_written
    before = Left(work).attempts
    quickly.run(work)
    assert Left(work).attempts == before


def test_an_error_of_the_disk_at_any_one_point_loses_nothing(
    quickly: Forked, undisturbed: Left, tmp_path: Path
) -> None:
    chosen, work, faults = random.Random(7), tmp_path / "work", 0
    for trial in range(6):
        points = {chosen.randint(1, 60): chosen.choice(list(WORDS)) for _ in range(2)}
        plan = Plan.of(tmp_path / f"plan-{trial}", points)
        disturbed(quickly, work, undisturbed, plan=plan.environment)
        faults += sum(number <= len(plan.points) for number in points)
    assert faults > 6
    quickly.run(work)
    assert Left(work).is_as(undisturbed)
    assert not Left(work).half_written


@pytest.mark.parametrize(
    ("point", "ending", "accepted"),
    [
        ("linked", "result.json", 1),
        ("remove", ".pt", 1),
        ("copy", "predictions.parquet", 1),  # MLflow gets what is there while others are computed
        ("rename", "quick.csv", 3),
    ],
)
def test_a_disk_that_is_full_from_acceptance_on_leaves_what_was_accepted(
    point: str, ending: str, accepted: int, quickly: Forked, undisturbed: Left, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    said = disturbed(quickly, work, undisturbed, at=At(point, ending, "ENOSPC"))
    assert len(Left(work).accepted) >= accepted
    if point in ("linked", "remove"):
        # The cell that was accepted has not failed: those that need it were tried, and so was the last.
        assert "a cell that it needs failed" not in said
        assert len(Left(work).attempts) == 3
        assert "why 2 cells failed could not be written to the work folder (No space left" in said
    before = Left(work).attempts
    done = set(Left(work).accepted)
    quickly.run(work)
    assert Left(work).is_as(undisturbed)
    assert all(Left(work).attempts[cell] == before[cell] for cell in done)


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A real file system of 24 MB."""
    yield from small_disk(request, tmp_path / "disk", 24)


def fill(disk: Path, free_kb: int) -> None:
    """Leave so much space."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as sink:
        size = shutil.disk_usage(disk).free - 1024 * free_kb
        os.posix_fallocate(sink.fileno(), 0, size)


def test_a_real_disk_that_fills_up_loses_nothing(
    quickly: Forked, undisturbed: Left, disk: Path
) -> None:
    work, said = disk / "work", []
    for free_kb in (4, 60, 200, 400, 700, 1100):
        fill(disk, free_kb)
        said.append(disturbed(quickly, work, undisturbed))
    assert sum("No space left on device" in each for each in said) >= 3
    (disk / "ballast").unlink()
    quickly.run(work)
    assert Left(work).is_as(undisturbed)
    assert not Left(work).half_written


def test_workers_on_a_real_disk_that_fills_up_lose_nothing(
    quickly: Forked, undisturbed: Left, disk: Path
) -> None:
    left = Left(disk / "work")
    fill(disk, 400)
    done = Harness(left.work)("run", f"{QUICK}:quick", "--jobs", "2", code=1)
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not left.half_written
    before, accepted = left.attempts, left.accepted
    (disk / "ballast").unlink()
    quickly.run(left.work)
    assert left.is_as(undisturbed)
    assert all(left.attempts[cell] == before[cell] for cell in accepted)


def test_a_full_disk_takes_no_probes_one_a_try(disk: Path) -> None:
    workdir = Workdir(disk / "work")
    workdir.prepare()
    fill(disk, 0)
    for _ in range(3):
        with pytest.raises(WorkdirUnusable, match="No space left on device"):
            workdir.prepare()
    assert list(workdir.root.iterdir()) == []


def test_a_work_folder_that_became_read_only_can_be_looked_at_and_is_refused_to_runs(
    quickly: Forked, undisturbed: Left, disk: Path
) -> None:
    work = disk / "work"
    shutil.copytree(undisturbed.work, work)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    assert mounts("-o", "remount,ro", disk)
    words = (f"{QUICK}:quick", "--workdir", str(work))
    assert "cannot be written (Read-only file system)" in quickly("run", *words, code=2).err
    assert json.loads(quickly("status", *words, "--json").out)["done"] == 3
    (short, *_) = undisturbed.accepted
    assert quickly("logs", short, "--workdir", str(work)).out
    for verb in ("collect", "report"):
        ended = quickly(verb, *words, code=None)
        assert "Traceback" not in ended.err
        assert ended.code == 0 or "Read-only file system" in ended.err or "read" in ended.err
    assert before == {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    assert mounts("-o", "remount,rw", disk)
    assert "nothing to run" in quickly("run", *words, "--cluster", "inline").err


def test_a_data_folder_that_is_read_only_does_for_runs_and_refuses_what_would_write_there(
    quickly: Forked, undisturbed: Left, disk: Path, tmp_path: Path
) -> None:
    data = disk / "data"
    data.mkdir()
    (tmp_path / "videos/a").mkdir(parents=True)
    assert mounts("-o", "remount,ro", disk)
    env = {"HARNESS_DATA": str(data)}
    quickly.run(tmp_path / "work", env=env)
    assert Left(tmp_path / "work").is_as(undisturbed)
    ended = quickly("data", "fetch", "mnist", env={**env, "HARNESS_MIRROR": ""}, code=1)
    assert "Read-only file system" in ended.err
    assert "Traceback" not in ended.err
    assert list(data.iterdir()) == []


PRINTS = """
import logging, os, sys
from pathlib import Path
from harness.attempt import logged
before = os.readlink("/proc/self/fd/1"), os.readlink("/proc/self/fd/2")
with logged(Path("/dev/full")):
    print("lost")
    logging.getLogger().info("lost")
assert (os.readlink("/proc/self/fd/1"), os.readlink("/proc/self/fd/2")) == before
with logged(Path(sys.argv[1])):
    print("kept")
print("after")
"""


def test_a_log_that_cannot_be_written_fails_nothing_and_the_next_one_is_its_own(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, str(tmp_path / "log.txt")], cwd=ROOT, text=True,
        capture_output=True, check=False, timeout=200,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log.txt").read_text() == "kept\n"
    assert done.stdout == "after\n"
    assert "Traceback" not in done.stderr
