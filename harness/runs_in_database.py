"""Runs written to a SQLite store of MLflow by the hundred, each hundred in one transaction: all of it is there or nothing.

The rows are those that MLflow's client would write, through MLflow's own description of its tables, and only where these are
the ones known here (`of_store`); a test compares the two ways table by table. Files are copied before the rows are written: a
run that can be seen has its files. A run's id follows from what it is a run of, so that a collector that was killed leaves
nothing that the next one does not write over; and it begins with the run's time, without which rows would go to random
places of every index, and four times as much be written to the disk.
"""

import logging
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from alembic.migration import MigrationContext
from mlflow.entities import Experiment
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.validation import _validate_metric
from sqlalchemy import Table, and_, delete, select
from sqlalchemy.orm import Session

from harness.entry import Entry, Found
from harness.facts import SOURCE_TYPE, Seen
from harness.files import sha256
from tasks.data import writing

LOG = logging.getLogger(__name__)

SCHEMAS = ("dc11669786a5",)
"""Versions of MLflow's tables that this file writes as MLflow does (3.17.2)."""
LISTED = 400
"""Ids in one question: SQLite of old takes 999 values."""

RUNS: Table = models.SqlRun.__table__
TAGS: Table = models.SqlTag.__table__
PARAMS: Table = models.SqlParam.__table__
METRICS: Table = models.SqlMetric.__table__
LATEST: Table = models.SqlLatestMetric.__table__
DATASETS: Table = models.SqlDataset.__table__
INPUTS: Table = models.SqlInput.__table__
INPUT_TAGS: Table = models.SqlInputTag.__table__

_Each = TypeVar("_Each")
_Row = dict[str, Any]


def of_store(address: str, experiment: Experiment) -> "RunsInDatabase | None":
    """The runs of an experiment in a database that this file can write to; None where MLflow's client has to.

    That is a server, a database that is no SQLite, files that are kept elsewhere than in a folder, and tables of a version
    of MLflow that is not known here, which is said.
    """
    if not address.startswith("sqlite:///"):
        return None
    store = _get_store(address)  # type: ignore[no-untyped-call]
    if type(store) is not SqlAlchemyStore or not experiment.artifact_location.startswith("file:"):
        return None
    with store.engine.connect() as connection:
        schema = str(MigrationContext.configure(connection).get_current_revision())
    if schema not in SCHEMAS:
        _say_once(schema)
        return None
    return RunsInDatabase(store, experiment)


@cache
def _say_once(schema: str) -> None:
    LOG.warning(
        "MLflow's tables are of a version that is not known here (%s): results go to it one by one, which takes longer",
        schema,
    )


