"""Find a cell by the first digits of its key, and read what its newest attempt said."""

import json
from pathlib import Path
from typing import Any

from harness import result
from harness.source import UsageError
from harness.workdir import Workdir
from tasks.cell import SHORT

LEAST = 4
"""Digits of a key that are needed at least."""


def find_cell_folder(workdir: Workdir, digits: str) -> Path:
    """The folder of the one cell whose key begins with these digits.

    Raises:
        UsageError: when there is none, or more than one.
    """
    if len(digits) < LEAST or not all(each in "0123456789abcdef" for each in digits):
        raise UsageError(
            f"'{digits}' is no cell: give the first {LEAST} or more digits (0-9, a-f) of its key, as status shows it"
        )
    found = sorted(workdir.runs.glob(f"{digits[:SHORT]}*"))
    if not found:
        raise UsageError(
            f"no cell in {workdir.root} begins with {digits}: `harness status NAME` lists those that failed"
        )
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} cells begin with {digits} ({', '.join(path.name for path in found[:3])}, ...): give more digits"
        )
    return found[0]


def read_logs(folder: Path) -> dict[str, Any]:
    """The newest attempt's state and log, all ranks.

    Raises:
        UsageError: when there was no attempt.
    """
    tried = sorted(folder.glob("attempt-*"))
    if not tried:
        raise UsageError(f"cell {folder.name} was never tried")
    newest = tried[-1]
    logs = [newest / "log.txt", *sorted(newest.glob("log-rank*.txt"))]
    texts = []
    for path in logs:
        if path.exists():
            head = f"--- {path.name}\n" if len(logs) > 1 else ""
            texts.append(head + path.read_text(encoding="utf-8", errors="replace"))
    state = (
        "finished"
        if (newest / result.NAME).exists()
        else "failed"
        if (newest / result.FAILURE).exists()
        else "not finished"
    )
    error = json.loads((newest / result.FAILURE).read_bytes())["error"] if state == "failed" else ""
    return {
        "cell": folder.name,
        "folder": str(newest),
        "attempts": len(tried),
        "state": state,
        "error": error,
        "log": "".join(texts),
    }
