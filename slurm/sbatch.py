"""What is handed to sbatch: a plain command, as submitit writes and submits it; no pickle (docs/decisions/0006)."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

SIGNAL_DELAY_S = 90
"""Seconds before the time limit at which jobs are told to save and leave."""


OURS = frozenset(
    f"SBATCH_{name}"
    for name in (
        "ARRAY_INX", "SIGNAL", "REQUEUE", "NO_REQUEUE", "EXPORT", "JOB_NAME", "WAIT", "MEM_PER_NODE", "MEM_PER_CPU",
        "MEM_PER_GPU", "GRES", "GPUS", "GPUS_PER_NODE", "GPUS_PER_TASK", "CPUS_PER_GPU", "EXCLUSIVE", "OVERCOMMIT",
    )
)  # fmt: skip
"""Variables of sbatch for what every script here says itself."""


HINTS = {
    "Invalid job array specification": " (the site takes shorter arrays: set array_limit; `harness doctor --cluster` says to what)",
}
"""What to do about sbatch's words where they do not say it."""


class SubmissionRefused(Exception):
    """sbatch did not take a job; nothing was queued."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call of sbatch: an array of tasks, or (with `tasks` None) one job."""

    name: str
    folder: Path
    """Where logs go; every node sees it."""
    module: str
    """The Python module to run."""
    words: tuple[str, ...]
    """Its arguments."""
    tasks: int | None = None
    nodes: int = 1
    ranks_per_node: int = 1
    dependency: str = ""
    """As sbatch spells it; a job whose dependency can never be met is cancelled."""
    python: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpus_per_node: int = 0
    cpus_per_node: int = 1
    memory_gb: float = 0.0
    """Per node; 0 for the site's default."""
    time_min: int = 0
    """0 for the site's default."""
    max_parallel: int = 256
    setup: tuple[str, ...] = ()
    requeue: bool = True

    @property
    def command(self) -> str:
        """The command of every node's one process."""
        python = self.python or quote(sys.executable)
        return " ".join([python, "-u", "-m", self.module, *map(quote, self.words)])


class _Plain(SlurmExecutor):
    """submitit's executor, used for the script it writes and the call of sbatch alone."""

    @classmethod
    def affinity(cls) -> int:
        """A dry run shows the script where there is no SLURM, too."""
        return 2

    def submit_command(self, command: str) -> str:
        """Submit, and return SLURM's job id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return str(self._submit_command(command).job_id)


def check_folder(folder: Path) -> None:
    """Refuse a folder that SLURM would take for a pattern.

    Raises:
        ValueError: in one sentence.
    """
    bad = [each for each in "%\\\n\"'" if each in str(folder)]
    if bad:
        raise ValueError(
            f"SLURM cannot write logs into {str(folder)!r}: it replaces or drops {bad[0]!r} in names of log files; "
            "choose another --workdir"
        )


def _executor(request: Request) -> _Plain:
    executor = _Plain(folder=request.folder)
    minutes = request.time_min or None
    asked: dict[str, Any] = {
        "job_name": request.name,
        "partition": request.partition or None,
        "account": request.account or None,
        "qos": request.qos or None,
        "constraint": request.constraint or None,
        "gpus_per_node": request.gpus_per_node or None,
        "cpus_per_task": request.cpus_per_node,
        "nodes": request.nodes,
        "ntasks_per_node": 1,
        "dependency": request.dependency or None,
        "array_parallelism": request.max_parallel,
        "setup": list(request.setup) or None,
        "stderr_to_stdout": True,
        "wckey": None,
        "time": minutes,
        "signal_delay_s": min(SIGNAL_DELAY_S, minutes * 15) if minutes else SIGNAL_DELAY_S,
        # srun takes no --cpus-per-task over from sbatch, since SLURM 22.05.
        "srun_args": [f"--cpus-per-task={request.cpus_per_node}", "--kill-on-bad-exit=1"],
        "additional_parameters": {
            "kill-on-invalid-dep": "yes",
            ("requeue" if request.requeue else "no-requeue"): True,
        },
    }
    if request.memory_gb:
        asked["mem"] = f"{round(request.memory_gb * 1024)}M"
    executor.update_parameters(**asked)
    if request.tasks is not None:
        executor.parameters["map_count"] = request.tasks
    return executor


def text(request: Request) -> str:
    """The very script that `submit` hands to sbatch."""
    return _executor(request)._make_submission_file_text(request.command, "")


def submit(request: Request) -> str:
    """Submit.

    Returns:
        SLURM's id of the job or array.

    Raises:
        SubmissionRefused: in sbatch's words.
    """
    try:
        # submitit repeats sbatch's words, and so does the exception.
        with redirect_stderr(io.StringIO()), _without_what_overrides(request):
            return _executor(request).submit_command(request.command)
    except (FailedJobError, FailedSubmissionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = [
            line.removeprefix("sbatch: error: ") for line in lines if line.startswith("sbatch:")
        ]
        told = [line.removeprefix("Batch job submission failed: ") for line in told or lines[-1:]]
        words = "; ".join(dict.fromkeys(told)) or "no reason given"
        hint = next((hint for sign, hint in HINTS.items() if sign in words), "")
        raise SubmissionRefused(words + hint) from None
    except FileNotFoundError:
        raise SubmissionRefused("there is no sbatch here: run this on a login node") from None


@contextmanager
def _without_what_overrides(request: Request) -> Iterator[None]:
    """SBATCH_PARTITION and the like win against a script: those that would alter what a dry run has shown are kept out."""
    chosen = {
        "SBATCH_PARTITION": request.partition,
        "SBATCH_ACCOUNT": request.account,
        "SBATCH_QOS": request.qos,
        "SBATCH_CONSTRAINT": request.constraint,
        "SBATCH_TIMELIMIT": request.time_min,
    }
    ours = {name for name, value in chosen.items() if value} | OURS
    taken = {name: os.environ.pop(name) for name in ours & os.environ.keys()}
    try:
        yield
    finally:
        os.environ.update(taken)


def afterok(ids: Sequence[str]) -> str:
    """A dependency on the success of all of these."""
    return f"afterok:{':'.join(ids)}" if ids else ""


def afterany(ids: Sequence[str]) -> str:
    """A dependency on the end of all of these, whatever it was."""
    return f"afterany:{':'.join(ids)}" if ids else ""
