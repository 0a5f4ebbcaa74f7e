"""Results written to a SQLite store by the hundred: what is there is what MLflow's own client would have written."""

import logging
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import Table, event
from sqlalchemy.orm import Session

from configs.fig12 import fig12
from harness import result, runs_in_database
from harness.result import Result
from harness.runs_by_client import RunsByClient
from harness.store import CELL, LAYOUT, Store
from harness.workdir import Workdir
from tasks.cell import Cell
from tests.benchmarks.many_runs import body_of

Results = list[tuple[Cell, Result]]


def odd_history() -> dict[str, list[float]]:
    """Of a run that was taken up again: steps twice, once with all the same and once with another loss; and a long one."""
    steps = [0, 5, 10, 5, 5, 10, *range(11, 900)]
    return {
        "loss": [3.0, 2.0, 1.0, 2.0, 2.5, 1.5, *(1 / step for step in range(11, 900))],
        "learning_rate": [0.1] * len(steps),
        "step": [float(step) for step in steps],
        "time": [1.8e9 + step for step in steps],
    }


@pytest.fixture(scope="module")
def collectable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workdir, Results]:
    """A folder with made-up results: of a pretraining, which keeps weights, and of cells, some with odd histories."""
    workdir = Workdir(tmp_path_factory.mktemp("results") / "work")
    workdir.prepare()
    draws = random.Random(0)
    found: Results = []
    with mock.patch("os.fsync", return_value=None):
        for number, cell in enumerate(fig12(shots=(1, "all"), resamples=3, units=4).all_cells()):
            attempt = result.new_attempt(workdir, cell)
            body = body_of(cell, draws)
            if number % 3 == 1:
                body["history"] = odd_history()
            if number % 4 == 2:
                body["history"] = {"loss": [], "learning_rate": [], "step": [], "time": []}
            kept = {"predictions.parquet": draws.randbytes(100)}
            if not cell.label:
                kept = {"encoder.safetensors": draws.randbytes(5000)}
            result.seal(attempt, body, kept)
            result.accept(attempt)
            accepted = result.read(workdir, cell)
            assert accepted is not None
            found.append((cell, accepted))
    assert len(found) > 10
    return workdir, found


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without an experiment: making one takes MLflow seconds."""
    place = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{place}").search_experiments()
    return place


@pytest.fixture
def places(empty: Path, tmp_path: Path) -> Iterator[Path]:
    """Folders with an empty store each."""

    def made() -> Iterator[Path]:
        for number in count():
            place = tmp_path / f"store{number}"
            place.mkdir()
            shutil.copy(empty, place / "mlflow.db")
            yield place

    return made()


def opened(workdir: Workdir, place: Path) -> Store:
    return Store(workdir, "fig12", f"sqlite:///{place}/mlflow.db")


def collected(workdir: Workdir, results: Results, place: Path) -> None:
    store = opened(workdir, place)
    store.put(results, store.open_parent("All results"))


def one_by_one(workdir: Workdir, results: Results, place: Path) -> None:
    """The same through MLflow's client."""
    with mock.patch.object(runs_in_database, "SCHEMAS", ()):
        collected(workdir, results, place)


