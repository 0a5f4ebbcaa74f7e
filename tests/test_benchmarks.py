"""What the benchmarks state and give up: their goals, the jobs they time, and machines on which something cannot be timed."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from slurm.job import Event, Job
from slurm.launcher import OnEvent
from tests.benchmarks import collecting, overhead, ranks, together
from tests.benchmarks.ratios import Ratio


def test_one_core_gives_no_figures_of_two_ranks_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
    assert ranks.ratios() == []
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "two ranks were not timed: they need two cores, and this process may use one\n"  # fmt: skip


def test_training_together_states_its_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    def untimed(what: str, run: object, peer: str, run_peer: object, goal: str = "") -> Ratio:
        return Ratio.of(what, [1.0], peer, [1.0], goal)

    monkeypatch.setattr(together, "compare", untimed)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    goals = [(each.what.split(", ")[-1], each.goal) for each in together.ratios()]
    assert goals == [
        ("CPU threads: 1", "at most 1 where it is chosen"),
        ("CPU threads: 2", "at most 1 where it is chosen"),
        ("a GPU", "at most 0.5"),
    ]


def test_collecting_states_seconds_beside_what_is_timed_and_not_as_a_ratio(tmp_path: Path) -> None:
    first, again = collecting.ratios(tmp_path, 2)
    assert "should take 0.006 seconds at most" in first.what
    assert (first.goal, again.goal) == ("", "")


def test_the_driver_is_timed_with_the_jobs_of_real_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven: list[Sequence[Job]] = []

    class Untimed:
        def __init__(self, *args: object, **options: object) -> None: ...

        def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
            driven.append(jobs)
            for job in jobs:
                on_event(Event(kind="done", job=job.id))

    monkeypatch.setattr(overhead, "Local", Untimed)
    overhead.driver(tmp_path, 20)
    assert [len(jobs) for jobs in driven] == [20, 20, 20]
    jobs = driven[0]
    assert any(job.together for job in jobs)
    assert any(job.needs for job in jobs)
    assert len({job.cost for job in jobs}) > 1
