"""`harness` on a real SLURM: what several test files need."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.running import Harness
from tests.slurm.cluster import ThrowAwaySlurm

LONG = {
    "methods": "pretrained",
    "shots": 1,
    "resamples": 1,
    "units": 16,
    "layers": 1,
    "pretrain_steps": 600,
    "finetune_steps_few": 1,
}
"""One pretraining cell of some seconds, and one that needs it."""


class OnSlurm(Harness):
    """`harness` on the real cluster. The tree under test may hold changes that are not committed."""

    def send(self, *words: str, cluster: str = "slurm", **options: Any) -> dict[str, Any]:
        told = self(
            "run", "fig12", *words, "--cluster", cluster, "--allow-dirty", "--json", **options
        )
        return json.loads(told.stdout)  # type: ignore[no-any-return]

    def status(self, name: str = "fig12") -> dict[str, Any]:
        return json.loads(self("status", name, "--json", code=None).stdout)  # type: ignore[no-any-return]

    def wait_until_over(self, seconds: float = 250.0, name: str = "fig12") -> dict[str, Any]:
        """Nothing runs or waits, by another process' look; the closing job is through, too."""
        return self.wait_for(lambda now: not now["running"] + now["waiting"], seconds, name)

    def wait_for(
        self, is_so: Callable[[dict[str, Any]], bool], seconds: float = 60.0, name: str = "fig12"
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not is_so(now := self.status(name)):
            assert time.monotonic() < deadline, (now, self.job_logs())
            time.sleep(0.5)
        return now

    def job_logs(self) -> str:
        logs = sorted(self.work.glob("submissions/*/logs/*log.out"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in logs)

    def cells_of(self, submission: dict[str, Any]) -> dict[str, str]:
        content = json.loads((Path(submission["submission"]) / "submission.json").read_bytes())
        return content["cells"]  # type: ignore[no-any-return]

    def first_task(self, submission: dict[str, Any]) -> str:
        return min(self.cells_of(submission).values(), key=lambda task: int(task.partition("_")[0]))

    def pretraining(self) -> dict[str, Any]:
        return next(body for body in self.results().values() if body["task"] == "Pretrain")

    def wait_until_training(self) -> None:
        """The pretraining cell of LONG is in its loop."""
        logs = "runs/*/attempt-*/log.txt"
        deadline = time.monotonic() + 90
        while not any("cell " in path.read_text() for path in self.work.glob(logs)):
            assert time.monotonic() < deadline, self.job_logs()
            time.sleep(0.1)
        time.sleep(1.5)


def cluster_file(folder: Path, **settings: object) -> str:
    file = folder / "mine.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return str(file)


def jobs_in_queue(slurm: ThrowAwaySlurm) -> str:
    return slurm.ask("squeue", "--noheader", "--array", "--format=%i %T")


SLOW = """
import time

from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class Slow(nn.Module):
    def __init__(self, frame_size):
        super().__init__()
        self.rnn = nn.GRU(frame_size, 6)

    def forward(self, frames_TBD):
        if self.training:
            time.sleep(0.02)
        return self.rnn(frames_TBD)[0]


def slow(*, steps: int = 1600):
    return fig12(encoder=own(Slow), methods=("pretrained",), shots=(1,), resamples=1, units=6, layers=1,
                 pretrain_steps=steps, pretrain_batch=2, finetune_steps_few=2)
"""
"""A pretraining of 20 ms a step, however fast the machine is."""