def content(place: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, with names in place of ids and of the folder, without the times at which a parent was made."""
    with closing(sqlite3.connect(place / "mlflow.db")) as database:
        tables = [
            name
            for (name,) in database.execute("select name from sqlite_master where type = 'table'")
        ]
        names = dict(
            database.execute(
                "select run_uuid, 'run of ' || value from tags where key = ? union "
                "select run_uuid, value from tags where key = 'role' and value = 'parent'",
                [CELL],
            )
        )
        names |= dict(
            database.execute("select dataset_uuid, 'dataset ' || name || digest from datasets")
        )
        names |= {
            told: f"{names[run]} with {names[data]}"
            for told, run, data in database.execute(
                "select input_uuid, destination_id, source_id from inputs"
            )
        }
        rows = {name: database.execute(f"select * from {name}").fetchall() for name in tables}
        (parent,) = database.execute(
            "select start_time from runs join tags using (run_uuid) where key = 'role' and value = 'parent'"
        ).fetchone()
        made = {
            each
            for times in database.execute("select creation_time, last_update_time from experiments")
            for each in times
        }

    def named(value: Any) -> Any:
        if isinstance(value, str):
            value = names.get(value, value)
            for told, name in names.items() if "file://" in value else ():
                value = value.replace(told, name)
            return value.replace(str(place), "STORE")
        return "a time" if value in {parent, *made} else value

    return {
        name: sorted((tuple(map(named, row)) for row in rows[name]), key=repr) for name in tables
    }


def files(place: Path) -> dict[tuple[str, str], tuple[bytes, int, int]]:
    """Bytes, mode and time of every file of the runs, by the run's cell and the file's name."""
    found = {}
    with closing(sqlite3.connect(place / "mlflow.db")) as database:
        cells = dict(database.execute("select run_uuid, value from tags where key = ?", [CELL]))
    for path in (place / "mlartifacts").rglob("*"):
        if path.is_file():
            run, *rest = path.relative_to(place / "mlartifacts").parts
            told = path.stat()
            shape = (path.read_bytes(), told.st_mode, told.st_mtime_ns)
            found[cells.get(run, f"nobody's: {run}"), "/".join(rest)] = shape
    return found


def test_every_table_and_file_is_what_the_client_writes(
    collectable: tuple[Workdir, Results],
    places: Iterator[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    workdir, results = collectable
    many, one = next(places), next(places)
    collected(workdir, results, many)
    assert not caplog.records
    runs_in_database._say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "harness"):
        one_by_one(workdir, results, one)
        opened(workdir, one)
        with mock.patch.object(runs_in_database, "SCHEMAS", ()):
            opened(workdir, one)
    assert [each.levelname for each in caplog.records] == ["WARNING"]  # once in a process
    assert "results go to it one by one" in caplog.text
    ours, theirs = content(many), content(one)
    assert {name: len(rows) for name, rows in ours.items()} == {
        name: len(rows) for name, rows in theirs.items()
    }
    assert ours == theirs
    assert len(ours["metrics"]) > 5000
    assert files(many) == files(one)
    assert len(files(many)) == 2 * len(results)


def test_the_client_reads_runs_as_they_were_measured(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    place = next(places)
    collected(workdir, results, place)
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("fig12")
    assert experiment is not None
    for cell, found in results:
        (run,) = client.search_runs([experiment.experiment_id], f"tags.{CELL} = '{cell.key}'")
        for score in found.scores:
            assert run.data.metrics[score["metric"]] == score["value"]
        assert (run.info.status, run.info.lifecycle_stage) == ("FINISHED", "active")
        steps = found.body["history"]["step"]
        told = client.get_metric_history(run.info.run_id, "train/loss")
        assert {each.step for each in told} == set(steps)
        if steps:
            assert run.data.metrics["train/loss"] == found.body["history"]["loss"][-1]
        assert len(run.inputs.dataset_inputs) in (1, 2)
        listed = {each.path: each.file_size for each in client.list_artifacts(run.info.run_id)}
        assert listed.keys() == {result.NAME, *found.body["files"]}


def test_collecting_again_writes_nothing_and_a_rebuilt_store_has_the_same_runs(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    place, other = next(places), next(places)
    collected(workdir, results, place)
    before = (place / "mlflow.db").read_bytes()
    collected(workdir, results, place)
    assert (place / "mlflow.db").read_bytes() == before
    collected(workdir, results[::-1], other)
    ids = [{path.name for path in (each / "mlartifacts").iterdir()} for each in (place, other)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == len(results)


@pytest.mark.parametrize("ends_at", ["file", "row"])
def test_a_collector_that_ends_midway_leaves_no_run_and_the_next_writes_over_its_files(
    collectable: tuple[Workdir, Results],
    places: Iterator[Path],
    monkeypatch: pytest.MonkeyPatch,
    ends_at: str,
) -> None:
    workdir, results = collectable
    place, whole = next(places), next(places)
    first = 3
    collected(workdir, results[:first], place)
    calls = count()

    def copies_five(source: Path, target: Path) -> None:
        if next(calls) == 5:
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        shutil.copyfile(source, target)

    def ends_at_metrics(session: Session, table: Table, rows: list[dict[str, Any]]) -> None:
        if table is runs_in_database.METRICS:
            raise RuntimeError("killed")
        session.execute(table.insert(), rows)

    with monkeypatch.context() as patch:
        if ends_at == "file":
            patch.setattr(runs_in_database.shutil, "copy2", copies_five)
        else:
            patch.setattr(runs_in_database, "_insert", ends_at_metrics)
        with pytest.raises(Exception, match=r"No space left|killed"):
            collected(workdir, results, place)
    assert len(content(place)["runs"]) == first + 1  # and the parent
    collected(workdir, results, place)
    collected(workdir, results, whole)
    assert content(place) == content(whole)
    assert files(place) == files(whole)


def test_what_a_client_left_half_written_is_mended_in_its_run(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    place, whole = next(places), next(places)
    with (
        mock.patch.object(RunsByClient, "log", side_effect=RuntimeError("killed")),
        pytest.raises(RuntimeError, match="killed"),
    ):
        one_by_one(workdir, results[:2], place)
    collected(workdir, results, place)
    collected(workdir, results, whole)
    assert content(place) == content(whole)
    assert files(place) == files(whole)


def test_a_run_that_somebody_edited_is_written_anew_beside_the_deleted_one(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    place = next(places)
    collected(workdir, results, place)
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    cell, found = next(each for each in results if each[0].label)
    score = found.scores[0]
    experiment = client.get_experiment_by_name("fig12")
    assert experiment is not None
    asked = ([experiment.experiment_id], f"tags.{CELL} = '{cell.key}'")
    seen = set()
    for edited in (101.0, 102.0):
        (run,) = client.search_runs(*asked)
        seen.add(run.info.run_id)
        client.log_metric(run.info.run_id, score["metric"], edited, step=10_000)
        collected(workdir, results, place)
        (mended,) = client.search_runs(*asked)
        assert mended.data.metrics[score["metric"]] == score["value"]
        assert mended.info.run_id not in seen
        assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"


def test_another_attempt_takes_the_place_of_the_first(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    place = next(places)
    collected(workdir, results, place)
    cell, found = results[-1]
    again = Result({**found.body, "attempt": "attempt-2", "files": {}}, found.cell_folder)
    collected(workdir, [(cell, again)], place)
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    runs = client.search_runs(["1"], f"tags.{CELL} = '{cell.key}'")
    assert [run.data.tags["attempt"] for run in runs] == ["attempt-2"]


def test_all_runs_move_under_a_new_parent_and_out_of_it_with_their_other_tags_untouched(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    place = next(places)
    collected(workdir, results, place)
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")

    def told() -> list[dict[str, str]]:
        runs = client.search_runs(["1"], "tags.complete = '2'", max_results=1000)
        return [run.data.tags for run in runs]

    before = {tags[CELL]: tags for tags in told()}
    assert {tags["complete"] for tags in before.values()} == {LAYOUT}
    parents = []
    for what in ("one", "other"):  # points cannot be taken back: other content is another parent
        store = opened(workdir, place)
        store.close_parent("All results", {"mean": [(1, 2.0)]}, {}, {}, what)
        parents.append(store.open_parent("All results"))
    assert {tags["mlflow.parentRunId"] for tags in before.values()} == {parents[0]}
    moved = parents[1]
    assert moved != parents[0]
    after = {tags[CELL]: tags for tags in told()}
    assert after == {cell: {**tags, "mlflow.parentRunId": moved} for cell, tags in before.items()}
    kept = results[0][0].key
    opened(workdir, place).forget_all_but([kept])
    for tags in told():
        same = {**after[tags[CELL]]}
        if tags[CELL] != kept:
            same["role"] = "former cell"
            del same["mlflow.parentRunId"]
        assert tags == same
    collected(workdir, results, place)
    assert {tags["role"] for tags in told()} == {"cell"}


def active(place: Path, name: str) -> dict[str, str]:
    """What the runs of an experiment that are not deleted are runs of, by id."""
    with closing(sqlite3.connect(place / "mlflow.db")) as database:
        return dict(
            database.execute(
                "select r.run_uuid, t.value from runs r join tags t using (run_uuid) "
                "join experiments e using (experiment_id) where e.name = ? and t.key = ? "
                "and r.lifecycle_stage = 'active'",
                (name, CELL),
            )
        )


@pytest.mark.parametrize("schemas", [runs_in_database.SCHEMAS, ()])
def test_two_experiments_of_a_store_have_runs_of_their_own(
    collectable: tuple[Workdir, Results], places: Iterator[Path], schemas: tuple[str, ...]
) -> None:
    workdir, results = collectable
    place = next(places)
    with mock.patch.object(runs_in_database, "SCHEMAS", schemas):
        collected(workdir, results[:4], place)
        first = active(place, "fig12")
        other = Store(workdir, "other", f"sqlite:///{place}/mlflow.db")
        other.put(results[2:6], other.open_parent("Some of the same cells"))
        other.forget_all_but([])
        of_other = active(place, "other")
        store = opened(workdir, place)
        store.put(results[:4], store.open_parent("All results"))
    assert sorted(first.values()) == sorted(cell.key for cell, _ in results[:4])
    assert sorted(of_other.values()) == sorted(cell.key for cell, _ in results[2:6])
    assert not first.keys() & of_other.keys()
    assert active(place, "fig12") == first
    assert active(place, "other") == of_other
    with closing(sqlite3.connect(place / "mlflow.db")) as database:
        roles = database.execute(
            "select e.name, t.value, count(*) from tags t join runs using (run_uuid) "
            "join experiments e using (experiment_id) where t.key = 'role' group by 1, 2"
        ).fetchall()
    assert sorted(roles) == [
        ("fig12", "cell", 4),
        ("fig12", "parent", 1),
        ("other", "former cell", 4),
        ("other", "parent", 1),
    ]


@pytest.mark.parametrize("schemas", [runs_in_database.SCHEMAS, ()])
def test_the_same_results_put_twice_are_written_once(
    collectable: tuple[Workdir, Results], places: Iterator[Path], schemas: tuple[str, ...]
) -> None:
    workdir, results = collectable
    place = next(places)
    with mock.patch.object(runs_in_database, "SCHEMAS", schemas):
        store = opened(workdir, place)
        parent = store.open_parent("All results")
        store.put(results[:4], parent)
        first = content(place)
        store.put(results[:4], parent)
    assert content(place) == first
    assert len(first["runs"]) == 5  # deleted ones count too


def test_four_times_as_many_results_take_no_more_statements(
    collectable: tuple[Workdir, Results], places: Iterator[Path]
) -> None:
    workdir, results = collectable
    counted = []
    for number in (3, 12):
        place = next(places)
        store = opened(workdir, place)
        parent = store.open_parent("All results")
        statements: list[str] = []
        engine = runs_in_database._get_store(f"sqlite:///{place}/mlflow.db").engine
        event.listen(
            engine, "before_cursor_execute", lambda *told, into=statements: into.append(told[2])
        )
        store.put(results[:number], parent)
        counted.append(len(statements))
    assert counted[0] == counted[1] > 5
