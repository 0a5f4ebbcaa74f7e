"""How a number came about: code, versions, machine. A number without these cannot enter a paper.

Only what is named here is recorded: environment variables, which can hold secrets, are not.
"""

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.files import sha256
from slurm import queue

GIT_S = 120
"""Seconds that git may take for one answer."""
GIT_TRIES = 3
"""Times that it is asked, where it is killed before it answers."""
PACKAGES = (
    "torch",
    "numpy",
    "scikit-learn",
    "pandas",
    "scipy",
    "mlflow",
    "submitit",
    "matplotlib",
    "video-lstm-harness",
)


@cache
def code() -> dict[str, Any]:
    """The commit of this project's code, whether it was altered since, and the sha256 of how."""
    here = Path(__file__).resolve().parent.parent
    commit = _git(here, "rev-parse", "HEAD")
    # A checkout of something else around an installed copy says nothing about this code.
    if commit is None or _git(here, "ls-files", "--error-unmatch", "harness/provenance.py") is None:
        return {"commit": "unknown", "dirty": None, "diff_sha256": None}
    difference = _git(here, "diff", "HEAD", "--", "*.py")
    new = _git(here, "ls-files", "--others", "--exclude-standard", "--", "*.py")
    if difference is None or new is None:
        return {"commit": "unknown", "dirty": None, "diff_sha256": None}
    for name in new.splitlines():  # files that no commit knows yet are code, too
        difference += f"\n{name} {sha256((here / name).read_bytes())}"
    return {
        "commit": commit,
        "dirty": bool(difference),
        "diff_sha256": sha256(difference.encode()) if difference else None,
    }


def change_since(ordered: Mapping[str, Any]) -> str:
    """In what this code differs from the code that was ordered, in words; empty if in nothing that can be told."""
    now = code()
    # A node without git, or with one that does not answer, cannot tell: that is no change.
    if not ordered or ordered == now or now["dirty"] is None:
        return ""
    before, after = (str(each["commit"])[:12] for each in (ordered, now))
    if before != after:
        return f"from commit {before} to {after}"
    return f"on top of commit {before}"


def slurm_job() -> dict[str, Any] | None:
    """The SLURM job in which this process runs: its id (an array's task as 12_3), and how often it was restarted."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return {
        "id": queue.this_task(),
        "restarts": int(restarts) if restarts.isdigit() else 0,
        "node": os.environ.get("SLURMD_NODENAME", ""),
    }


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that can alter a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, Any]:
    """Host, processor and operating system."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def of_run(*, device: str, command: str, settings: list[str], lstm: str) -> dict[str, Any]:
    """Everything recorded with one attempt; `lstm` names the implementation, which alters the last digits."""
    return {
        "code": code(),
        "packages": packages(),
        "machine": machine(),
        "job": slurm_job(),
        "device": device,
        "lstm": lstm,
        "experiment": command,
        "settings": settings,
        "python": sys.version.split()[0],
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is none, it refuses, or it is too slow (many tasks may ask one disk at once).

    One that was killed is asked again: a result would say for ever that its commit is unknown.
    """
    for _ in range(GIT_TRIES):
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=GIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode >= 0:
            return done.stdout.strip() if done.returncode == 0 else None
    return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
