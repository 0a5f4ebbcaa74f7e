"""Processes are killed, interrupted and stopped at points of writing; then the same command again, and all is as without it.

Nothing finished is lost, nothing is done twice, nothing is left behind, and the reports are those of a run that nobody disturbed.
Where a fault comes is drawn from all points that an undisturbed run reaches, by a seeded generator; points at which most is at
stake are named. `make torture` does the same at random for as long as it is told to.
"""

import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.trials import Trial, is_stopped, wait_until

pytestmark = pytest.mark.timeout(1200)  # each is many runs, and may share its machine


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A run without faults. Tests read it and change nothing."""
    trial = Trial(tmp_path_factory.mktemp("undisturbed"))
    ended = trial.run()
    assert ended.code == 0, ended.told
    assert not trial.wrong(trial)
    return trial


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def check(trial: Trial, undisturbed: Trial) -> None:
    """The same command again ends well, and all is as if nothing had happened."""
    ended = trial.run()
    assert ended.code == 0, ended.told
    assert not ended.faults
    assert not trial.wrong(undisturbed)


def test_an_undisturbed_run_reaches_points_of_all_roles(undisturbed: Trial) -> None:
    """Else the tests below would show nothing."""
    roles = Counter(point.role for point in undisturbed.points)
    assert set(roles) == {"driver", "worker", "collector"}
    names = {(point.role, point.name) for point in undisturbed.points}
    assert {("worker", "attempt"), ("worker", "link"), ("worker", "linked")} <= names
    assert any(point.name == "half" and "checkpoint-" in point.path for point in undisturbed.points)


def test_workers_killed_around_acceptance_and_elsewhere(trial: Trial, undisturbed: Trial) -> None:
    """A sealed attempt is accepted by the next worker; an accepted one is not begun again."""
    drawn = random.Random(1)
    faults: dict[int | str, str] = {
        "worker link 1": "KILL",
        "worker linked 2": "KILL",
        "worker rename 15": "KILL",
        f"worker {drawn.randrange(20, 40)}": "STOP",
        f"worker {drawn.randrange(100, 120)}": "INT",
        "driver half 5": "STOP",
    }
    ended = trial.run(faults=faults)
    assert ended.faults == {"KILL": 3, "INT": 1, "STOP": 2}, ended.told
    assert "tried again" in ended.told
    sealed_once = Counter(
        point.path for point in trial.points if point.path.endswith("result.json'")
    )
    assert sealed_once
    check(trial, undisturbed)
    # One that was killed between its seal and its acceptance was not trained again.
    taken_up = next(point for point in trial.points if point.name == "link")
    cell = Path(taken_up.path.strip("'")).parent.name
    attempts = [p for p in trial.points if p.name == "attempt" and f"/{cell}/" in p.path]
    assert len(attempts) == 1


def test_a_driver_killed_again_and_again(trial: Trial, undisturbed: Trial) -> None:
    drawn = random.Random(2)
    ends: list[tuple[dict[int | str, str], int]] = [
        # Before there is any worker, while there are some, while a cell is written to MLflow, and while the report is drawn.
        ({"driver half 1": "KILL"}, -signal.SIGKILL),
        ({"driver rename 4": "TERM"}, 130),
        ({"worker 15": "KILL", "collector copy 2": "KILL"}, -signal.SIGKILL),
        ({f"driver {drawn.randrange(15, 30)}": "KILL"}, -signal.SIGKILL),
        ({"driver written 12": "INT"}, 130),
    ]
    for faults, code in ends:
        ended = trial.run(faults=faults)
        assert ended.faults, (faults, ended.told)
        assert ended.code == code, (faults, ended.told)
    check(trial, undisturbed)


def test_a_collector_killed_again_and_again(trial: Trial, undisturbed: Trial) -> None:
    """What a killed one left is not taken for whole, though an earlier one had written it all."""
    subprocess.run(["cp", "-a", str(undisturbed.harness.work), str(trial.harness.work)], check=True)
    assert trial.run("collect", "small").code == 0
    (trial.harness.work / "mlflow.db").unlink()
    for point, how, code in (
        ("copy 3", "KILL", -signal.SIGKILL),
        ("copied 9", "TERM", -signal.SIGTERM),
        ("copy 10", "INT", 130),
    ):
        ended = trial.run("collect", "small", faults={f"collector {point}": how})
        assert ended.faults == {how: 1}, ended.told
        assert ended.code == code, ended.told
    check(trial, undisturbed)


def test_a_new_driver_waits_for_workers_that_have_lost_theirs(
    trial: Trial, undisturbed: Trial
) -> None:
    """The worker is stopped in the middle of a write, its driver killed, and another one started."""
    trial.options = ("--jobs", "1")
    first = trial.start(faults={"worker half 6": "STOP"})
    wait_until(lambda: [pid for pid in trial.processes() if is_stopped(pid)])
    (orphan,) = (pid for pid in trial.processes() if is_stopped(pid))
    first.process.kill()
    first.process.wait()
    known = {point.pid for point in trial.points}
    second = trial.start()
    wait_until(lambda: "are still at work" in second.said or second.process.poll() is not None)
    ended = second.ended()  # lets the worker go on
    assert ended.code == 0, ended.told
    assert "workers of a run that was killed are still at work" in ended.told
    assert "it is ended" not in ended.told
    orphans_own = [at for at, point in enumerate(trial.points) if point.pid == orphan]
    new_workers = [
        at
        for at, point in enumerate(trial.points)
        if point.role == "worker" and point.pid not in known
    ]
    assert new_workers
    assert max(orphans_own) < min(new_workers)
    check(trial, undisturbed)
