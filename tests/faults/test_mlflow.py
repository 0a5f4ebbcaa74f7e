"""MLflow down, slow, lying, locked, damaged, and its collector killed: results are facts, and collecting later gives the same store."""

import errno
import fcntl
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

from harness import gather as gathering
from harness import live, plan, publish, store, whole_database
from harness.gather import GatheringFailed
from harness.live import LiveGatherer
from harness.store import Store, reachable
from harness.uri import address_of, own, serve_ui
from harness.workdir import Workdir
from tests.faults.collecting import collector, gather, made_up
from tests.faults.faulty_proxy import FaultyProxy, faulty_proxy
from tests.faults.stored import dump
from tests.harness.running import Harness, tiny
from tests.harness.tracking import server_process

CREATING = (1, 700, 1900, 2900)
"""Statements of SQL at which the first collector of a folder is killed: MLflow's tables are made with the first 3,000 or so."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with results and without a store; tests copy it."""
    return made_up(tmp_path_factory.mktemp("results") / "work").root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, results: Path) -> dict[str, list[Any]]:
    """What a store has after collecting without a fault: the folder's own, and another, which says whose runs they are."""
    folder = results.parent
    workdir = copied(results, folder / "collected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_LOG_MODELS", "0")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        gather(workdir)
        gather(Workdir(results), "elsewhere", address_of(folder / "other.db"))
    return {
        "own": dump(workdir.database, "fig12"),
        "server": dump(folder / "other.db", "elsewhere"),
    }


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No models, which take seconds; a client that gives up soon."""
    monkeypatch.setenv("HARNESS_LOG_MODELS", "0")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in (("BACKOFF_FACTOR", "0"), ("BACKOFF_JITTER", "0"), ("MAX_RETRIES", "2")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setenv("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")


@pytest.fixture(scope="module")
def empty() -> bytes:
    """A database without an experiment of ours."""
    return whole_database._empty("file:///nowhere")


@pytest.fixture
def made_before(empty: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes most of the time that collecting a few results does."""
    monkeypatch.setattr(whole_database, "_empty", lambda artifacts: empty)


@pytest.fixture
def workdir(results: Path, tmp_path: Path) -> Workdir:
    return copied(results, tmp_path / "work")


@pytest.fixture
def collected(results: Path, undisturbed: dict[str, list[Any]], tmp_path: Path) -> Workdir:
    """A folder whose results are in its store."""
    shutil.copytree(results.parent / "collected", tmp_path / "work")
    return Workdir(tmp_path / "work")


def copied(results: Path, place: Path) -> Workdir:
    shutil.copytree(results, place)
    (place / ".id").unlink(missing_ok=True)
    return Workdir(place)


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
    undisturbed: dict[str, list[Any]],
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
    assert dump(workdir.database, "fig12") == undisturbed["own"]
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
    undisturbed: dict[str, list[Any]],
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
    assert dump(workdir.database, "fig12") == undisturbed["own"]
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
    collected: Workdir, undisturbed: dict[str, list[Any]]
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
    assert dump(workdir.database, "fig12") == undisturbed["own"]


