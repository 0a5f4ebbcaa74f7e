"""MLflow's database locked, damaged, lost, and its collector killed: results are facts, and collecting later gives the same store."""

import errno
import fcntl
import random
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

from harness import publish, whole_database
from harness.gather import GatheringFailed
from harness.live import LiveGatherer
from harness.store import Store, reachable
from harness.uri import address_of, own, serve_ui
from harness.workdir import Workdir
from tests.faults.collecting import collector, gather, of_results
from tests.faults.of_mlflow import copied
from tests.faults.stored import dump

pytestmark = pytest.mark.usefixtures("mlflow_settings")

CREATING = (1, 700, 1900, 2900)
"""Statements of SQL at which the first collector of a folder is killed: MLflow's tables are made with the first 3,000 or so."""


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".mlflow.db*"))


# A collector that is killed.


@pytest.mark.parametrize(
    ("at", "numbers"),
    [
        ("point", [*range(1, 9), *range(9, 60, 4)]),
        ("statement", [*CREATING, *range(30, 1500, 61)]),
        ("second", [0.05, *(random.Random(seed).uniform(0.05, 1.5) for seed in range(7))]),
    ],
    ids=["at points of writing", "between statements", "at any time"],
)
def test_a_killed_collector_leaves_what_the_next_ones_complete(
    workdir: Workdir,
    collected_undisturbed: dict[str, list[Any]],
    tmp_path: Path,
    at: str,
    numbers: list[float],
) -> None:
    # Each goes on where the one before was killed, so that what they left adds up.
    codes = []
    for number in numbers:
        codes.append(collector(workdir, at, number, tmp_path / "told"))
        assert codes[-1] in (0, -signal.SIGKILL, -signal.SIGALRM)
        if codes[-1] == 0 and at != "second":
            break
    assert sum(code != 0 for code in codes) >= (1 if at == "second" else 9)
    assert collector(workdir, at, 0, tmp_path / "told") == 0
    assert dump(workdir.database, "fig12") == collected_undisturbed["own"]
    assert not list(workdir.root.glob("*unreadable*"))  # none was ever half made
    if at != "second":
        assert not leftovers(workdir.root)


def test_tables_come_to_be_in_one_step(workdir: Workdir, tmp_path: Path) -> None:
    for number in CREATING[1:]:
        assert collector(workdir, "statement", number, tmp_path / "told") == -signal.SIGKILL
        if workdir.database.exists():
            with closing(sqlite3.connect(workdir.database)) as database:
                assert database.execute("select count(*) from experiments").fetchone() != (0,)


# A database that is damaged, lost or locked.


def half_schema(path: Path) -> None:
    """What a kill in MLflow's own making of its tables leaves."""
    engine = create_engine(f"sqlite:///{path}")
    InitialBase.metadata.create_all(engine)
    engine.dispose()


