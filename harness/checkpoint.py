"""Checkpoints: one file with its own checksum, written beside and renamed; the newest complete one is taken.

Loading never unpickles code (`weights_only`), and a checkpoint that is cut short, altered, of another cell or of another
version, or that does not fit the model that is to go on from it, is passed over, aloud, for the one before it.
"""

import hashlib
import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from harness import files
from harness.result import CHECKPOINTS
from tasks.data import writing

LOG = logging.getLogger(__name__)
MOST_OF_THE_TIME = 1 / 20
"""That goes into checkpoints: at paper size one of ten models trained together is ten gigabytes."""
FORMAT = 1
"""What files say they are; those from before they said it are of the first, too."""
KEEP = 2
"""Complete checkpoints kept per attempt: the newest, and one to fall back on."""

Check: TypeAlias = Callable[[int, Mapping[str, Any]], None]
"""Raises ValueError, in words that "it" begins, where a state after some steps cannot be gone on from."""


class Pace:
    """When the next checkpoint is due."""

    def __init__(self, every_s: float) -> None:
        """Begin to count.

        Args:
            every_s: seconds between checkpoints, at least; more where writing one takes more than a twentieth of that.
        """
        self._every_s = every_s
        self._began = self._saved = time.monotonic()
        self._took_s = 0.0

    def due(self, *, last: bool) -> bool:
        """Whether to save after this step; after the last one, whether training took long enough for that."""
        now = time.monotonic()
        if last:
            return now - self._began > self._every_s
        return now - self._saved > max(self._every_s, self._took_s / MOST_OF_THE_TIME)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around the writing."""
        began = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._took_s = self._saved - began


def name(step: int) -> str:
    """What the file of the state after `step` steps is called."""
    return f"checkpoint-{step:09d}.pt"


def save(folder: Path, *, cell: str, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` steps.

    Args:
        folder: the attempt's.
        cell: the cell's key.
        step: steps done.
        state: nested dicts and lists of tensors, numbers and text.
    """
    buffer = io.BytesIO()
    about = {"format": FORMAT, "torch": str(torch.__version__), "cell": cell, "step": step}
    torch.save({**about, "state": state}, buffer)
    content = buffer.getvalue()
    path = folder / name(step)
    files.write(path, hashlib.sha256(content).digest() + content)
    for old in sorted(folder.glob(CHECKPOINTS))[:-KEEP]:
        writing.remove(old)
    return path


class Found(NamedTuple):
    """A complete checkpoint."""

    path: Path
    step: int
    state: dict[str, Any]


def newest(
    folders: Iterable[Path],
    *,
    cell: str,
    check: Check | None = None,
    passed: list[str] | None = None,
) -> tuple[int, dict[str, Any]] | None:
    """The state of the newest checkpoint of a cell, in any of its attempts' folders, that can be gone on from.

    Args:
        folders: of attempts.
        cell: the cell's key.
        check: says of a complete one whether it fits; all do, if None.
        passed: gets a sentence for each that is passed over.

    Returns:
        Steps done and the state on the CPU, or None where there is no such checkpoint.
    """
    found = find(folders, cell=cell, check=check, passed=passed)
    return (found.step, found.state) if found else None


def find(
    folders: Iterable[Path],
    *,
    cell: str,
    check: Check | None = None,
    passed: list[str] | None = None,
) -> Found | None:
    """As `newest`, with the file that it is."""
    found = sorted(
        (path for folder in folders for path in folder.glob(CHECKPOINTS)),
        key=lambda path: path.name,
    )
    for path in reversed(found):
        try:
            step, state = load(path, cell)
            if check is not None:
                check(step, state)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, an older one may be right
            LOG.warning("%s is passed over: %s", path, error)
            if passed is not None:
                why = (str(error).splitlines() or [type(error).__name__])[0]
                passed.append(f"{path.parent.name}/{path.name} was passed over: {why}")
        else:
            return Found(path, step, state)
    if found:
        LOG.warning("no checkpoint of cell %s can be gone on from: training begins anew", cell[:16])
    return None


def load(path: Path, cell: str) -> tuple[int, dict[str, Any]]:
    """Steps done and the state of one checkpoint.

    Raises:
        ValueError: when it is not complete, or another cell's; it says so of "it".
        Exception: whatever torch objects to in what is in it.
    """
    content = path.read_bytes()
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("it is cut short or altered")
    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict) or not {"cell", "step", "state"} <= loaded.keys():
        raise ValueError("it is no checkpoint of this program")
    if loaded.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"it has format {loaded['format']}, of another version; this one reads format {FORMAT}"
        )
    if loaded["cell"] != cell:
        raise ValueError(f"it belongs to cell {loaded['cell']}")
    return int(loaded["step"]), loaded["state"]
