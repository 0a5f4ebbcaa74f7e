"""The local pool, with workers that need no torch: feeding, failing, dying, stopping."""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from slurm import local
from slurm.job import Event, Job, by_priority
from slurm.launcher import Inline
from slurm.local import Local, visible_gpus

WORKER = """
import os, signal, sys, time
from pathlib import Path
from slurm.job import Event, Interrupted
from slurm.worker import StopFlag, serve, take_stdout

folder = Path(sys.argv[1])
events, stop = take_stdout(), StopFlag()
rank = os.environ["RANK"]

def carry_out(job, on_event):
    print("noise on stdout, which is no event")
    with (folder / "ran").open("a") as sink:
        sink.write(f"{job} {rank} {os.getpid()} {os.environ['WORLD_SIZE']} {os.environ['MASTER_PORT']}\\n")
    verb, _, rest = job.partition(":")
    if verb == "together":  # both ranks tell at the same moment, while nobody listens
        (folder / f"here-{rank}").touch()
        while len(list(folder.glob("here-*"))) < 2:
            time.sleep(0.01)
        if rest == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("all broken")
    if verb == "raise" and rank == (rest or "0"):
        raise ValueError("it is broken\\nsecond line")
    if verb == "kill" and rank == "0":
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "kill-once" and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if verb in ("wait", "raise"):
        for _ in range(600):
            if stop():
                (folder / f"left-{rank}").touch()
                raise Interrupted
            time.sleep(0.05)
    on_event(Event(kind="step", job=job, step=1, steps=2))

def together(jobs, on_event):
    with (folder / "groups").open("a") as sink:
        sink.write(" ".join(jobs) + "\\n")
    if "die" in jobs:
        raise ValueError("the device is gone")
    for job in jobs:
        if job.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        on_event(Event(kind="failed" if job.startswith("bad") else "done", job=job))

sys.exit(serve(events, stop, carry_out, together))
"""


class Pool:
    """A pool in a folder, and the events it told."""

    def __init__(self, folder: Path, slots: int, **options: Any) -> None:
        self.folder = folder
        script = folder / "worker.py"
        script.write_text(WORKER)
        self.launcher = Local(
            [sys.executable, str(script), str(folder)], slots=slots, logs=folder / "logs", **options
        )
        self.events: list[Event] = []

    def run(self, *jobs: Job) -> None:
        self.launcher.run(jobs, self.events.append)

    def kinds(self, job: str) -> list[str]:
        return [event.kind for event in self.events if event.job == job]

    def groups(self) -> list[list[str]]:
        path = self.folder / "groups"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def ran(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "ran").read_text().splitlines()]


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("PYTHONPATH", str(Path(local.__file__).parents[1]))
    return Pool(tmp_path, slots=2)


def test_every_job_runs_once_and_workers_live_on(pool: Pool) -> None:
    pool.run(*(Job(id=f"job{index}") for index in range(12)))
    ran = pool.ran()
    assert sorted(line[0] for line in ran) == sorted(f"job{index}" for index in range(12))
    assert len({line[2] for line in ran}) <= 2
    assert all(pool.kinds(f"job{index}") == ["started", "step", "done"] for index in range(12))


def test_needs_run_first(pool: Pool) -> None:
    pool.run(Job(id="c", needs=("b", "done-before")), Job(id="b", needs=("a",)), Job(id="a"))
    assert [line[0] for line in pool.ran()] == ["a", "b", "c"]


def test_the_costliest_chain_goes_first() -> None:
    jobs = [
        Job(id="small", cost=2),
        Job(id="big", cost=5),
        Job(id="last", cost=9, needs=("first",)),
        Job(id="first", cost=1),
    ]
    assert [job.id for job in by_priority(jobs)] == ["first", "last", "big", "small"]


def test_a_job_that_raises_fails_once_and_the_others_go_on(pool: Pool) -> None:
    pool.run(
        Job(id="raise"),
        Job(id="fine"),
        Job(id="after", needs=("raise",)),
        Job(id="later", needs=("after",)),
    )
    failed = next(event for event in pool.events if event.kind == "failed")
    assert failed.detail == "ValueError: it is broken"
    assert pool.kinds("raise") == ["started", "failed"]
    assert pool.kinds("fine")[-1] == "done"
    assert pool.kinds("after") == pool.kinds("later") == ["skipped"]


def test_a_job_whose_worker_was_killed_is_tried_again(pool: Pool) -> None:
    pool.run(Job(id="kill-once"), Job(id="fine"))
    assert pool.kinds("kill-once") == ["started", "lost", "started", "step", "done"]
    assert pool.kinds("fine")[-1] == "done"