def spoil(kind: str, path: Path) -> None:
    whole = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(random.Random(0).randbytes(20_000))
    elif kind == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "in its last page":
        path.write_bytes(whole[:-100])
    elif kind == "header alone":
        path.write_bytes(whole[:100])
    elif kind == "half a schema":
        path.unlink()
        half_schema(path)
    elif kind == "pages of zeros":  # found by MLflow, not before
        with path.open("r+b") as file:
            size = int.from_bytes(whole[16:18], "big")
            for page in range(1, len(whole) // size):
                file.seek(page * size)
                file.write(bytes(size))
    else:
        raise AssertionError(kind)


DAMAGES = (
    "empty",
    "garbage",
    "half",
    "in its last page",
    "header alone",
    "half a schema",
    "pages of zeros",
)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.usefixtures("made_before")
def test_a_damaged_database_of_the_folder_is_set_aside_aloud_and_built_again(
    collected: Workdir,
    collected_undisturbed: dict[str, list[Any]],
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    workdir = collected
    spoil(kind, workdir.database)
    damaged = workdir.database.read_bytes()
    if kind != "pages of zeros":
        assert "`harness collect` sets a work folder's own aside" in reachable(workdir)
        assert workdir.database.read_bytes() == damaged
    caplog.clear()
    gather(workdir)
    assert dump(workdir.database, "fig12") == collected_undisturbed["own"]
    aside = workdir.root / "mlflow.db.unreadable-1"
    assert aside.read_bytes() == damaged
    assert f"it is kept as {aside.name}, and built again from the results" in caplog.text
    assert len(list(workdir.root.glob("*unreadable*"))) == 1


@pytest.mark.parametrize("kind", ["garbage", "half", "half a schema"])
def test_a_damaged_database_of_somebody_else_is_named_and_left_alone(
    collected: Workdir, tmp_path: Path, kind: str
) -> None:
    workdir = collected
    other = workdir.database.rename(tmp_path / "other.db")
    spoil(kind, other)
    damaged = other.read_bytes()
    with pytest.raises(GatheringFailed, match="no database of MLflow that can be read") as told:
        gather(workdir, address=address_of(other))
    assert str(other) in str(told.value)
    assert "move it away, or name another" in str(told.value)
    assert other.read_bytes() == damaged


@pytest.mark.usefixtures("made_before")
def test_what_a_lost_database_left_beside_does_not_spoil_the_next(
    collected: Workdir, collected_undisturbed: dict[str, list[Any]]
) -> None:
    workdir = collected
    # A journal as SQLite leaves it when it is killed: it would be played back into whatever has the database's name.
    with closing(sqlite3.connect(workdir.database)) as database:
        database.execute("pragma cache_spill = 1")
        database.execute("begin immediate")
        database.execute("delete from metrics")
        database.execute("delete from tags")
        journal = Path(f"{workdir.database}-journal")
        kept = journal.read_bytes()
        database.rollback()
    magic = bytes.fromhex("d9d505f920a163d7") + (1).to_bytes(4, "big")
    workdir.database.unlink()
    journal.write_bytes(magic + kept[len(magic) :])
    gather(workdir)
    assert dump(workdir.database, "fig12") == collected_undisturbed["own"]


@pytest.mark.usefixtures("made_before")
def test_a_database_deleted_while_it_is_open_is_there_again_after_the_next_collecting(
    workdir: Workdir, collected_undisturbed: dict[str, list[Any]]
) -> None:
    experiment, made = of_results(workdir)
    store = Store(workdir, "fig12")
    parent = store.open_parent(experiment.title)
    both = [(cell, made.done[cell.key]) for cell in made.cells]
    store.put(both[:3], parent)
    workdir.database.unlink()
    with pytest.raises(Exception, match="readonly database"):  # SQLite sees that it is gone
        store.put(both[3:], parent)
    gather(workdir)  # in the same process, which has connections to the file that is gone
    assert dump(workdir.database, "fig12") == collected_undisturbed["own"]


@contextmanager
def impatient() -> Iterator[None]:
    """MLflow waits 20 s for a locked database: here a moment."""

    def less(
        connection: Any, cursor: Any, statement: str, told: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 20"), told

    def at_once(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> None:
        named["timeout"] = 0.02

    event.listen(Engine, "before_cursor_execute", less, retval=True)
    event.listen(Engine, "do_connect", at_once)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(whole_database, "PATIENCE_S", 0.02)
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", less)
        event.remove(Engine, "do_connect", at_once)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("made_before")
def test_a_locked_database_stops_no_run_and_is_not_taken_for_a_damaged_one(
    workdir: Workdir, collected_undisturbed: dict[str, list[Any]]
) -> None:
    whole_database.ready(own(workdir), is_own=True)
    experiment, made = of_results(workdir)
    with closing(sqlite3.connect(workdir.database)) as other:
        other.execute("begin exclusive")
        with impatient():
            gatherer = LiveGatherer("fig12", experiment.title, workdir)
            for cell in made.cells:
                gatherer.put(cell)
            gatherer.finish(60)
            assert "MLflow could not be written" in gatherer.problem
            assert "locked" in gatherer.problem
            with pytest.raises(GatheringFailed, match="locked") as told:
                gather(workdir)
        assert "`harness collect fig12` brings them home later" in str(told.value)
        other.rollback()
    gather(workdir)
    assert dump(workdir.database, "fig12") == collected_undisturbed["own"]
    assert not list(workdir.root.glob("*unreadable*"))


ODD = ("50%20off", "what?", "a#b", "Ünï 'q' \"d\"; x:y\nz", "100%")


@pytest.mark.parametrize("name", ODD)
def test_the_store_lies_in_the_work_folder_whatever_that_is_called(
    results: Path, collected_undisturbed: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    place = tmp_path / "those"
    workdir = copied(results, place / name)
    gather(workdir)
    gather(workdir)
    assert dump(workdir.database, "fig12") == collected_undisturbed["own"]
    assert [path.name for path in place.iterdir()] == [name]
    publish._stamp(workdir, "fig12").parent.mkdir(parents=True)
    publish._stamp(workdir, "fig12").write_text("{}")
    publish.mark_gathered("fig12", workdir)
    assert publish.is_gathered("fig12", workdir)
    assert reachable(workdir) == ""


def test_the_server_of_the_ui_is_given_the_database_of_an_oddly_named_folder(
    workdir: Workdir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Workdir(tmp_path / "50%20off?")
    started: list[tuple[list[str], Any]] = []

    class Server:
        def __init__(self, command: list[str], *, env: Any, cwd: Any) -> None:
            started.append((command, cwd))

        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Server)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert serve_ui(odd, "127.0.0.1", 5000) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    ((command, cwd),) = started
    address = command[command.index("--backend-store-uri") + 1]
    assert (Path(cwd) / address.removeprefix("sqlite:///")) == odd.database


def test_without_locks_a_database_that_another_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path, empty = tmp_path / "shared.db", whole_database._empty

    def overtaken(artifacts: str) -> bytes:
        monkeypatch.setattr(whole_database, "_empty", empty)
        whole_database.ready(address_of(path), is_own=False)  # by another work folder's collector
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("insert into experiments (name, lifecycle_stage) values ('theirs', 'active')")  # fmt: skip
        return empty(artifacts)

    monkeypatch.setattr(whole_database, "_empty", overtaken)
    whole_database.ready(address_of(path), is_own=False)
    with closing(sqlite3.connect(path)) as database:
        found = [name for (name,) in database.execute("select name from experiments")]
    assert found == ["Default", "theirs"]
