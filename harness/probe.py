"""What only a compute node knows, told to `harness doctor`: a job like a cell's, which writes one file and ends.

Run as a module there: `python -m harness.probe FOLDER GPUS`. FOLDER is WORK/doctor/<stamp>, in which the login node has
left a token; GPUS is 1 where cells ask for GPUs, and 0 where they run on CPUs.
"""

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import files, provenance
from harness.uri import uri, without_password
from harness.workdir import Workdir, WorkdirUnusable
from slurm.local import visible_gpus
from slurm.site import silent_commands

TOKEN, ANSWER = "token", "found.json"
NO_FOLDER = 4
"""Exit code: the work folder of the login node is not seen there, or cannot be written."""
SIDE = 64
"""Rows of the matrices that GPUs multiply, to see that they do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU as torch sees it."""

    name: str
    memory_gb: float
    problem: str = ""
    """Why it could not multiply two small matrices; empty if it could."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the probe found where it ran."""

    host: str
    python: str
    """The interpreter's path."""
    packages: Mapping[str, str]
    """Versions, of Python too."""
    torch_problem: str
    """Why torch could not be used; empty if it could."""
    gpus: tuple[Gpu, ...]
    gpus_allotted: int
    """GPUs that SLURM let the process see, whatever torch makes of them."""
    cores: int
    """Cores that the process may use."""
    token: str
    free_gb: float
    """On the disk of the work folder."""
    silent: Mapping[str, str]
    """SLURM's commands that do not answer there, and why."""
    store_problem: str
    """Why the MLflow store cannot be reached from there; empty if it can."""
    code: Mapping[str, Any]
    """Commit and difference, as `provenance.code` tells them."""


def read(path: Path) -> Answer:
    """Read an answer.

    Raises:
        OSError: when it is not there.
        ValueError: when it is not an answer as this version of the code writes it.
    """
    try:
        content = json.loads(path.read_bytes())
        gpus = tuple(Gpu(**each) for each in content.pop("gpus"))
        return Answer(**content, gpus=gpus)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is not what this version of the code writes") from None


def main(arguments: list[str]) -> int:
    """Look around, and write what was found.

    Returns:
        0, or NO_FOLDER.
    """
    folder, wants_gpus = Path(arguments[0]), arguments[1] != "0"
    if not wants_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # as cells do: what was not asked for is not taken
    try:
        token = (folder / TOKEN).read_text(encoding="ascii")
        Workdir(folder.parents[1]).prepare()  # before the slow part: can it be written?
    except (OSError, ValueError, WorkdirUnusable) as error:
        sys.stderr.write(f"the work folder is not the login node's here: {error}\n")
        return NO_FOLDER
    torch_problem, gpus = _torch()
    answer = Answer(
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        python=sys.executable,
        packages=provenance.packages(),
        torch_problem=torch_problem,
        gpus=gpus,
        gpus_allotted=len(visible_gpus()),
        cores=len(os.sched_getaffinity(0)),
        token=token,
        free_gb=round(shutil.disk_usage(folder).free / 1e9, 1),
        silent=silent_commands(),
        store_problem=_store(Workdir(folder.parents[1])),
        code=provenance.code(),
    )
    files.write_json(folder / ANSWER, asdict(answer))
    return 0


def _torch() -> tuple[str, tuple[Gpu, ...]]:
    """Why torch cannot be used at all, and its GPUs."""
    try:
        import torch  # the slow part

        return "", tuple(_gpu(index) for index in range(torch.cuda.device_count()))
    except (ImportError, OSError, RuntimeError) as error:
        return _line(error), ()


def _gpu(index: int) -> Gpu:
    import torch

    about = torch.cuda.get_device_properties(index)
    problem = ""
    try:
        ones = torch.ones(SIDE, SIDE, device=f"cuda:{index}")
        if not bool((ones @ ones == SIDE).all()):
            problem = "it multiplies wrongly"
    except RuntimeError as error:
        problem = _line(error)
    return Gpu(name=about.name, memory_gb=round(about.total_memory / 2**30, 1), problem=problem)


def _store(workdir: Workdir) -> str:
    if uri(workdir) == f"sqlite:///{workdir.database.resolve()}":
        return ""  # a file of the folder that was just written to; the first run makes it
    try:
        from harness.store import reachable
    except (ImportError, OSError) as error:
        return _line(error)
    return without_password(reachable(workdir))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
