"""Find a cell by the first digits of its key, and read what its newest attempt said."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import result, sent, status, submission
from harness.source import UsageError
from harness.workdir import Workdir
from tasks.cell import SHORT

LEAST = 4
"""Digits of a key that are needed at least."""
POLL_S, ASK_S = 0.5, 5.0
"""Seconds between two looks at a log that is followed, and between two questions whether anybody has its cell."""


def find_cell_folder(workdir: Workdir, digits: str) -> Path:
    """The folder of the one cell whose key begins with these digits; it is not there yet if the cell was only sent.

    Raises:
        UsageError: when there is no such cell, or more than one.
    """
    if len(digits) < LEAST or not all(each in "0123456789abcdef" for each in digits):
        raise UsageError(
            f"'{digits}' is no cell: give the first {LEAST} or more digits (0-9, a-f) of its key, as status shows it"
        )
    known = {path.name for path in workdir.runs.glob(f"{digits[:SHORT]}*")}
    for each in submission.read_all(workdir):
        known.update(key[:SHORT] for key in each.cells if key.startswith(digits[:SHORT]))
    found = sorted(known)
    if not found:
        raise UsageError(
            f"no cell in {workdir.root} begins with {digits}: `harness status NAME` lists those that failed"
        )
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} cells begin with {digits} ({', '.join(found[:3])}, ...): give more digits"
        )
    return workdir.runs / found[0]


def read_logs(workdir: Workdir, folder: Path) -> dict[str, Any]:
    """The newest attempt's state and log, all ranks; of a cell that was sent and never begun, its job's log.

    Raises:
        UsageError: when there is neither.
    """
    tried = sorted(folder.glob("attempt-*"))
    if not tried:
        return _never_begun(workdir, folder)
    newest = tried[-1]
    logs = _logs(newest)
    texts = []
    for path in logs:
        head = f"--- {path.name}\n" if len(logs) > 1 else ""
        texts.append(head + path.read_text(encoding="utf-8", errors="replace"))
    state, error = _state(newest)
    return {
        "cell": folder.name,
        "folder": str(newest),
        "attempts": len(tried),
        "state": state,
        "error": error,
        "log": "".join(texts),
    }


def follow_log(
    workdir: Workdir, folder: Path, echo: Callable[[bytes], None], say: Callable[[str], None]
) -> bool:
    """Print a cell's log as it grows, from attempt to attempt, until the cell is done or nobody has it in hand.

    Args:
        workdir: the work folder.
        folder: the cell's.
        echo: gets the log's text as it comes.
        say: gets what happens to the cell, a line at a time.

    Returns:
        Whether the cell has a result.
    """
    shown: Path | None = None
    tails: dict[Path, int] = {}
    asked = -ASK_S
    in_hand = True
    if not any(folder.glob("attempt-*")):
        say(f"cell {folder.name} has not begun yet")
    while True:
        # First the state, then the text: what was written before the end is shown before the end.
        done = (folder / result.NAME).exists()
        if not done and time.monotonic() - asked > ASK_S:
            in_hand = _in_hand(workdir, folder.name)
            asked = time.monotonic()
        tried = sorted(folder.glob("attempt-*"))
        if tried and tried[-1] != shown:
            shown = tried[-1]
            tails.clear()
            say(str(shown))
        for path in _logs(shown) if shown else []:
            with path.open("rb") as source:
                source.seek(tails.get(path, 0))
                text = source.read()
            tails[path] = tails.get(path, 0) + len(text)
            if text:
                echo(text)
        if done or not in_hand:
            return done
        time.sleep(POLL_S)


def _in_hand(workdir: Workdir, short: str) -> bool:
    """Whether a driver or a cluster has the cell in hand."""
    if workdir.is_driven() and any(
        key.startswith(short) for key in set().union(*status.in_hand(workdir))
    ):
        return True
    return any(
        sent.holds(workdir, key, place)
        for key, place in sent.look(workdir).items()
        if key.startswith(short)
    )


def _never_begun(workdir: Workdir, folder: Path) -> dict[str, Any]:
    for each in reversed(submission.read_all(workdir)):
        for key, task in each.cells.items():
            if key.startswith(folder.name):
                path = submission.job_log(each.folder, task)
                text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
                return {
                    "cell": folder.name,
                    "folder": str(path),
                    "attempts": 0,
                    "state": f"not begun; this is what job {task} says" if text else f"not begun; job {task} says nothing yet",
                    "error": "",
                    "log": text,
                }  # fmt: skip
    raise UsageError(f"cell {folder.name} was never tried")


def _logs(attempt: Path) -> list[Path]:
    first = attempt / "log.txt"
    return [*([first] if first.exists() else []), *sorted(attempt.glob("log-rank*.txt"))]


def _state(attempt: Path) -> tuple[str, str]:
    """An attempt's state, and its error if it failed."""
    if (attempt / result.NAME).exists():
        return "finished", ""
    try:
        return "failed", str(json.loads((attempt / result.FAILURE).read_bytes())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not finished", ""
