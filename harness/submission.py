"""What was sent to a cluster: one folder a submission, never used twice, since clusters count jobs from 1 again.

submissions/<id>/order.json       what the tasks' workers are told
submissions/<id>/<array>.json     the cells of each task of an array
submissions/<id>/submission.json  which cell went into which job: written before and after each array is queued
submissions/<id>/left/<job>       made by a job's processes that saved and left because they were asked to
submissions/<id>/cancelled        made by `harness cancel`: no job of it asks to be run again
submissions/<id>/logs/            what the jobs said outside any cell, and the scripts that sbatch was given
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import files, stamp
from harness.workdir import Workdir

NAME = "submission.json"
CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One call of `harness run` on a cluster."""

    folder: Path
    experiment: str
    cells: Mapping[str, str]
    """SLURM's id of the array task (such as 12_3) by the key of a cell."""
    closing: str = ""
    """The job that draws the report at the end."""
    pending: str = ""
    """The array whose submission began and is not known to have ended: it may be in the queue, under an unknown id."""

    @property
    def job_name(self) -> str:
        """What its jobs are called: ids are used again on a new cluster, this name is not."""
        return job_name(self.experiment, self.folder)

    @property
    def tasks(self) -> set[str]:
        """SLURM's ids of everything that was sent."""
        return {*self.cells.values(), *([self.closing] if self.closing else [])}

    @property
    def cancelled(self) -> bool:
        """Whether the user has cancelled it."""
        return (self.folder / CANCELLED).exists()

    def write(self) -> None:
        """Record it, whole or not at all."""
        content = {
            "experiment": self.experiment,
            "cells": dict(self.cells),
            "closing": self.closing,
            "pending": self.pending,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        files.write_json(self.folder / NAME, content)


def tasks_of(folder: Path, array: str) -> list[list[str]]:
    """The cells of each task of an array, by key.

    Raises:
        OSError, ValueError, KeyError: when its file cannot be read.
    """
    content = json.loads((folder / f"{array}.json").read_bytes())
    return [[str(key) for key in task] for task in content["tasks"]]


def job_name(experiment: str, folder: Path) -> str:
    """The name of a submission's jobs, of characters that no listing takes for its own."""
    return f"harness-{re.sub(r'[^A-Za-z0-9_.-]+', '_', experiment)}-{folder.name}"


def left(folder: Path, task: str) -> Path:
    """Where the processes of a task say that they saved and left when asked to."""
    return folder / "left" / task


def job_log(folder: Path, task: str) -> Path:
    """What a task of a submission said on its first node, outside any cell."""
    return folder / "logs" / f"{task}_0_log.out"


def new_folder(workdir: Workdir) -> Path:
    """A folder for a new submission; it is not made yet."""
    submissions = workdir.root.resolve() / "submissions"
    return submissions / stamp.name_after(submissions)


def read_all(workdir: Workdir) -> list[Submission]:
    """Every readable submission of a work folder, oldest first."""
    found = []
    for path in sorted((workdir.root / "submissions").glob(f"*/{NAME}")):
        try:
            content = json.loads(path.read_bytes())
            found.append(
                Submission(
                    folder=path.parent,
                    experiment=str(content["experiment"]),
                    cells={str(key): str(task) for key, task in content["cells"].items()},
                    closing=str(content["closing"]),
                    pending=str(content.get("pending", "")),
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # results are the facts; a torn record only hides where its cells were sent
    return found
