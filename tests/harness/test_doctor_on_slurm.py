"""`harness doctor --cluster` on a real SLURM of four nodes on this machine."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.probe import read
from tests.harness.running import Harness
from tests.slurm.cluster import ThrowAwaySlurm


@pytest.fixture
def asks(real_slurm: ThrowAwaySlurm, tmp_path: Path) -> Harness:
    return Harness(tmp_path / "a work folder")


def told(done: str) -> dict[str, dict[str, Any]]:
    return {each["what"]: each for each in json.loads(done)}


def nothing_queues(slurm: ThrowAwaySlurm) -> bool:
    return not slurm.ask("squeue", "-h").strip()


def test_all_is_well_on_the_throw_away_cluster(asks: Harness, real_slurm: ThrowAwaySlurm) -> None:
    done = asks("doctor", "--cluster", "slurm", "--json")
    found = told(done.stdout)
    assert found["partition main"]["found"].startswith("the site's default, up, 4 nodes")
    assert "MaxArraySize is 1001" in found["array_limit"]["found"]
    assert found["gpus_per_node"]["advice"] == "write gpus_per_node = 2 to use them"
    assert found["work folder there"]["found"].startswith("written and read from here and there")
    assert found["torch there"]["found"].endswith("on CPUs as gpus_per_node = 0 says")
    assert found["Python there"]["ok"]
    assert found["code there"]["found"].endswith(("as here", "the same"))
    assert found["SLURM there"]["found"].startswith(("sacct, scancel", "scancel, scontrol"))
    assert "waiting for the probe job" in done.stderr
    assert nothing_queues(real_slurm)
    (answer,) = asks.work.glob("doctor/*/found.json")
    assert read(answer).host in real_slurm.names


def test_a_partition_that_is_nowhere_is_told_before_and_by_sbatch(
    asks: Harness, real_slurm: ThrowAwaySlurm, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('partition = "nowhere"\n')
    done = asks("doctor", "--cluster", str(tmp_path / "mine.toml"), "--json", code=1)
    found = told(done.stdout)
    assert found["partition"]["found"] == "there is no partition 'nowhere'"
    assert found["partition"]["advice"] == "write one of main, low into the cluster's file"
    assert "invalid partition specified: nowhere" in found["probe job"]["found"]
    assert "Traceback" not in done.stderr
    assert nothing_queues(real_slurm)


def test_a_probe_that_cannot_start_is_explained_and_taken_back(
    asks: Harness, real_slurm: ThrowAwaySlurm
) -> None:
    for name in real_slurm.names:
        real_slurm.ask("scontrol", "update", f"NodeName={name}", "State=DRAIN", "Reason=test")
    real_slurm.ask("scontrol", "update", "NodeName=tn1", "State=RESUME")
    hog = real_slurm.ask("sbatch", "-w", "tn1", "--exclusive", "-o/dev/null", "--wrap=sleep 60")
    deadline = time.monotonic() + 30
    while not real_slurm.ask("squeue", "-h", "-t", "R").strip():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = told(asks("doctor", "--cluster", "slurm", "--json", "--wait", "3", code=1).stdout)
    assert "1 idle" not in found["partition main"]["found"]
    assert "3 out of service" in found["partition main"]["found"]
    assert "was PENDING" in found["probe job"]["found"]
    assert found["probe job"]["advice"]
    assert real_slurm.ask("squeue", "-h", "--format=%i").split() == [hog.split()[-1]]
