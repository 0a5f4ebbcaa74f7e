"""Kill it, stop it, fill the disk, run it twice: nothing finished is lost, and the numbers are the same."""

import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.harness.running import NUM_CELLS, Harness, mlflow_cells, rows, sets, tiny


def children(pid: int) -> list[int]:
    """Processes that this one started and that still live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def wait_for(what: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def workers(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        try:
            if b"harness.work" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue
    return found


def half_written(work: Path) -> list[Path]:
    """Files beside their final names: leftovers of writes that did not end."""
    return [
        path
        for path in work.rglob(".*")
        if path.name.count(".") > 2 and path.name != ".drawn_from.json"
    ]


def test_killed_workers_do_not_change_the_numbers(finished: Harness, harness: Harness) -> None:
    driver = harness.start("run", "fig12", *tiny())
    for moment in range(3):
        wait_for(lambda: workers(driver.pid) or driver.poll() is not None)
        time.sleep(0.4 + 0.9 * moment)
        for pid in workers(driver.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
    _, told = driver.communicate(timeout=200)
    if (
        driver.returncode
    ):  # a cell whose worker was killed too often: the next run does what is missing
        harness.run_tiny()
    assert "tried again" in told
    assert harness.csv() == finished.csv()
    assert set(mlflow_cells(harness.work).values()) == {1}


def test_a_killed_driver_leaves_a_folder_that_the_next_run_continues(
    finished: Harness, harness: Harness
) -> None:
    driver = harness.start("run", "fig12", *tiny())
    wait_for(lambda: len(harness.results()) >= 3)
    orphans = workers(driver.pid)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
    kept = harness.attempts()
    done = set(harness.results())
    harness.run_tiny()
    again = {name.split("/")[1] for name in harness.attempts() - kept}
    assert not again & done
    assert harness.csv() == finished.csv()
    assert set(mlflow_cells(harness.work).values()) == {1}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_workers_and_the_next_run_continues(
    finished: Harness, harness: Harness, how: signal.Signals
) -> None:
    driver = harness.start("run", "fig12", *tiny())
    wait_for(lambda: len(harness.results()) >= 2)
    running = workers(driver.pid)
    driver.send_signal(how)
    _, told = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "interrupted; what was finished is kept" in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
    assert not half_written(harness.work)
    counts = harness.json("status", "fig12")
    assert counts["running"] == counts["waiting"] == counts["failed"] == 0
    assert counts["missing"] > 0
    harness.run_tiny()
    assert harness.csv() == finished.csv()


def test_an_interrupted_cell_continues_from_its_checkpoint(harness: Harness) -> None:
    settings = {
        "methods": "pretrained",
        "shots": 1,
        "resamples": 1,
        "units": 16,
        "layers": 1,
        "pretrain_steps": 400,
        "finetune_steps_few": 1,
    }
    driver = harness.start("run", "fig12", *sets(settings))
    wait_for(
        lambda: any(
            "resumed" in p.read_text() or "cell " in p.read_text()
            for p in harness.work.glob("runs/*/attempt-*/log.txt")
        )
    )
    time.sleep(2.0)
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)
    checkpoints = list(harness.work.glob("runs/*/attempt-*/checkpoint-*.pt"))
    assert len(checkpoints) == 1
    step = int(checkpoints[0].stem.removeprefix("checkpoint-"))
    assert 0 < step < 400
    harness("run", "fig12", *sets(settings))
    body = next(body for body in harness.results().values() if body["task"] == "Pretrain")
    assert body["usage"]["resumed_from_step"] == step
    assert not list(harness.work.glob("runs/*/attempt-*/checkpoint-*.pt"))


def test_a_second_run_on_the_same_folder_is_refused(harness: Harness) -> None:
    driver = harness.start("run", "fig12", *tiny())

    try:
        wait_for((harness.work / "driver.json").exists)
        refused = harness.run_tiny(code=75)
        assert "is at work in" in refused.stderr
        assert f"process {driver.pid}" in refused.stderr
        counts = harness.json("status", "fig12", code=None)
        assert counts["total"] == NUM_CELLS
    finally:
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=60)


def test_status_tells_a_run_at_work_with_exit_code_75(harness: Harness) -> None:
    driver = harness.start("run", "fig12", *tiny())
    try:
        wait_for((harness.work / "driver.json").exists)
        done = harness("status", "fig12", "--json", code=75)
        counts = json.loads(done.stdout)
        assert counts["running"] + counts["waiting"] + counts["done"] == NUM_CELLS
    finally:
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=60)


BROKEN = """
from dataclasses import replace

