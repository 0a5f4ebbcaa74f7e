"""`harness run --together`: the same numbers, each cell once, whatever is killed."""

import os
import signal
import time

import pytest

from tests.harness.running import NUM_CELLS, Harness, mlflow_cells, rows, tiny
from tests.harness.test_faults import wait_for, workers


def assert_same_numbers(ours: Harness, theirs: Harness) -> None:
    """Equal to rounding: numbers of training together are summed in another order."""
    for one, other in zip(rows(ours.csv()), rows(theirs.csv()), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            try:
                assert float(value) == pytest.approx(float(other[name]), rel=1e-4, abs=1e-4), name
            except ValueError:
                assert value == other[name], name


def test_a_run_with_cells_trained_together_gives_the_same_table(
    finished: Harness, harness: Harness
) -> None:
    harness.run_tiny("--together", "4", "--jobs", "1")
    assert_same_numbers(harness, finished)
    results = harness.results()
    assert len(results) == NUM_CELLS
    assert len(harness.attempts()) == NUM_CELLS
    assert set(mlflow_cells(harness.work).values()) == {1}
    groups = [body["provenance"].get("together", []) for body in results.values()]
    assert sorted(map(len, groups)) == [0] * 5 + [4] * 8
    classifiers = {body["cell"] for body in results.values() if body["task"] == "FewShot"}
    assert {key for group in groups for key in group} == classifiers
    told = harness("verify", "fig12").stdout
    assert "together" not in told  # nothing to complain of


def test_killed_workers_of_groups_do_not_change_the_numbers(
    finished: Harness, harness: Harness
) -> None:
    driver = harness.start("run", "fig12", *tiny(), "--together", "4", "--jobs", "1")
    for moment in range(2):
        wait_for(lambda: workers(driver.pid) or driver.poll() is not None)
        time.sleep(1.2 + 0.9 * moment)
        for pid in workers(driver.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
    driver.communicate(timeout=200)
    if driver.returncode:
        harness.run_tiny("--together", "4")
    assert_same_numbers(harness, finished)
    assert len(harness.results()) == NUM_CELLS
    assert set(mlflow_cells(harness.work).values()) == {1}


def test_one_process_does_one_cell_at_a_time(harness: Harness) -> None:
    refused = harness.run_tiny("--cluster", "inline", "--together", "2", code=2)
    assert "leave --ranks, --jobs and --together out" in refused.stderr
