"""A tracking server that is down, hangs, is slow, lies, or carries out what it is asked twice: collecting later gives the same store."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness import gather as gathering
from harness import live, store
from harness.gather import GatheringFailed
from harness.live import LiveGatherer
from harness.store import reachable
from harness.workdir import Workdir
from tests.faults.collecting import gather, of_results
from tests.faults.faulty_proxy import FaultyProxy, faulty_proxy
from tests.faults.stored import dump
from tests.harness.running import Harness, tiny
from tests.harness.tracking import server_process

pytestmark = pytest.mark.usefixtures("mlflow_settings")


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
    collected_undisturbed: dict[str, list[Any]],
    server: Server,
    proxy: FaultyProxy,
    fault: str,
) -> None:
    name = f"twice_{fault[:3]}"
    proxy.follow(Twice(fault))
    gather(Workdir(results), name, proxy.uri)
    assert proxy.faults > 50
    assert server.has(name) == collected_undisturbed["server"]
    proxy.follow(Twice(fault))
    gather(Workdir(results), name, proxy.uri)
    assert server.has(name) == collected_undisturbed["server"]


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
    collected_undisturbed: dict[str, list[Any]],
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
    assert server.has(name) == collected_undisturbed["server"]


def test_a_slow_server_gets_what_any_other_gets(
    results: Path, collected_undisturbed: dict[str, list[Any]], server: Server, proxy: FaultyProxy
) -> None:
    proxy.slow_s = float(os.environ.get("SLOW_SERVER_S", "0.05"))  # five seconds take minutes
    proxy.follow(lambda number, method, path: "slow")
    gather(Workdir(results), "slowly", proxy.uri)
    assert proxy.faults > 30
    assert server.has("slowly") == collected_undisturbed["server"]


def test_a_server_that_is_gone_in_the_middle_gets_the_rest_when_it_is_back(
    results: Path, collected_undisturbed: dict[str, list[Any]], server: Server, proxy: FaultyProxy
) -> None:
    for gone_from in (1, 5, 9, 20, 33):
        proxy.follow(lambda number, method, path, gone=gone_from: "drop" * (number >= gone))
        with pytest.raises(GatheringFailed, match=proxy.uri):
            gather(Workdir(results), "in_the_middle", proxy.uri)
    proxy.follow(lambda number, method, path: "")
    gather(Workdir(results), "in_the_middle", proxy.uri)
    assert server.has("in_the_middle") == collected_undisturbed["server"]


def test_a_server_that_says_it_wrote_and_did_not_is_found_out(
    results: Path, collected_undisturbed: dict[str, list[Any]], server: Server, proxy: FaultyProxy
) -> None:
    lies = iter(["lie"])

    def plan(number: int, method: str, path: str) -> str:
        return next(lies, "") if path.endswith("runs/log-batch") else ""

    proxy.follow(plan)
    with pytest.raises(GatheringFailed, match="1 runs that the server said it wrote are not there"):
        gather(Workdir(results), "lies", proxy.uri)
    gather(Workdir(results), "lies", proxy.uri)
    assert server.has("lies") == collected_undisturbed["server"]
    lies = iter(["lie"])
    # It is asked which runs it has, and says none: they are written again, found to be there twice, and one of each goes.
    proxy.follow(
        lambda number, method, path: next(lies, "") if path.endswith("runs/search") else ""
    )
    gather(Workdir(results), "lies", proxy.uri)
    assert next(lies, None) is None
    assert server.has("lies") == collected_undisturbed["server"]


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
