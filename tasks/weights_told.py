"""What a .safetensors file of weights says of itself, read from its header alone, without torch.

A run of this harness writes beside the weights which task made them. So whoever uses a file of them later can see that it
fits, that what it is fed is made as in training, and whose labels it has seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER = 2**24
"""Bytes of a header; models/weights.py reads no file with a longer one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelsSeen:
    """Whose labels a net was trained on: percepts that it makes must be tested where these are on the training side."""

    set_name: str
    index: str
    """Identity of the set's index: its videos, labels and splits."""
    videos: str
    """Identity of its videos alone."""
    split: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSeen:
    """The flow that a temporal stream was trained on."""

    method: str
    bound: float
    """Pixels a frame."""
    length: int
    """Fields of a stack."""
    subtract_mean: bool
    size: tuple[int, int]
    """Rows and columns of a field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a file's header tells."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of each tensor by its name."""
    labels: LabelsSeen | None = None
    """None where the file does not say: it may be of another program."""
    flow: FlowSeen | None = None


def told_by(path: Path) -> Told | None:
    """Read what a file of weights says of itself.

    Returns:
        None for a file of another kind, and for one that is missing or damaged: whoever loads it says so.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with path.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            header = json.loads(source.read(min(length, MAX_HEADER)))
        metadata = header.pop("__metadata__", {})
        shapes = {str(name): tuple(map(int, each["shape"])) for name, each in header.items()}
        task = json.loads(metadata.get("task", "{}"))
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError):  # fmt: skip
        return None
    return Told(shapes=shapes, labels=_labels(task), flow=_flow(task))


def _labels(task: Any) -> LabelsSeen | None:
    match task:
        case {
            "class": "TemporalStream",
            "split": int(split),
            "dataset": {"set_name": str(name), "index": str(index), "videos": str(videos)},
        }:
            return LabelsSeen(set_name=name, index=index, videos=videos, split=split)
    return None


def _flow(task: Any) -> FlowSeen | None:
    match task:
        case {
            "class": "TemporalStream",
            "length": int(length),
            "subtract_mean": bool(subtract_mean),
            "dataset": {
                "method": str(method),
                "bound": float(bound),
                "rows": int(rows),
                "columns": int(columns),
            },
        }:
            return FlowSeen(
                method=method,
                bound=bound,
                length=length,
                subtract_mean=subtract_mean,
                size=(rows, columns),
            )
    return None
