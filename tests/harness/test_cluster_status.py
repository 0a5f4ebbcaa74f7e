"""What `status`, `logs`, `--dry-run` and a local run say of cells that were sent to a cluster."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import array_task, result, submission
from harness.workdir import Workdir
from slurm.job import Job
from tests.harness.faked import content, invoke, name_of_jobs, run, write_command
from tests.harness.running import NUM_CELLS, Harness, tiny
from tests.harness.running import environment as environ


@pytest.fixture
def sent_to(work: Path) -> Path:
    """The folder of a submission: arrays 10 (no needs), 11 (pretraining), 12 (needs 11), and the closing job 13."""
    return Path(content(run(work, "--allow-dirty", "--json"))["submission"])


def say(work: Path, *lines: str) -> None:
    """What squeue says from now on; NAME stands for the name of our jobs."""
    (work.parent / "squeue").write_text(
        "".join(line.replace("NAME", name_of_jobs(work)) + "\n" for line in lines)
    )


def opened(work: Path) -> list[dict[str, Any]]:
    told = invoke("status", "fig12", "--workdir", str(work), "--json")
    return json.loads(told.stdout)["open"]  # type: ignore[no-any-return]


def of_job(work: Path, job: str) -> dict[str, Any]:
    return next(each for each in opened(work) if each["job"]["id"] == job)


def test_a_job_that_died_is_told_with_node_signal_last_words_and_what_follows(
    work: Path, sent_to: Path
) -> None:
    say(work, "11_0|FAILED|n3|NonZeroExitCode|NAME")
    write_command(
        work.parent / "bin" / "scontrol",
        f"echo 'JobId=11 ArrayJobId=11 ArrayTaskId=0 JobName={name_of_jobs(work)} JobState=FAILED Reason=NonZeroExitCode "
        "ExitCode=0:9 NodeList=n3'",
    )
    log = submission.job_log(sent_to, "11_0")
    log.write_text(
        "task a1[0] has 1 of 1 cells to do\nslurmstepd: error: oom-kill event\n\nsrun: error: n3: task 0: Killed\n"
    )
    told = of_job(work, "11_0")
    assert told["state"] == "failed"
    assert told["detail"] == (
        "job 11_0 FAILED on n3 (NonZeroExitCode, ended by SIGKILL), whose log ends with 'slurmstepd: error: oom-kill "
        "event'; give it more memory (memory_gb), then the next `harness run` sends it again"
    )
    assert told["job"] == {
        "id": "11_0", "state": "FAILED", "node": "n3", "reason": "NonZeroExitCode", "exit": "ended by SIGKILL",
        "log": str(log),
    }  # fmt: skip


def test_a_job_that_never_starts_is_told_with_the_cell_that_failed(
    work: Path, sent_to: Path
) -> None:
    say(work, "11_0|FAILED|n3|NonZeroExitCode|NAME", "12_0|CANCELLED||DependencyNeverSatisfied|NAME")  # fmt: skip
    pretraining = of_job(work, "11_0")["cell"]
    told = of_job(work, "12_0")
    assert told["state"] == "missing"
    assert told["detail"] == (
        f"job 12_0 CANCELLED (DependencyNeverSatisfied): it needs cell {pretraining}, which failed: mend that, then the "
        "next `harness run` sends it again"
    )


def test_a_job_that_saved_and_left_is_missing_whatever_its_exit_code(
    work: Path, sent_to: Path
) -> None:
    say(work, "11_0|FAILED|n3|NonZeroExitCode|NAME")
    mark = submission.left(sent_to, "11_0")
    mark.parent.mkdir()
    mark.touch()
    told = of_job(work, "11_0")
    assert told["state"] == "missing"
    assert told["detail"].endswith("it saved and left when it was asked to; the next `harness run` continues from there")  # fmt: skip


@pytest.mark.parametrize(
    ("line", "state", "words"),
    [
        ("12_0|PENDING||Dependency|NAME", "waiting", "it starts when the cells that it needs are done"),
        ("12_0|PENDING||BeginTime|NAME", "waiting", "SLURM runs it again in a moment"),
        ("12_0|PENDING||JobHeldUser|NAME", "waiting", "scontrol release"),
        ("12_0|SUSPENDED|n1|None|NAME", "waiting", "it goes on when SLURM resumes it"),
        ("12_0|REQUEUED|n1|None|NAME", "waiting", "job 12_0 REQUEUED on n1"),
        ("12_0|NODE_FAIL|n1|None|NAME", "missing", "job 12_0 NODE_FAIL on n1; the next `harness run` sends it again"),
        ("12_0|PREEMPTED|n1|None|NAME", "missing", "job 12_0 PREEMPTED on n1; the next"),
        ("12_0|TIMEOUT|n1|None|NAME", "missing", "job 12_0 TIMEOUT on n1; the next"),
        ("12_0|OUT_OF_MEMORY|n1|None|NAME", "failed", "give it more memory (memory_gb)"),
        ("", "missing", "job 12_0 is over and forgotten; the next `harness run` sends it again"),
        ("12_0||n1|None|NAME", "missing", "is over and forgotten"),
    ],
)  # fmt: skip
def test_every_way_to_wait_and_to_end_is_told(
    work: Path, sent_to: Path, line: str, state: str, words: str
) -> None:
    say(work, line)
    told = of_job(work, "12_0")
    assert (told["state"], words in told["detail"]) == (state, True), told


def test_a_failure_of_an_earlier_job_does_not_hide_what_became_of_the_newest(
    work: Path, sent_to: Path
) -> None:
    cell = of_key(sent_to, "11_0")
    old = attempt_of(work, cell, "3_0")
    result.write_failure(old, error="RuntimeError: a bug that was mended yesterday")
    say(work, "11_0|CANCELLED|n1|None|NAME")
    told = of_job(work, "11_0")
    assert (told["state"], "mended yesterday" in told["detail"]) == ("missing", False)
    new = attempt_of(work, cell, "11_0")
    result.write_failure(new, error="RuntimeError: another")
    say(work, "11_0|FAILED|n1|NonZeroExitCode|NAME")
    told = of_job(work, "11_0")
    assert told["state"] == "failed"
    assert told["detail"].startswith("RuntimeError: another (job 11_0 FAILED on n1")


def test_a_worker_that_the_kernel_killed_for_its_memory_is_told_as_that(
    work: Path, sent_to: Path
) -> None:
    """A cgroup's limit kills the worker alone: its task lives on and notes a death by SIGKILL."""
    attempt = attempt_of(work, of_key(sent_to, "11_0"), "11_0")
    result.write_failure(attempt, error="its worker was killed by SIGKILL, 3 times in a row")
    say(work, "11_0|OUT_OF_MEMORY|n1|OutOfMemory|NAME")
    told = of_job(work, "11_0")["detail"]
    assert told.startswith(
        "its worker was killed by SIGKILL, 3 times in a row (job 11_0 OUT_OF_MEM"
    )
    assert "give it more memory (memory_gb)" in told