class RunsInDatabase:
    """The runs of an MLflow experiment."""

    def __init__(self, store: SqlAlchemyStore, experiment: Experiment) -> None:
        """Write to an experiment of a store whose tables are known here."""
        self._store = store
        self._experiment = int(experiment.experiment_id)
        self._name = str(experiment.name)
        self._place = str(experiment.artifact_location)

    def having(self, tag: str, value: str, wanted: Collection[str]) -> Iterator[Found]:
        """Runs that are not deleted and have a tag of this value, newest first, with those of the wanted tags that they have."""
        chosen, told = TAGS.alias(), TAGS.alias()
        is_wanted = and_(told.c.run_uuid == RUNS.c.run_uuid, told.c.key.in_(list(wanted)))
        asked = (
            select(RUNS.c.run_uuid, told.c.key, told.c.value)
            .select_from(RUNS)
            .join(chosen, chosen.c.run_uuid == RUNS.c.run_uuid)
            .outerjoin(told, is_wanted)
            .where(chosen.c.key == tag, chosen.c.value == value)
            .where(RUNS.c.experiment_id == self._experiment, RUNS.c.lifecycle_stage == "active")
            .order_by(RUNS.c.start_time.desc(), RUNS.c.run_uuid)
        )
        with self._store.ManagedSessionMaker() as session:
            for run_id, rows in groupby(session.execute(asked), key=lambda row: str(row[0])):
                yield Found(run_id, {key: told for _, key, told in rows if key is not None})

    def values(self, runs: Sequence[str], names: Collection[str]) -> dict[str, dict[str, float]]:
        """Newest values of metrics, by run."""
        found: dict[str, dict[str, float]] = {run: {} for run in runs}
        columns = (LATEST.c.run_uuid, LATEST.c.key, LATEST.c.value)
        with self._store.ManagedSessionMaker() as session:
            for some in _cut(runs, LISTED):
                asked = select(*columns).where(
                    LATEST.c.run_uuid.in_(some),
                    LATEST.c.key.in_(list(names)),
                    LATEST.c.is_nan.is_(False),
                )
                for run, name, value in session.execute(asked):
                    found[run][name] = value
        return found

    def write(self, entries: Sequence[Entry]) -> list[str]:
        """Create whole runs in one transaction; returns their ids.

        Raises:
            OSError: when a file cannot be copied.
            mlflow.exceptions.MlflowException: when a metric has a name that MLflow does not take, or the database cannot be
                written. In both cases none of the runs is there.
        """
        ids = self._free_ids(entries)
        rows = _Rows()
        for run, entry in zip(ids, entries, strict=True):
            place = f"{self._place.rstrip('/')}/{run}/{SqlAlchemyStore.ARTIFACTS_FOLDER_NAME}"
            _copy(entry.files, Path(unquote(urlsplit(place).path)))
            rows.add(run, entry, self._experiment, place, self._store)
        with self._store.ManagedSessionMaker(read_only=False) as session:
            rows.insert(session, self._experiment)
        return ids

    def _free_ids(self, entries: Sequence[Entry]) -> list[str]:
        """An id for each: the first of the row that follows from what it is a run of, which no run has, deleted or not."""
        tried = [0] * len(entries)
        while True:
            ids = [_id(self._name, entry, time) for entry, time in zip(entries, tried, strict=True)]
            taken: set[str] = set()
            with self._store.ManagedSessionMaker() as session:
                for some in _cut(ids, LISTED):
                    asked = select(RUNS.c.run_uuid).where(RUNS.c.run_uuid.in_(some))
                    taken.update(session.execute(asked).scalars())
            if not taken:
                return ids
            tried = [time + (run in taken) for time, run in zip(tried, ids, strict=True)]

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        """Give runs these tags, in place of others of the same names."""
        for some in _cut(runs, LISTED):
            rows = [
                {"run_uuid": run, "key": key, "value": value}
                for run in some
                for key, value in tags.items()
            ]
            with self._store.ManagedSessionMaker(read_only=False) as session:
                session.execute(
                    delete(TAGS).where(TAGS.c.run_uuid.in_(some), TAGS.c.key.in_(list(tags)))
                )
                _insert(session, TAGS, rows)

    def untag(self, runs: Iterable[str], name: str) -> None:
        """Take a tag from runs that have it."""
        for some in _cut(runs, LISTED):
            with self._store.ManagedSessionMaker(read_only=False) as session:
                session.execute(delete(TAGS).where(TAGS.c.run_uuid.in_(some), TAGS.c.key == name))


