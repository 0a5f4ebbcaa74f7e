"""Limits of a real SLURM: time, memory, array length, and a controller that goes away."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.on_slurm import LONG, SLOW, OnSlurm, cluster_file, jobs_in_queue
from tests.harness.running import mlflow_cells, sets
from tests.slurm.cluster import ThrowAwaySlurm

pytestmark = pytest.mark.timeout(600)


def jobs(body: dict[str, Any]) -> dict[str, Any]:
    return body["provenance"]["job"]  # type: ignore[no-any-return]


def test_a_time_limit_saves_requeues_and_ends_in_the_same_bits(
    on_slurm: OnSlurm, tmp_path: Path
) -> None:
    # 96 s of sleep: more than the limit lets through, which asks to leave after 90; a busy machine takes some of these to start.
    (tmp_path / "mine.py").write_text(SLOW.replace("sleep(0.02)", "sleep(0.12)"))
    words = f"{tmp_path}/mine.py:slow", "--set", "steps=800"
    two_minutes = cluster_file(tmp_path, time_min=2)
    on_slurm("run", *words, "--cluster", two_minutes, "--allow-dirty")
    over = on_slurm.wait_until_over(400, "slow")
    assert over["done"] == 2, on_slurm.job_logs()
    body = on_slurm.pretraining()
    assert jobs(body)["restarts"] >= 1
    assert body["usage"]["resumed_from_step"] > 100
    undisturbed = OnSlurm(tmp_path / "undisturbed")
    (tmp_path / "mine.py").write_text(SLOW.replace("time.sleep(0.02)", "pass"))
    undisturbed("run", *words, "--cluster", "inline")
    assert body["history"]["loss"] == undisturbed.pretraining()["history"]["loss"]
    assert body["scores"] == undisturbed.pretraining()["scores"]


def test_several_nodes_save_at_one_step_and_continue_together(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    two = cluster_file(tmp_path, pretrain_nodes=2)
    sent = on_slurm.send(*sets(LONG), cluster=two)
    on_slurm.wait_until_training()
    real_slurm.ask("scancel", "--signal=USR2", on_slurm.first_task(sent))
    assert on_slurm.wait_until_over()["done"] == 2, on_slurm.job_logs()
    body = on_slurm.pretraining()
    assert jobs(body)["restarts"] == 1
    assert (body["usage"]["resumed_from_step"] > 0, body["usage"]["ranks"]) == (True, 2)


THREE = """
from configs.experiment import Experiment
from configs.fig12 import fig12
from dataclasses import replace


def three():
    made = [
        fig12(methods=("pretrained",), shots=(1,), resamples=1, units=16, layers=1, pretrain_steps=2400 + step,
              finetune_steps_few=1)
        for step in range(3)
    ]
    cells = tuple(replace(one.cells[0].needs[0], label=f"{number}") for number, one in enumerate(made))
    return Experiment(title="three", cells=cells, draw=lambda evidence, formats: {"three.csv": b"done"})
"""


def test_a_task_of_an_array_comes_back_alone_and_cancelled_ones_stay_cancelled(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    """One task of an array has the array's own id: a requeue by that id would bring all of them back."""
    (tmp_path / "mine.py").write_text(THREE)
    words = (
        "run",
        f"{tmp_path}/mine.py:three",
        "--cluster",
        "slurm",
        "--allow-dirty",
        "--pack",
        "1",
    )
    sent = json.loads(on_slurm(*words, "--json").stdout)
    cells = on_slurm.cells_of(sent)
    array = sent["jobs"][0]
    deadline = time.monotonic() + 90
    while len([path for path in on_slurm.work.glob("runs/*/attempt-*/log.txt") if "cell " in path.read_text()]) < 3:  # fmt: skip
        assert time.monotonic() < deadline, on_slurm.job_logs()
        time.sleep(0.1)
    real_slurm.ask("scancel", f"{array}_1")
    for index in (0, 2):
        real_slurm.ask("scancel", "--signal=USR2", f"{array}_{index}")
    over = on_slurm.wait_until_over(name="three")
    assert (over["done"], over["missing"]) == (2, 1), (over, on_slurm.job_logs())
    for body in on_slurm.results().values():
        assert jobs(body)["restarts"] == 1
        assert body["usage"]["resumed_from_step"] > 0
    (cancelled,) = over["open"]
    assert cells[next(key for key in cells if key.startswith(cancelled["cell"]))] == f"{array}_1"