def test_a_job_that_always_kills_its_worker_fails_with_how_it_died(pool: Pool) -> None:
    pool.run(Job(id="kill"), Job(id="fine"))
    assert pool.kinds("kill") == ["started", "lost"] * (local.TRIES - 1) + ["started", "failed"]
    detail = next(event.detail for event in pool.events if event.kind == "failed")
    assert "killed by SIGKILL" in detail
    assert "last words" in detail
    assert "3 times in a row" in detail


def test_ranks_share_a_port_and_a_world(pool: Pool) -> None:
    pool.run(Job(id="pair", ranks=2), Job(id="single"))
    pair = [line for line in pool.ran() if line[0] == "pair"]
    assert sorted(line[1] for line in pair) == ["0", "1"]
    assert {line[3] for line in pair} == {"2"}
    assert len({line[4] for line in pair}) == 1
    assert pool.kinds("pair") == ["started", "step", "done"]


def test_a_job_of_more_ranks_than_slots_runs_alone(pool: Pool) -> None:
    pool.run(Job(id="wide", ranks=3), Job(id="single"))
    assert pool.kinds("wide")[-1] == pool.kinds("single")[-1] == "done"


def test_one_failing_rank_ends_its_group_with_its_own_error(pool: Pool) -> None:
    began = time.monotonic()
    pool.run(Job(id="raise:1", ranks=2), Job(id="fine"))
    failed = next(event for event in pool.events if event.kind == "failed")
    assert failed.detail == "rank 1: ValueError: it is broken"
    assert time.monotonic() - began < 25  # rank 0 alone would wait 30 s
    assert pool.kinds("fine")[-1] == "done"


@pytest.mark.parametrize(
    ("how", "detail"), [("raise", "ValueError: all broken"), ("die", "was killed by SIGKILL")]
)
def test_ranks_that_fail_together_fail_one_job_and_no_other(
    pool: Pool, how: str, detail: str
) -> None:
    def slow(event: Event) -> None:
        pool.events.append(event)
        if event.kind == "started" and event.job.startswith("together"):
            time.sleep(2.0)  # until both have told

    pool.launcher.run([Job(id=f"together:{how}", ranks=2), Job(id="fine")], slow)
    failed = [event for event in pool.events if event.kind == "failed"]
    assert len(failed) == 1
    assert detail in failed[0].detail
    assert pool.kinds("fine")[-1] == "done"


def test_an_interrupt_lets_workers_leave_at_a_step_boundary(pool: Pool) -> None:
    def interrupt() -> None:
        while not (pool.folder / "ran").exists() or len(pool.ran()) < 2:
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pool.run(Job(id="wait", ranks=2))
    thread.join()
    assert (pool.folder / "left-0").exists()
    assert (pool.folder / "left-1").exists()
    for line in pool.ran():
        with pytest.raises(ProcessLookupError):
            os.kill(int(line[2]), 0)


def alike(*names: str, kind: str = "k", needs: tuple[str, ...] = ()) -> list[Job]:
    return [Job(id=name, together=kind, needs=needs) for name in names]


def pool_of(folder: Path, monkeypatch: pytest.MonkeyPatch, slots: int, **options: Any) -> Pool:
    monkeypatch.setenv("PYTHONPATH", str(Path(local.__file__).parents[1]))
    return Pool(folder, slots=slots, **options)


def test_jobs_of_one_kind_are_given_together_up_to_the_number_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(tmp_path, monkeypatch, slots=1, together=3)
    pool.run(*alike("a", "b", "c", "d", "e"), *alike("x", "y", kind="l"), Job(id="single"))
    assert pool.groups() == [["a", "b", "c"], ["d", "e"], ["x", "y"]]
    assert [line[0] for line in pool.ran()] == ["single"]
    assert pool.kinds("c") == ["started", "done"]
    assert {event.kind for event in pool.events} == {"started", "step", "done"}


def test_nothing_is_given_together_unless_asked_for(pool: Pool) -> None:
    pool.run(*alike("a", "b"))
    assert pool.groups() == []
    assert sorted(line[0] for line in pool.ran()) == ["a", "b"]


def test_nobody_looks_for_others_where_jobs_are_given_one_by_one(tmp_path: Path) -> None:
    """With 10,000 waiting that look would take a worker's time at every job."""
    waiting = alike(*(f"c{index}" for index in range(40)))

    class Unread(list[Job]):
        def __iter__(self) -> Any:
            raise AssertionError("all waiting jobs were looked at")

    local = Local(["false"], slots=1, logs=tmp_path)
    assert local._with_others(waiting[0], Unread(waiting), set(), Counter(), 1) == waiting[:1]


