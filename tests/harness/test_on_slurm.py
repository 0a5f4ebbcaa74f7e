"""`--cluster slurm` on a real SLURM of four nodes on this machine: the same numbers, whatever happens on the way."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.harness.on_slurm import LONG, SLOW, OnSlurm, cluster_file, jobs_in_queue
from tests.harness.running import NUM_CELLS, Harness, mlflow_cells, rows, sets, tiny
from tests.slurm.cluster import ThrowAwaySlurm


def test_fig12_through_arrays_is_that_of_the_local_pool_to_the_byte(
    finished: Harness, on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm
) -> None:
    sent = on_slurm.send(*tiny(), "--pack", "3")
    assert sent["sent"] == NUM_CELLS
    assert len(sent["jobs"]) == 4  # no needs, pretraining, what needs it, and the closing job
    assert jobs_in_queue(
        real_slurm
    )  # it returned while they were there: this is seen from another process
    assert on_slurm.status()["total"] == NUM_CELLS
    over = on_slurm.wait_until_over()
    assert over["done"] == NUM_CELLS, on_slurm.job_logs()
    deadline = time.monotonic() + 60
    while jobs_in_queue(real_slurm) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert on_slurm.csv() == finished.csv()
    cells = mlflow_cells(on_slurm.work)
    assert set(cells.values()) == {1}
    assert len(cells) == NUM_CELLS
    where = on_slurm.cells_of(sent)
    for body in on_slurm.results().values():
        job = body["provenance"]["job"]
        assert job["id"] == where[body["cell"]]
        assert job["node"] in real_slurm.names
    again = on_slurm("run", "fig12", *tiny(), "--cluster", "slurm", "--allow-dirty")
    assert f"nothing to run, all {NUM_CELLS} cells are done" in again.stderr
    assert not jobs_in_queue(real_slurm)


def test_after_scancel_of_one_task_exactly_its_cells_are_sent_again(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    one_at_a_time = cluster_file(tmp_path, max_parallel=1)
    words = tiny(methods="single_frame", resamples=2)
    sent = on_slurm.send(*words, "--pack", "1", cluster=one_at_a_time)
    cells = on_slurm.cells_of(sent)
    (victim,) = [key for key, task in cells.items() if task.endswith("_3")]
    real_slurm.ask("scancel", cells[victim])
    while_they_run = on_slurm.send(*words, "--pack", "1", cluster=one_at_a_time)
    assert set(on_slurm.cells_of(while_they_run)) == {victim}
    assert while_they_run["in_hand"] + while_they_run["done"] == 3
    nothing = on_slurm.send(*words, "--pack", "1", cluster=one_at_a_time)
    assert nothing["sent"] == 0
    assert on_slurm.wait_until_over()["done"] == 4
    assert len(on_slurm.attempts()) == 4  # no cell was run twice


def test_a_cell_whose_task_was_cancelled_is_missing_and_status_says_why(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm
) -> None:
    sent = on_slurm.send(*sets(LONG))
    on_slurm.wait_until_training()
    pretraining = on_slurm.first_task(sent)
    counts = on_slurm.status()
    assert (counts["running"], counts["waiting"]) == (1, 1)
    shown = on_slurm("status", "fig12", code=75).stdout
    assert f"job {pretraining} RUNNING on tn" in shown
    assert "PENDING (Dependency)" in shown
    assert on_slurm("cancel", "fig12").stderr.startswith("fig12: 3 jobs cancelled")
    over = on_slurm.wait_until_over()
    assert (over["missing"], over["failed"]) == (2, 0)
    assert f"job {pretraining} CANCELLED" in on_slurm("status", "fig12").stdout
    time.sleep(12)  # longer than a requeued job has to wait
    assert not jobs_in_queue(real_slurm)
    # It left at a step boundary, and continues from there.
    (saved,) = on_slurm.work.glob("runs/*/attempt-*/checkpoint-*.pt")
    on_slurm.send(*sets(LONG), "--follow")
    assert on_slurm.pretraining()["usage"]["resumed_from_step"] == int(saved.stem[-9:])


def test_a_signal_before_the_time_limit_saves_and_the_same_job_continues_to_the_same_bits(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    sent = on_slurm.send(*sets(LONG))
    on_slurm.wait_until_training()
    real_slurm.ask("scancel", "--signal=USR2", on_slurm.first_task(sent))
    assert on_slurm.wait_until_over()["done"] == 2, on_slurm.job_logs()
    body = on_slurm.pretraining()
    assert body["usage"]["resumed_from_step"] > 0
    assert body["provenance"]["job"]["restarts"] == 1
    undisturbed = OnSlurm(tmp_path / "undisturbed")
    undisturbed("run", "fig12", *sets(LONG), "--cluster", "inline")
    assert body["history"]["loss"] == undisturbed.pretraining()["history"]["loss"]
    assert body["scores"] == undisturbed.pretraining()["scores"]


def test_two_nodes_of_two_ranks_train_what_one_process_trains(
    finished: Harness, on_slurm: OnSlurm, tmp_path: Path
) -> None:
    two = cluster_file(tmp_path, pretrain_nodes=2, pretrain_ranks=2)
    words = tiny(methods="pretrained", shots=1, resamples=1)
    on_slurm.send(*words, "--follow", cluster=two)
    body = on_slurm.pretraining()
    alone = next(each for each in finished.results().values() if each["task"] == "Pretrain")
    assert (body["usage"]["ranks"], body["cell"]) == (4, alone["cell"])
    assert body["history"]["loss"] == pytest.approx(alone["history"]["loss"], rel=1e-6)
    assert [score["value"] for score in body["scores"]] == pytest.approx(
        [score["value"] for score in alone["scores"]], rel=1e-6
    )


def test_a_node_that_goes_down_in_mid_run_does_not_end_the_run(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm
) -> None:
    sent = on_slurm.send(*sets(LONG))
    on_slurm.wait_until_training()
    task = on_slurm.first_task(sent)
    node = real_slurm.ask("squeue", "-h", "--array", "-j", task, "--format=%N").strip()
    real_slurm.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        assert on_slurm.wait_until_over()["done"] == 2, on_slurm.job_logs()
    finally:
        real_slurm.heal()
    body = on_slurm.pretraining()
    assert body["provenance"]["job"]["restarts"] == 1
    assert body["usage"]["resumed_from_step"] > 0


BROKEN_PRETRAINING = """
from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class Broken(nn.Module):
    def __init__(self, frame_size):
        super().__init__()
        self.rnn = nn.GRU(frame_size, 6)

    def forward(self, frames_TBD):
        raise RuntimeError("out of luck")