def test_where_no_requeue_is_wanted_the_next_run_continues(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    stays = cluster_file(tmp_path, requeue=False)
    sent = on_slurm.send(*sets(LONG), cluster=stays)
    on_slurm.wait_until_training()
    real_slurm.ask("scancel", "--signal=USR2", on_slurm.first_task(sent))
    over = on_slurm.wait_until_over()
    assert (over["missing"], over["failed"]) == (2, 0), on_slurm.job_logs()
    details = [each["detail"] for each in over["open"]]
    assert any("it saved and left when it was asked to" in each for each in details), details
    on_slurm.send(*sets(LONG), "--follow", cluster=stays)
    assert on_slurm.pretraining()["usage"]["resumed_from_step"] > 0


GREEDY = """
import time

import torch
from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class Greedy(nn.Module):
    def __init__(self, frame_size):
        super().__init__()
        self.rnn = nn.GRU(frame_size, 6)
        self.kept = []

    def forward(self, frames_TBD):
        self.kept.append(torch.ones(2**26))  # 256 MiB
        time.sleep(0.2)
        return self.rnn(frames_TBD)[0]


def greedy():
    return fig12(encoder=own(Greedy), methods=("pretrained",), shots=(1,), resamples=1, pretrain_steps=2000)
"""


def test_a_job_that_slurm_kills_for_its_memory_is_told_as_that(
    on_slurm: OnSlurm, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(GREEDY)
    on_slurm("run", f"{tmp_path}/mine.py:greedy", "--cluster", "slurm", "--allow-dirty")
    over = on_slurm.wait_until_over(name="greedy")
    assert (over["failed"], over["missing"]) == (1, 1), on_slurm.job_logs()
    killed, never_begun = over["open"]
    assert killed["job"]["node"].startswith("tn")
    assert "give it more memory (memory_gb)" in killed["detail"]
    assert "Exceeded job memory limit" in killed["detail"]
    assert f"it needs cell {killed['cell']}, which failed" in never_begun["detail"]


def test_a_controller_that_goes_away_and_comes_back_loses_nothing(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm
) -> None:
    follower = on_slurm.start(
        "run", "fig12", *sets(LONG), "--cluster", "slurm", "--allow-dirty", "--follow", "--json"
    )
    on_slurm.wait_until_training()
    real_slurm.stop_controller()
    try:
        shown = on_slurm("status", "fig12", code=75).stdout
        assert "SLURM could not be asked" in shown
        refused = on_slurm("run", "fig12", *sets(LONG), "--cluster", "slurm", "--allow-dirty", code=1)  # fmt: skip
        assert "try again when SLURM answers" in refused.stderr
        time.sleep(5)
        assert follower.poll() is None
    finally:
        real_slurm.start_controller()
    told, errors = follower.communicate(timeout=120)
    assert follower.returncode == 0, errors
    assert json.loads(told)["done"] == 2
    assert len(on_slurm.attempts()) == 2


MANY_NEEDS = """
from dataclasses import replace

from configs.experiment import Experiment
from configs.fig12 import fig12


def many(*, each: int = 21):
    made = [
        fig12(methods=("pretrained",), shots=(1,), resamples=1, units=4 + number, layers=1, pretrain_steps=1,
              pretrain_batch=2, finetune_steps_few=1)
        for number in range(each)
    ]
    cells = tuple(
        replace(cell, label=f"{cell.task.encoder.units} units") for one in made for cell in one.cells
    )
    return Experiment(title="many needs", cells=cells, draw=made[0].draw)
"""


def test_more_needs_than_a_dependency_may_name_and_arrays_at_the_sites_limit(
    on_slurm: OnSlurm, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MANY_NEEDS)
    short = cluster_file(tmp_path, array_limit=8)
    words = ("run", f"{tmp_path}/mine.py:many", "--cluster", short, "--allow-dirty")
    planned = on_slurm(*words, "--dry-run", "--json").stdout
    arrays = json.loads(planned)["arrays"]
    assert [each["tasks"] for each in arrays] == [8, 8, 5, 1]
    assert arrays[3]["dependency"].startswith("afterany:")
    done = on_slurm(*words, "--follow", "--json")
    told = json.loads(done.stdout)
    assert (told["done"], told["total"], told["failed"]) == (42, 42, {})
    assert len(on_slurm.attempts()) == 42
    assert set(mlflow_cells(on_slurm.work).values()) == {1}
    assert not jobs_in_queue(real_slurm)


def test_accounting_explains_what_the_controller_has_forgotten(
    slurm_with_accounting: ThrowAwaySlurm, tmp_path: Path
) -> None:
    harness = OnSlurm(tmp_path / "work")
    sent = harness.send(*sets(LONG))
    harness.wait_until_training()
    pretraining = harness.first_task(sent)
    slurm_with_accounting.ask("scancel", pretraining)
    deadline = time.monotonic() + 120
    while slurm_with_accounting.ask("squeue", "--noheader", "--states=all"):
        assert time.monotonic() < deadline
        time.sleep(1)
    over = harness.status()
    assert (over["missing"], over["failed"]) == (2, 0)
    assert {each["job"]["state"] for each in over["open"]} == {"CANCELLED"}
    told = next(each for each in over["open"] if each["job"]["id"] == pretraining)
    assert told["job"]["node"].startswith("tn")
    assert "the next `harness run` continues from there" in told["detail"]