@pytest.mark.usefixtures("made_before")
def test_a_database_deleted_while_it_is_open_is_there_again_after_the_next_collecting(
    workdir: Workdir, undisturbed: dict[str, list[Any]]
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
    assert dump(workdir.database, "fig12") == undisturbed["own"]


def of_results(workdir: Workdir) -> tuple[Any, plan.Plan]:
    from configs.fig12 import fig12

    experiment = fig12(shots=(1,), resamples=2, units=4)
    return experiment, plan.make(experiment, workdir)


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
    workdir: Workdir, undisturbed: dict[str, list[Any]]
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
    assert dump(workdir.database, "fig12") == undisturbed["own"]
    assert not list(workdir.root.glob("*unreadable*"))


ODD = ("50%20off", "what?", "a#b", "Ünï 'q' \"d\"; x:y\nz", "100%")


@pytest.mark.parametrize("name", ODD)
def test_the_store_lies_in_the_work_folder_whatever_that_is_called(
    results: Path, undisturbed: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    place = tmp_path / "those"
    workdir = copied(results, place / name)
    gather(workdir)
    gather(workdir)
    assert dump(workdir.database, "fig12") == undisturbed["own"]
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


# A server that is down, hangs, lies, or carries out what it is asked twice.


class Server:
    """A real tracking server; experiments in it are told apart by their names."""

    def __init__(self, folder: Path, until: ExitStack) -> None:
        self.folder, self._until = folder, until
        self.start()

    def start(self) -> None:
        self.address, self.group = self._until.enter_context(server_process(self.folder))

    def kill(self) -> None:
        os.killpg(self.group, signal.SIGKILL)

    def has(self, name: str) -> list[Any]:
        return dump(self.folder / "mlflow.db", name, self.folder / "files")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as until:
        yield Server(tmp_path_factory.mktemp("tracking") / "server", until)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(server.address) as made:
        yield made


class Twice:
    """The fault at every call that changes something, and none when it is sent again."""

    def __init__(self, fault: str) -> None:
        self.fault, self.before = fault, ""

    def __call__(self, number: int, method: str, path: str) -> str:
        told = f"{method} {path}"
        if method == "GET" or path.endswith("/search") or self.before == told:
            self.before = ""
            return ""
        self.before = told
        return self.fault


@pytest.mark.parametrize("fault", ["500 after", "drop after"])
def test_calls_that_are_carried_out_twice_make_every_run_once(
    results: Path,
    undisturbed: dict[str, list[Any]],
    server: Server,
    proxy: FaultyProxy,
    fault: str,
) -> None:
    name = f"twice_{fault[:3]}"
    proxy.follow(Twice(fault))
    gather(Workdir(results), name, proxy.uri)
    assert proxy.faults > 50
    assert server.has(name) == undisturbed["server"]
    proxy.follow(Twice(fault))
    gather(Workdir(results), name, proxy.uri)
    assert server.has(name) == undisturbed["server"]


FAULTS = ("500", "500 after", "drop", "drop after", "garbage", "garbage after", "cut")


class Once:
    """One fault, at the first call from a number on whose answer is looked at."""

    def __init__(self, fault: str, at: int) -> None:
        self.fault, self.at, self.has_been = fault, at, False

    def __call__(self, number: int, method: str, path: str) -> str:
        is_read = method != "PUT" or "garbage" not in self.fault
        if number < self.at or self.has_been or not is_read:
            return ""
        self.has_been = True
        return self.fault


@pytest.mark.parametrize("series", [1, 2])
def test_collecting_that_fails_at_any_call_is_completed_by_the_next(
    results: Path,
    undisturbed: dict[str, list[Any]],
    server: Server,
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    series: int,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    draws = random.Random(series)
    name = f"any_call_{series}"
    told: list[str] = []
    for at in range(2, 100):
        once = Once(draws.choice(FAULTS), at)
        proxy.follow(once)
        try:
            gather(Workdir(results), name, proxy.uri)
        except GatheringFailed as error:
            told.append(str(error))
        if not once.has_been:
            break
    assert len(told) >= 10
    for sentence in told:
        assert "the results are safe" in sentence
        assert "\n" not in sentence
    assert server.has(name) == undisturbed["server"]


def test_a_server_that_is_gone_in_the_middle_gets_the_rest_when_it_is_back(
    results: Path, undisturbed: dict[str, list[Any]], server: Server, proxy: FaultyProxy
) -> None:
    for gone_from in (1, 5, 9, 20, 33):
        proxy.follow(lambda number, method, path, gone=gone_from: "drop" * (number >= gone))
        with pytest.raises(GatheringFailed, match=proxy.uri):
            gather(Workdir(results), "in_the_middle", proxy.uri)
    proxy.follow(lambda number, method, path: "")
    gather(Workdir(results), "in_the_middle", proxy.uri)
    assert server.has("in_the_middle") == undisturbed["server"]


def test_a_server_that_says_it_wrote_and_did_not_is_found_out(
    results: Path, undisturbed: dict[str, list[Any]], server: Server, proxy: FaultyProxy
) -> None:
    lies = iter(["lie"])

    def plan(number: int, method: str, path: str) -> str:
        return next(lies, "") if path.endswith("runs/log-batch") else ""

    proxy.follow(plan)
    with pytest.raises(GatheringFailed, match="1 runs that the server said it wrote are not there"):
        gather(Workdir(results), "lies", proxy.uri)
    gather(Workdir(results), "lies", proxy.uri)
    assert server.has("lies") == undisturbed["server"]
    lies = iter(["lie"])
    # It is asked which runs it has, and says none: they are written again, found to be there twice, and one of each goes.
    proxy.follow(
        lambda number, method, path: next(lies, "") if path.endswith("runs/search") else ""
    )
    gather(Workdir(results), "lies", proxy.uri)
    assert next(lies, None) is None
    assert server.has("lies") == undisturbed["server"]


@pytest.mark.usefixtures("made_before")
def test_a_server_that_never_answers_is_left_in_a_stated_time_and_that_is_said(
    workdir: Workdir,
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(gathering, "PATIENCE_S", 0.2)
    monkeypatch.setattr(live, "PATIENCE_S", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    proxy.follow(lambda number, method, path: "wait")
    with pytest.raises(GatheringFailed, match="timed out"):
        gather(workdir)
    assert proxy.calls == 3  # knocks, and nothing after them
    assert f"still writing to MLflow at {proxy.uri}" in capfd.readouterr().err
    experiment, made = of_results(workdir)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    gatherer = LiveGatherer("fig12", experiment.title, workdir)
    gatherer.put(made.cells[0])
    gatherer.finish(0.5)
    assert gatherer.problem == "MLflow did not answer within 0 s"
    assert "all results are there; MLflow at" in capfd.readouterr().err
    proxy.follow(lambda number, method, path: "500")
    proxy.gate.set()
    gatherer._thread.join()


@pytest.mark.parametrize("address", ["postgresql://127.0.0.1:1/x", "databricks"])
def test_what_is_no_server_of_http_is_left_to_mlflow(
    workdir: Workdir, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """It says what is lacking, such as a driver or credentials; a request to such an address would only be refused."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    asked: list[str] = []

    class Client:
        def __init__(self, place: str) -> None:
            asked.append(place)

        def search_experiments(self, **more: object) -> None:
            pass

    monkeypatch.setattr(store, "MlflowClient", Client)
    assert reachable(workdir) == ""
    assert asked == [address]


def test_training_needs_no_answer_of_a_server_and_a_server_killed_while_it_collects_loses_nothing(
    server: Server, proxy: FaultyProxy, tmp_path: Path
) -> None:
    harness = Harness(tmp_path / "work")
    cells = 4
    environment = {
        "MLFLOW_TRACKING_URI": proxy.uri,
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    }
    # Not one answer before all results are there: a training that waited for one would never end.
    opener = threading.Thread(target=open_when, args=(proxy, harness, cells), daemon=True)
    opener.start()
    proxy.follow(lambda number, method, path: "wait" if number == 1 else "500")
    done = harness("run", "fig12", *tiny(methods="single_frame"), env=environment)
    assert not opener.is_alive()
    assert len(harness.results()) == cells
    assert "`harness collect fig12` brings them home later" in done.stderr
    report = harness.csv()

    def killing(number: int, method: str, path: str) -> str:
        if number == 25:
            server.kill()
        return ""

    proxy.follow(killing)
    failed = harness("collect", "fig12", env=environment, code=1)
    assert "the results are safe" in failed.stderr
    assert "Traceback" not in failed.stderr
    server.start()
    proxy.upstream = server.address
    proxy.follow(lambda number, method, path: "")
    harness("collect", "fig12", env=environment)
    harness("collect", "fig12", "--to", f"sqlite:///{tmp_path}/undisturbed.db")
    there = server.has("fig12")
    assert there == dump(tmp_path / "undisturbed.db", "fig12")
    assert sum(each["run"][0] == "cell" for each in there if isinstance(each, dict)) == cells
    assert harness.csv() == report


def open_when(proxy: FaultyProxy, harness: Harness, number: int) -> None:
    """Let the proxy go on as soon as there are so many accepted results."""
    while len(list(harness.work.glob("runs/*/result.json"))) < number:
        if proxy.gate.wait(0.05):
            return
    proxy.gate.set()


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