from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class Fragile(nn.Module):
    def __init__(self, frame_size, unlucky=False):
        super().__init__()
        self.rnn, self.unlucky = nn.GRU(frame_size, 6), unlucky

    def forward(self, frames_TBD):
        if self.unlucky:
            raise RuntimeError("out of luck")
        return self.rnn(frames_TBD)[0]


def unlucky():
    made = fig12(encoder=own(Fragile), methods=("lstm",), shots=(1,), resamples=3, finetune_steps_few=2)
    first, *others = made.cells
    bad = replace(first, task=replace(first.task, encoder=replace(first.task.encoder, arguments=(("unlucky", True),))))
    return replace(made, cells=(bad, *others))
"""


def test_a_cell_that_raises_is_named_and_the_others_go_on(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BROKEN)
    done = harness("run", f"{file}:unlucky", code=1)
    assert "RuntimeError: out of luck" in done.stderr
    assert "1 of 3 cells have no result" in done.stderr
    counts = harness.json("status", "unlucky", code=1)
    assert (counts["done"], counts["failed"]) == (2, 1)
    short = counts["failures"][0]["cell"]
    assert f"harness logs {short}" in done.stderr
    assert "RuntimeError: out of luck" in harness("logs", short).stdout
    (row,) = rows(harness.csv("unlucky"))
    assert (row["n"], row["expected"]) == ("2", "3")
    assert "2/3" in (harness.work / "reports" / "unlucky" / "unlucky.md").read_text()


def test_a_failed_pretraining_is_the_reason_of_all_that_needed_it(
    harness: Harness, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    text = BROKEN.replace('methods=("lstm",)', 'methods=("lstm", "pretrained")').replace(
        "if self.unlucky:", "if len(frames_TBD) == 16 and frames_TBD.shape[1] == 32:"
    )
    file.write_text(
        text
        + "\n\ndef doomed():\n    return fig12(encoder=own(Fragile), shots=(1,), resamples=2, finetune_steps_few=2, methods=('lstm', 'pretrained'))\n"
    )
    done = harness("run", f"{file}:doomed", code=1)
    assert "RuntimeError: out of luck" in done.stderr
    report = (harness.work / "reports" / "doomed" / "doomed.md").read_text()
    assert "which failed: RuntimeError: out of luck" in report
    assert harness.json("status", "doomed", code=1)["done"] == 2


def test_a_full_disk_fails_the_cell_in_a_sentence_and_loses_nothing(
    finished: Harness, harness: Harness
) -> None:
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = harness("run", "fig12", *tiny(), code=1, preexec_fn=small_files_only)
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not half_written(harness.work)
    harness.run_tiny()
    assert harness.csv() == finished.csv()


def test_a_work_folder_that_cannot_be_made_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no folder")
    refused = Harness(tmp_path / "file" / "work").run_tiny(code=2)
    assert "cannot be written (Not a directory)" in refused.stderr
    assert "--workdir" in refused.stderr


def test_a_tracking_server_that_is_down_holds_nothing_up(harness: Harness) -> None:
    done = harness(
        "run", "fig12", *tiny(methods="single_frame"),
        env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, code=None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MLflow could not be written" in done.stderr
    assert "harness collect fig12" in done.stderr
    assert harness.csv()
    harness("collect", "fig12")
    assert len(mlflow_cells(harness.work)) == 4