class _Rows:
    """Rows of several runs, by table."""

    def __init__(self) -> None:
        self._runs: list[_Row] = []
        self._tags: list[_Row] = []
        self._params: list[_Row] = []
        self._metrics: list[_Row] = []
        self._latest: list[_Row] = []
        self._datasets: dict[tuple[str, str], Seen] = {}
        self._inputs: list[tuple[str, Seen]] = []

    def add(
        self, run: str, entry: Entry, experiment: int, place: str, store: SqlAlchemyStore
    ) -> None:
        """What MLflow keeps of a run that is created, filled and ended."""
        self._runs.append(
            {
                "run_uuid": run,
                "name": entry.name,
                "source_type": "UNKNOWN",
                "source_name": "",
                "entry_point_name": "",
                "source_version": "",
                "user_id": "unknown",
                "status": "FINISHED",
                "start_time": entry.start_ms,
                "end_time": entry.end_ms,
                "deleted_time": None,
                "lifecycle_stage": "active",
                "artifact_uri": place,
                "experiment_id": experiment,
            }
        )
        tags = {**entry.tags, **entry.closing, MLFLOW_RUN_NAME: entry.name}
        self._tags += [{"run_uuid": run, "key": key, "value": told} for key, told in tags.items()]
        self._params += [
            {"run_uuid": run, "key": key, "value": told} for key, told in entry.params.items()
        ]
        newest: dict[str, _Row] = {}
        seen = set()
        for name, measured, time_ms, step in entry.points:
            _check(name)
            is_nan, value = store.sanitize_metric_value(measured)
            point = (name, time_ms, step, value, is_nan)
            # A point is written once, and tells its metric's newest value the first time.
            if point in seen:
                continue
            seen.add(point)
            row = {
                "run_uuid": run,
                "key": name,
                "value": value,
                "timestamp": time_ms,
                "step": step,
                "is_nan": is_nan,
            }
            self._metrics.append(row)
            before = newest.get(name)
            if before is None or _age(before) < _age(row):
                newest[name] = row
        self._latest += newest.values()
        for dataset in {
            (each.name, each.digest): each for each in reversed(entry.datasets)
        }.values():
            self._datasets.setdefault((dataset.name, dataset.digest), dataset)
            self._inputs.append((run, dataset))

    def insert(self, session: Session, experiment: int) -> None:
        """Write all; datasets that the experiment has stay as they are."""
        ids = self._insert_datasets(session, experiment)
        inputs = [
            {
                "input_uuid": uuid.uuid4().hex,
                "source_type": "DATASET",
                "source_id": ids[seen.name, seen.digest],
                "destination_type": "RUN",
                "destination_id": run,
            }
            for run, seen in self._inputs
        ]
        input_tags = [
            {"input_uuid": row["input_uuid"], "name": "mlflow.data.context", "value": seen.context}
            for row, (_, seen) in zip(inputs, self._inputs, strict=True)
        ]
        for table, rows in (
            (RUNS, self._runs),
            (TAGS, self._tags),
            (PARAMS, self._params),
            (METRICS, self._metrics),
            (LATEST, self._latest),
            (INPUTS, inputs),
            (INPUT_TAGS, input_tags),
        ):
            _insert(session, table, rows)

    def _insert_datasets(self, session: Session, experiment: int) -> dict[tuple[str, str], str]:
        """Id of every dataset by name and digest."""
        columns = (DATASETS.c.name, DATASETS.c.digest, DATASETS.c.dataset_uuid)
        ids: dict[tuple[str, str], str] = {}
        for some in _cut({digest for _, digest in self._datasets}, LISTED):
            asked = select(*columns).where(
                DATASETS.c.experiment_id == experiment, DATASETS.c.digest.in_(some)
            )
            ids |= {(name, digest): told for name, digest, told in session.execute(asked)}
        new = {key: seen for key, seen in self._datasets.items() if key not in ids}
        ids |= {key: uuid.uuid4().hex for key in new}
        rows = [
            {
                "dataset_uuid": ids[key],
                "experiment_id": experiment,
                "name": seen.name,
                "digest": seen.digest,
                "dataset_source_type": SOURCE_TYPE,
                "dataset_source": seen.source(),
                "dataset_schema": None,
                "dataset_profile": seen.profile(),
            }
            for key, seen in new.items()
        ]
        _insert(session, DATASETS, rows)
        return ids


def _insert(session: Session, table: Table, rows: list[_Row]) -> None:
    if rows:
        session.execute(table.insert(), rows)


def _age(row: _Row) -> tuple[int, int, float]:
    """By this MLflow tells which of a metric's points is its newest."""
    return row["step"], row["timestamp"], row["value"]


@cache
def _check(name: str) -> None:
    _validate_metric(name, 0.0, 0, 0)  # type: ignore[no-untyped-call]


def _id(experiment: str, entry: Entry, tried: int) -> str:
    identity = "\n".join([experiment, *entry.identity, str(tried)])
    return f"{entry.start_ms:012x}{sha256(identity.encode())}"[:32]


def _copy(files: Sequence[Path], folder: Path) -> None:
    """Bring files to a folder that no run has; what a collector that was killed left there goes."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        for path in files:
            (folder / path.name).unlink(missing_ok=True)
    for path in files:
        writing.reached("copy", folder / path.name)
        shutil.copy2(path, folder / path.name)
        writing.reached("copied", folder / path.name)


def _cut(things: Iterable[_Each], size: int) -> Iterator[list[_Each]]:
    """Lists of at most `size`."""
    rest = iter(things)
    while some := list(islice(rest, size)):
        yield some
