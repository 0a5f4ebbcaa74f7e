"""What an MLflow database says of an experiment, without ids, deleted runs and the times at which parents were made.

Read with SQL alone: two stores are the same to people if this is equal. It has a list, not a set: a run that is there twice
makes a difference.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

OF_FOLDER = ("work_folder", "work_folder_name")


def dump(database: Path, experiment: str, served: Path | None = None) -> list[Any]:
    """All runs that are not deleted, with all that belongs to them, sorted; and the experiment itself.

    Args:
        database: of MLflow.
        experiment: its name; it is replaced in all texts.
        served: where a server keeps its files, if one has them.
    """
    with closing(sqlite3.connect(f"file:{_quoted(database)}?mode=ro", uri=True)) as source:
        assert source.execute("pragma integrity_check").fetchall() == [("ok",)]
        experiments = source.execute(
            "select experiment_id, lifecycle_stage from experiments where name = ?", [experiment]
        ).fetchall()
        ((number, stage),) = experiments
        tags = source.execute(
            "select key, value from experiment_tags where experiment_id = ?", [number]
        )
        found: list[Any] = [("experiment", stage, sorted(tags))]
        runs = source.execute(
            "select run_uuid, name, status, start_time, end_time, artifact_uri from runs "
            "where experiment_id = ? and lifecycle_stage = 'active'",
            [number],
        ).fetchall()
        kinds = {run: _kind(source, run, name) for run, name, *_ in runs}
        for run, name, status, start, end, place in runs:
            is_cell = kinds[run][0] == "cell"
            found.append(
                {
                    "run": kinds[run],
                    "name": name.replace(experiment, "NAME"),
                    "status": status,
                    "times": (start, end) if is_cell else None,
                    "tags": sorted(_tags(source, run, kinds, experiment)),
                    "params": sorted(_rows(source, "select key, value from params", run)),
                    "metrics": sorted(_points(source, "metrics", run, timed=is_cell)),
                    "latest": sorted(_points(source, "latest_metrics", run, timed=is_cell)),
                    "datasets": sorted(_datasets(source, run)),
                    "files": sorted(_files(_folder(place, served), experiment)),
                }
            )
    return sorted(found, key=repr)


def cells(database: Path, experiment: str) -> list[str]:
    """Keys of the cells of the runs that are not deleted, as often as they are there."""
    return sorted(
        each["run"][1]
        for each in dump(database, experiment, database.parent / "files")
        if isinstance(each, dict) and each["run"][0] == "cell"
    )


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _rows(source: sqlite3.Connection, what: str, run: str) -> list[tuple[Any, ...]]:
    return source.execute(f"{what} where run_uuid = ?", [run]).fetchall()


def _kind(source: sqlite3.Connection, run: str, name: str) -> tuple[str, ...]:
    """What it is a run of."""
    tags = dict(_rows(source, "select key, value from tags", run))
    if tags.get("role") in ("cell", "former cell"):
        return ("cell", tags["cell"], tags["attempt"])
    return ("parent",) if tags.get("role") == "parent" else ("line", name.partition(" · ")[0])


def _tags(
    source: sqlite3.Connection, run: str, kinds: dict[str, tuple[str, ...]], experiment: str
) -> Iterator[tuple[str, str]]:
    for key, value in _rows(source, "select key, value from tags", run):
        if key == "mlflow.parentRunId":
            yield key, str(kinds.get(value, "a run that is not there"))
        elif key == "content":  # a digest of texts that have the experiment's name
            yield key, "there"
        elif key not in OF_FOLDER:
            yield key, value.replace(experiment, "NAME")


def _points(
    source: sqlite3.Connection, table: str, run: str, *, timed: bool
) -> Iterator[tuple[Any, ...]]:
    columns = f"select key, value, step, is_nan, timestamp from {table}"
    for *point, when in _rows(source, columns, run):
        yield (*point, when if timed else None)


def _datasets(source: sqlite3.Connection, run: str) -> Iterator[tuple[Any, ...]]:
    rows = source.execute(
        "select i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_profile from inputs i "
        "join datasets d on d.dataset_uuid = i.source_id where i.destination_id = ?",
        [run],
    ).fetchall()
    for told, *dataset in rows:
        tags = source.execute("select name, value from input_tags where input_uuid = ?", [told])
        yield (*dataset, str(sorted(tags)))


def _folder(place: str, served: Path | None) -> Path:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    assert served is not None, place
    return served / unquote(parts.path).lstrip("/")


def _files(folder: Path, experiment: str) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes().replace(experiment.encode(), b"NAME")
            yield str(path.relative_to(folder)), hashlib.sha256(content).hexdigest()
