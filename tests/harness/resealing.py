"""Altering a finished work folder as somebody would who knows how results are sealed."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from harness import files


def find(work: Path, **wanted: object) -> Path:
    """The accepted result of the one cell whose values, task or seed are these."""
    (found,) = (
        path
        for path in sorted(work.glob("runs/*/result.json"))
        for body in (json.loads(path.read_bytes()),)
        if all({**body["values"], "task": body["task"], "needs": len(body["rests_on"])}.get(name) == value for name, value in wanted.items())
    )  # fmt: skip
    return found


def attempt(accepted: Path) -> Path:
    """The folder of the attempt that was accepted."""
    return accepted.parent / str(json.loads(accepted.read_bytes())["attempt"])


def reseal(accepted: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    """Alter a result and give it the checksum that fits."""
    body = json.loads(accepted.read_bytes())
    body.pop("sha256")
    alter(body)
    body["sha256"] = files.sha256(files.to_json(body))
    accepted.unlink()  # one of two links to the attempt's own result
    accepted.write_bytes(files.to_json(body))


def keep(accepted: Path, name: str, content: bytes) -> None:
    """Replace a file of the accepted attempt, and state it in the result as if it had always been so."""
    (attempt(accepted) / name).write_bytes(content)
    listed = {"bytes": len(content), "sha256": files.sha256(content)}
    reseal(accepted, lambda body: body["files"].update({name: listed}))


def predictions(accepted: Path) -> pd.DataFrame:
    return pd.read_parquet(attempt(accepted) / "predictions.parquet")


def parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()