def test_every_free_slot_gets_its_share_of_the_jobs_of_one_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(tmp_path, monkeypatch, slots=2, together=10)
    pool.run(*alike("a", "b", "c", "d", "e"))
    assert sorted(pool.groups()) == [["a", "b", "c"], ["d", "e"]]


def test_a_job_waits_for_its_needs_before_it_is_given_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(tmp_path, monkeypatch, slots=1, together=4)
    dear = [Job(id=name, together="k", cost=5) for name in ("a", "b")]
    pool.run(*dear, *alike("c", "d", needs=("n",)), Job(id="n"))
    assert pool.groups() == [["a", "b"], ["c", "d"]]


def test_one_that_fails_among_several_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(tmp_path, monkeypatch, slots=1, together=3)
    pool.run(*alike("a", "bad", "c"), Job(id="after", needs=("bad",)), Job(id="also", needs=("c",)))
    assert [pool.kinds(job)[-1] for job in ("a", "bad", "c")] == ["done", "failed", "done"]
    assert pool.kinds("after") == ["skipped"]
    assert pool.kinds("also")[-1] == "done"


def test_on_a_gpu_a_failure_ends_the_worker_after_the_jobs_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(tmp_path, monkeypatch, slots=1, together=3, gpus=["0"])
    pool.run(*alike("bad", "b", "c"), Job(id="one"))
    assert [pool.kinds(job)[-1] for job in ("bad", "b", "c", "one")] == ["failed", "done", "done", "done"]  # fmt: skip
    assert "lost" not in [event.kind for event in pool.events]


@pytest.mark.parametrize("bad", ["kill", "die"])
def test_jobs_of_a_worker_that_dies_are_tried_again_one_by_one(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(tmp_path, monkeypatch, slots=1, together=3)
    pool.run(*alike("a", bad, "c"))
    assert pool.groups() == [["a", bad, "c"]]
    assert pool.kinds("c") == ["started", "lost", "started", "step", "done"]
    if bad == "kill":  # what was finished before stays finished
        assert pool.kinds("a") == ["started", "done"]
        assert pool.kinds("kill")[-1] == "failed"
    else:
        assert pool.kinds("die") == pool.kinds("a") == pool.kinds("c")


def test_inline_does_the_same_in_this_process() -> None:
    events: list[Event] = []

    def carry_out(job: str, on_event: object) -> None:
        if job == "bad":
            raise ValueError("broken")

    jobs = [Job(id="after", needs=("bad",)), Job(id="good", needs=("before",)), Job(id="bad")]
    Inline(carry_out).run(jobs, events.append)
    told = [(event.job, event.kind) for event in events]
    assert told.index(("bad", "failed")) < told.index(("after", "skipped"))
    assert ("good", "done") in told
    assert [event.detail for event in events if event.kind == "failed"] == ["ValueError: broken"]


def test_gpus_are_those_that_cuda_visible_devices_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ["3", "5"]
    for none in ("", "-1", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert visible_gpus() == []


def test_each_worker_sees_one_gpu_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(local.__file__).parents[1]))
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.replace("os.environ['WORLD_SIZE']", "os.environ['CUDA_VISIBLE_DEVICES']")
    )
    launcher = Local(
        [sys.executable, str(script), str(tmp_path)], slots=2, logs=tmp_path, gpus=["4", "7"]
    )
    launcher.run([Job(id="pair", ranks=2)], lambda event: None)
    seen = sorted(line.split()[3] for line in (tmp_path / "ran").read_text().splitlines())
    assert seen == ["4", "7"]


def test_events_are_json_lines() -> None:
    event = Event(kind="step", job="a", step=3, steps=9)
    from dataclasses import asdict

    assert Event(**json.loads(json.dumps(asdict(event)))) == event


def test_workers_have_their_next_job_before_people_are_told_of_the_last(pool: Pool) -> None:
    begun_when_told: dict[str, list[str]] = {}

    def slow_listener(event: Event) -> None:
        pool.events.append(event)
        if event.kind == "done" and event.job == "a":
            deadline = time.monotonic() + 30
            while len(pool.ran()) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            begun_when_told["a"] = [line[0] for line in pool.ran()]

    pool.launcher = Local(
        [sys.executable, str(pool.folder / "worker.py"), str(pool.folder)],
        slots=1,
        logs=pool.folder,
    )
    pool.launcher.run([Job(id="a"), Job(id="b", needs=("a",))], slow_listener)
    assert begun_when_told["a"] == ["a", "b"]
    told = [(event.kind, event.job) for event in pool.events if event.kind != "step"]
    assert told == [("started", "a"), ("done", "a"), ("started", "b"), ("done", "b")]