def broken():
    return fig12(encoder=own(Broken), methods=("single_frame", "pretrained"), shots=(1,), resamples=1,
                 pretrain_steps=2, finetune_steps_few=2, single_frame_steps=3)
"""


def test_what_needs_a_cell_that_failed_never_starts_and_the_rest_is_drawn(
    on_slurm: OnSlurm, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BROKEN_PRETRAINING)
    done = on_slurm(
        "run", f"{file}:broken", "--cluster", "slurm", "--allow-dirty", "--follow", code=1
    )
    assert "RuntimeError: out of luck" in done.stderr
    counts = json.loads(on_slurm("status", "broken", "--json", code=1).stdout)
    assert (counts["done"], counts["failed"], counts["missing"]) == (1, 1, 1)
    assert "CANCELLED" in on_slurm("status", "broken", code=1).stdout
    assert {row["n"] for row in rows(on_slurm.csv("broken"))} == {"0", "1"}


def test_what_slurm_refuses_is_one_sentence_and_nothing_is_sent(
    on_slurm: OnSlurm, tmp_path: Path
) -> None:
    nowhere = cluster_file(tmp_path, partition="nowhere")
    refused = on_slurm("run", "fig12", *tiny(), "--cluster", nowhere, "--allow-dirty", code=2)
    assert "SLURM took nothing: " in refused.stderr
    assert "invalid partition specified: nowhere" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert on_slurm.status()["missing"] == NUM_CELLS


def test_a_preempted_job_saves_and_is_run_again(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    on_slurm.send(*sets(LONG), cluster=cluster_file(tmp_path, partition="low"))
    on_slurm.wait_until_training()
    urgent = real_slurm.ask(
        "sbatch", "-pmain", "-N4", "--exclusive", "-o/dev/null", "--wrap=sleep 1"
    )
    assert "Submitted" in urgent
    assert on_slurm.wait_until_over()["done"] == 2, on_slurm.job_logs()
    body = on_slurm.pretraining()
    assert body["provenance"]["job"]["restarts"] == 1
    assert body["usage"]["resumed_from_step"] > 0


ONE_RANK_FAILS = """
import os