def test_a_death_before_an_attempt_began_is_not_written_into_an_earlier_one(
    work: Path, sent_to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = of_key(sent_to, "11_0")
    earlier = attempt_of(work, cell, "3_0")
    for name, value in (("JOB_ID", "14"), ("ARRAY_JOB_ID", "11"), ("ARRAY_TASK_ID", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    result.note_death(Workdir(work), cell, "its worker was killed")
    assert not (earlier / "failure.json").exists()
    newest = sorted(earlier.parent.glob("attempt-*"))[-1]
    assert (result.made_by(newest), newest != earlier) == ("11_0", True)
    result.note_death(Workdir(work), cell, "another word")
    assert json.loads((newest / "failure.json").read_bytes())["error"] == "its worker was killed"


@pytest.mark.parametrize(
    ("restarts", "saved", "mark", "asked"),
    [(0, False, False, True), (1, True, False, True), (1, False, False, False), (0, True, True, False)],
)  # fmt: skip
def test_a_task_asks_to_be_run_again_only_where_that_is_of_use(
    work: Path, sent_to: Path, monkeypatch: pytest.MonkeyPatch, restarts: int, saved: bool, mark: bool, asked: bool
) -> None:  # fmt: skip
    """Not when nothing was saved since the last time, and not when another node's rank failed."""
    for name, value in (("JOB_ID", "11"), ("ARRAY_JOB_ID", "11"), ("ARRAY_TASK_ID", "0"), ("RESTART_COUNT", str(restarts)), ("NODEID", "0")):  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    requeued: list[str] = []
    monkeypatch.setattr(array_task, "requeue_this_job", lambda: requeued.append("") or "")
    left = submission.left(sent_to, "11_0")

    def interrupted(folder: Path, workdir: Workdir, jobs: list[Job], *words: object) -> list[str]:
        if saved:
            (attempt_of(work, jobs[0].id, "11_0") / "checkpoint-000000007.pt").touch()
        if mark:
            array_task.broken(left).parent.mkdir(exist_ok=True)
            array_task.broken(left).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(array_task, "_on_this_node", interrupted)
    before = {each: signal.getsignal(each) for each in array_task.SIGNALS}
    try:
        code = array_task.main([str(sent_to), "a1"])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert (bool(requeued), code) == (asked, 1 if mark else 75)
    assert left.exists() is not mark


def of_key(submitted: Path, task: str) -> str:
    cells = json.loads((submitted / "submission.json").read_bytes())["cells"]
    return next(key for key, each in cells.items() if each == task)


def attempt_of(work: Path, key: str, job: str) -> Path:
    """An attempt at a cell, made by a job."""
    folder = work / "runs" / key[:16]
    number = len(list(folder.glob("*"))) if folder.exists() else 0
    attempt = folder / f"attempt-20260101T00000{number}.000000-1"
    attempt.mkdir(parents=True)
    (attempt / "provenance.json").write_text(json.dumps({"job": {"id": job}}))
    return attempt


def test_a_local_run_does_not_compute_what_the_cluster_has_in_hand(
    work: Path, sent_to: Path
) -> None:
    say(work, "12_0|RUNNING|n1|None|NAME")
    refused = invoke("run", "fig12", *tiny(), "--workdir", str(work))
    assert refused.exit_code == 2
    assert "cells of fig12 queue or run on the cluster" in refused.stderr
    assert "job 12_0 RUNNING on n1" in refused.stderr
    assert "harness cancel fig12" in refused.stderr
    assert not (work / "runs").exists()


def test_an_array_is_found_again_whose_driver_died_while_it_was_sent(work: Path) -> None:
    """Sbatch took the first array, and the driver was killed before it knew the id."""
    dies = f"echo $$ > {work.parent}/n; kill -9 $PPID; sleep 60"
    write_command(work.parent / "bin" / "sbatch", dies)
    harness = Harness(work)
    killed = harness("run", "fig12", *tiny(), "--cluster", "slurm", "--allow-dirty", code=None)
    assert killed.returncode == -9
    say(work, "10_0|PENDING||Resources|NAME")
    states = [each["state"] for each in opened(work)]
    assert states.count("waiting") == 8  # the array of cells without needs
    assert {each["job"]["id"] for each in opened(work) if "job" in each} == {"10_0"}
    write_command(work.parent / "bin" / "sbatch", "echo Submitted batch job 20")
    again = content(run(work, "--allow-dirty", "--json"))
    assert (again["sent"], again["in_hand"]) == (NUM_CELLS - 8, 8)


def test_a_cell_that_was_never_begun_shows_what_its_job_said(work: Path, sent_to: Path) -> None:
    say(work, "11_0|FAILED|n3|NonZeroExitCode|NAME")
    cell = of_job(work, "11_0")["cell"]
    nothing = invoke("logs", cell, "--workdir", str(work))
    assert "not begun; job 11_0 says nothing yet" in nothing.stderr
    submission.job_log(sent_to, "11_0").write_text("module: command not found\n")
    shown = invoke("logs", cell[:8], "--workdir", str(work))
    assert (shown.exit_code, shown.stdout) == (0, "module: command not found\n")
    assert "not begun; this is what job 11_0 says" in shown.stderr


def test_logs_are_followed_from_attempt_to_attempt_until_the_cell_is_done(
    copy_of_finished: Harness,
) -> None:
    work = Workdir(copy_of_finished.work)
    folder = sorted(path.parent for path in work.runs.glob("*/result.json"))[0]
    (folder / "result.json").rename(folder / "later")
    (attempt,) = folder.glob("attempt-*")
    text = (attempt / "log.txt").read_bytes()
    (attempt / "log.txt").write_bytes(text[:100])
    (attempt / "result.json").rename(attempt / "later")
    with work.locked("a test"):
        key = json.loads((attempt / "later").read_bytes())["cell"]
        (work.root / "driver.json").write_text(json.dumps({"running": [key], "waiting": []}))
        following = subprocess.Popen(
            [sys.executable, "-m", "harness", "logs", folder.name, "-f", "--workdir", str(work.root)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(),
        )  # fmt: skip
        assert following.stdout is not None
        assert following.stdout.read(100) == text[:100]
        with (attempt / "log.txt").open("ab") as sink:
            sink.write(text[100:])
        assert following.stdout.read(len(text) - 100) == text[100:]
        second = folder / "attempt-29990101T000000.000000-1"
        second.mkdir()
        (second / "log.txt").write_text("again, é\n")
        assert following.stdout.read(10).decode() == "again, é\n"
        (folder / "later").rename(folder / "result.json")
        rest, told = following.communicate(timeout=30)
    assert (rest, following.returncode) == (b"", 0)
    assert str(second) in told.decode()


def test_following_the_log_of_a_cell_that_nobody_has_ends_with_its_error(
    copy_of_finished: Harness,
) -> None:
    work = Workdir(copy_of_finished.work)
    folder = sorted(path.parent for path in work.runs.glob("*/result.json"))[0]
    (folder / "result.json").unlink()
    (attempt,) = folder.glob("attempt-*")
    (attempt / "result.json").unlink()
    result.write_failure(attempt, error="RuntimeError: out of luck")
    told = invoke("logs", folder.name, "-f", "--workdir", str(work.root))
    assert told.exit_code == 1
    assert "harness: RuntimeError: out of luck" in told.stderr
    assert "accepted: " in told.stdout


def test_a_dry_run_tells_what_is_stale_and_why(copy_of_finished: Harness) -> None:
    work = copy_of_finished.work
    path = sorted(work.glob("runs/*/result.json"))[0]
    body = json.loads(path.read_bytes())
    body["description"]["task"]["version"] -= 1  # as if the task's version was raised since
    path.write_text(json.dumps(body))
    path.parent.rename(path.parent.with_name("0" * 16))
    told = content(invoke("run", "fig12", *tiny(), "--workdir", str(work), "--dry-run", "--json"))
    now = body["description"]["task"]["version"] + 1
    assert (told["done"], told["to_run"]) == (NUM_CELLS - 1, 1)
    assert told["stale"] == [
        f"cell {path.parent.name} was last done as {'0' * 16}: task.version was {now - 1} and is {now}"
    ]
    shown = invoke("run", "fig12", *tiny(), "--workdir", str(work), "--dry-run").stdout
    assert f"{NUM_CELLS - 1} done, 1 to run, 1 of them stale" in shown
    other_knobs = invoke("run", "fig12", *tiny(units=6), "--workdir", str(work), "--dry-run")
    assert "stale" not in other_knobs.stdout
