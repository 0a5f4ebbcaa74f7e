"""What a run would find on this machine, each with what to do about it."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from harness.uri import place_of_store, uri
from harness.workdir import Workdir, WorkdirUnusable
from slurm.local import visible_gpus

NEEDED_GB = 1.0
PACKAGES = ("torch", "mlflow", "submitit", "scikit-learn", "pandas", "rich", "matplotlib")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def content(findings: Sequence[Finding]) -> list[dict[str, str | bool]]:
    """Findings as plain JSON."""
    return [
        {"what": each.what, "ok": each.ok, "found": each.found, "advice": each.advice}
        for each in findings
    ]


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings for people, advice below what it is about."""
    return [
        f"{'ok' if each.ok else '!!'} {each.what}: {each.found}"
        + (f"\n   {each.advice}" if each.advice else "")
        for each in findings
    ]


def examine(workdir: Workdir) -> list[Finding]:
    """Look at Python, packages, cores, GPUs, the work folder and the MLflow store."""
    return [_python(), *_packages(), _compute(), _lstm(), _folder(workdir), _store(workdir)]


def _python() -> Finding:
    found = sys.version.split()[0]
    ok = sys.version_info >= (3, 11)
    return Finding("Python", ok, found, "" if ok else "3.11 or later is needed")


def _packages() -> list[Finding]:
    found = []
    for name in PACKAGES:
        try:
            found.append(Finding(name, True, version(name)))
        except PackageNotFoundError:
            found.append(
                Finding(name, False, "not installed", "pip install -c constraints.txt -e .")
            )
    return found


def _compute() -> Finding:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    gpus = visible_gpus()
    if not gpus:
        return Finding(
            "compute",
            True,
            f"{cores} cores, no GPU: `harness run` uses {cores} processes of one thread",
        )
    import torch  # only where there is a GPU to ask for

    if not torch.cuda.is_available():
        return Finding(
            "compute",
            False,
            f"{len(gpus)} GPUs, but torch {torch.__version__} sees none",
            "install a CUDA build of torch",
        )
    return Finding(
        "compute", True, f"{cores} cores, {len(gpus)} GPUs ({torch.cuda.get_device_name(0)})"
    )


def _lstm() -> Finding:
    import torch

    from models import compiled_lstm, fused_lstm

    try:
        chosen = fused_lstm.chosen(torch.zeros(()))
    except ValueError as error:
        return Finding("LSTM", False, str(error))
    reason = compiled_lstm.why_not()
    told = f"on a CPU: {chosen}" + (f" (not compiled: {reason})" if reason else "")
    advice = "slower: install a C compiler, or name one in CC" if reason else ""
    return Finding("LSTM", True, told, advice)


def _folder(workdir: Workdir) -> Finding:
    try:
        workdir.prepare()
    except WorkdirUnusable as error:
        return Finding("work folder", False, str(error))
    free = shutil.disk_usage(workdir.root).free / 1e9
    busy = "; a run is at work there" if workdir.is_driven() else ""
    advice = "" if free > NEEDED_GB else f"less than {NEEDED_GB:.0f} GB: free some space"
    return Finding(
        "work folder",
        free > NEEDED_GB,
        f"{workdir.root.resolve()}, {free:.1f} GB free{busy}",
        advice,
    )


def _store(workdir: Workdir) -> Finding:
    place = place_of_store(workdir)
    if uri(workdir).startswith("sqlite:") and not workdir.database.exists():
        return Finding("MLflow", True, f"{place}, made by the first run")
    from harness.store import reachable  # MLflow: only where there is a store to ask

    problem = reachable(workdir)
    advice = (
        "runs go on without it; `harness collect` brings the results home when it is back"
        if problem
        else ""
    )
    return Finding("MLflow", not problem, f"{place}{': ' + problem if problem else ''}", advice)