from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class Unlucky(nn.Module):
    def __init__(self, frame_size):
        super().__init__()
        self.rnn = nn.GRU(frame_size, 6)

    def forward(self, frames_TBD):
        if os.environ["RANK"] == "1":
            raise RuntimeError("out of luck")
        return self.rnn(frames_TBD)[0]


def one_fails():
    return fig12(encoder=own(Unlucky), methods=("pretrained",), shots=(1,), resamples=1, pretrain_steps=5, finetune_steps_few=2)
"""


def test_one_failing_rank_of_two_nodes_ends_its_cell_with_its_own_error(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(ONE_RANK_FAILS)
    two = cluster_file(tmp_path, pretrain_nodes=2)
    began = time.monotonic()
    words = ("run", f"{tmp_path}/mine.py:one_fails", "--cluster", two, "--allow-dirty")
    on_slurm(*words)
    while not (list(on_slurm.work.glob("runs/*/attempt-*/failure.json"))):
        assert time.monotonic() - began < 60, on_slurm.job_logs()
        time.sleep(0.2)
    over = json.loads(on_slurm("status", "one_fails", "--json", "--watch", code=1).stdout)
    assert time.monotonic() - began < 90
    assert over["failures"][0]["detail"].startswith("rank 1: RuntimeError: out of luck")
    # The node that was ended because the other one failed does not take that for a preemption.
    deadline = time.monotonic() + 60
    while jobs_in_queue(real_slurm):
        assert time.monotonic() < deadline, (jobs_in_queue(real_slurm), on_slurm.job_logs())
        time.sleep(0.5)
    assert len({path.parent for path in on_slurm.work.glob("runs/*/attempt-*/failure.json")}) == 1
    assert "requeued" not in on_slurm.job_logs()


def test_a_killed_rank_of_two_nodes_is_told_and_not_the_others_broken_connection(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    dies = "os.kill(os.getpid(), 9)"
    (tmp_path / "mine.py").write_text(
        ONE_RANK_FAILS.replace('raise RuntimeError("out of luck")', dies)
    )
    two = cluster_file(tmp_path, pretrain_nodes=2)
    began = time.monotonic()
    on_slurm("run", f"{tmp_path}/mine.py:one_fails", "--cluster", two, "--allow-dirty")
    while jobs_in_queue(real_slurm):
        assert time.monotonic() - began < 90, on_slurm.job_logs()
        time.sleep(0.5)
    over = on_slurm.status("one_fails")
    assert over["failures"][0]["detail"].startswith("rank 1 was killed by SIGKILL on tn"), over


def test_following_can_be_left_and_the_jobs_go_on(on_slurm: OnSlurm) -> None:
    words = tiny(methods="single_frame", shots=1)
    follower = on_slurm.start(
        "run", "fig12", *words, "--cluster", "slurm", "--allow-dirty", "--follow"
    )
    deadline = time.monotonic() + 30
    while not list(on_slurm.work.glob("submissions/*/submission.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    follower.send_signal(signal.SIGINT)
    _, told = follower.communicate(timeout=30)
    assert follower.returncode == 75, told
    assert "the jobs go on" in told
    assert on_slurm.wait_until_over()["done"] == 2


def test_a_job_that_slurm_runs_twice_at_once_counts_once(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    """A node's daemon is killed and the node given up for dead, while the job's processes live on."""
    (tmp_path / "mine.py").write_text(SLOW)
    on_slurm("run", f"{tmp_path}/mine.py:slow", "--cluster", "slurm", "--allow-dirty")
    on_slurm.wait_until_training()
    node = real_slurm.ask("squeue", "-h", "-t", "R", "--format=%N").strip()
    os.kill(int((real_slurm.folder / "run" / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
    real_slurm.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    counts = json.loads(on_slurm("status", "slow", "--json", "--watch").stdout)
    assert counts["done"] == 2, on_slurm.job_logs()
    (pretraining,) = [
        path for path in on_slurm.work.glob("runs/*") if len(list(path.glob("attempt-*"))) > 1
    ]
    first, second = sorted(pretraining.glob("attempt-*"))
    deadline = time.monotonic() + 90
    while not (second / "result.json").exists():
        assert time.monotonic() < deadline, on_slurm.job_logs()
        time.sleep(0.5)
    assert (first / "result.json").exists()
    accepted = json.loads((pretraining / "result.json").read_bytes())["attempt"]
    assert accepted == first.name
    assert "another attempt at this cell was accepted before" in (second / "log.txt").read_text()
