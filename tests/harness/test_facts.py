"""What MLflow is told of a run, from its result alone; and which addresses of stores are taken."""

import copy
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.fig12 import fig12
from harness import facts
from harness.result import Result
from harness.uri import NoAddress, checked, connected, first_line, shown, without_password
from tasks.cell import Cell
from tests.benchmarks.many_runs import body_of


def told(cell: Cell, **changes: Any) -> Result:
    return Result(
        {**body_of(cell, random.Random(0)), "attempt": "attempt-1", **changes}, Path("nowhere")
    )


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return list(fig12(shots=(1, "all"), resamples=1, units=4).all_cells())


def test_params_have_every_value_and_the_configuration_under_dotted_names(
    cells: list[Cell],
) -> None:
    cell = next(each for each in cells if type(each.task).__name__ == "FewShot")
    params = facts.params(cell, told(cell))
    assert (
        params.items() >= {name: str(value) for name, value in cell.task.values().items()}.items()
    )
    assert (params["seed"], params["method"]) == (str(cell.seed), cell.label)
    assert (params["encoder.class"], params["encoder.units"]) == ("LSTM", "4")
    assert params["schedule.learning_rate"] == str(cell.task.schedule.learning_rate)


def test_a_long_value_or_odd_name_becomes_one_that_mlflow_takes(cells: list[Cell]) -> None:
    found = told(cells[0], values={"text": "x" * 10_000, "a+b=c": 1})
    params = facts.params(cells[0], found)
    assert len(params["text"]) == facts.LONGEST_PARAM
    assert params["text"].endswith("…")
    assert params["a_b_c"] == "1"


def test_runs_tested_on_the_same_videos_share_a_dataset_and_others_do_not(
    cells: list[Cell],
) -> None:
    seen = {cell.key: facts.datasets(told(cell)) for cell in cells}
    few = [cell for cell in cells if cell.label]
    assert {(each.name, each.context) for cell in few for each in seen[cell.key]} == {
        ("digits", "training"),
        ("digits", "evaluation"),
    }
    assert len({seen[cell.key][1].digest for cell in few}) == 1
    assert len({seen[cell.key][0].digest for cell in few}) == 2  # one shot, and all
    (pretraining,) = (cell for cell in cells if not cell.label)
    assert not {each.digest for each in seen[pretraining.key]} & {
        each.digest for cell in few for each in seen[cell.key]
    }


def test_another_index_of_the_same_name_is_another_dataset(cells: list[Cell]) -> None:
    cell = next(each for each in cells if each.label)
    description = copy.deepcopy(cell.description())
    description["task"]["subset"]["dataset"]["index"] = "other"
    ours, theirs = (
        facts.datasets(told(cell, **more)) for more in ({}, {"description": description})
    )
    assert [each.name for each in ours] == [each.name for each in theirs]
    assert not {each.digest for each in ours} & {each.digest for each in theirs}
    assert theirs[0].identity["index"] == "other"


def test_a_model_that_was_trained_elsewhere_is_only_tested(cells: list[Cell]) -> None:
    cell = next(each for each in cells if not each.label)
    assert [each.context for each in facts.datasets(told(cell, rests_on={"a": {}}))] == [
        "evaluation"
    ]


def test_tags_say_code_machine_job_and_versions(cells: list[Cell]) -> None:
    found = told(cells[0])
    origin = {**found.body["provenance"], "job": {"id": "12_3", "restarts": 0, "node": "n1"}}
    origin["experiment"] = "/home/somebody/mine.py:mine"
    tags = facts.tags(told(cells[0], provenance=origin))
    assert tags.items() >= {"host": "here", "slurm_job": "12_3", "slurm_node": "n1"}.items()
    assert tags["version.torch"].startswith("2.")
    assert tags["mlflow.source.name"] == "harness run mine.py:mine"
    assert "slurm_job" not in facts.tags(found)


def test_what_a_run_used_stands_under_system_metrics(cells: list[Cell]) -> None:
    used = facts.usage(told(cells[0]))
    assert used["system/cpu_s"] == 1.0
    assert all(name.startswith("system/") for name in used)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "is no address of an MLflow store"),
        ("mlflow", "write http://HOST:PORT"),
        ("ftp://me:s3cret@there/x", "'ftp://there/x' is no address"),
        ("me:s3cret@there:5000", "'there:5000' is no address"),
        ("http://", "names no host"),
        ("http://me:s3cret@:80", "names no host"),
        ("http://there:port", "names no host and port"),
        ("https://there/?token=s3cret", "MLFLOW_TRACKING_TOKEN"),
        ("sqlite://", "is no address"),
        ("sqlite:///", "names no database file"),
        ("sqlite:///:memory:", "names no database file"),
        ("sqlite:///folder", "is a folder: name the database file in it"),
        ("sqlite:///nowhere/mlflow.db", "there is no folder nowhere"),
        ("file:///tmp/mlruns", "keeps runs in databases: write sqlite:///PATH"),
        ("./mlruns", "keeps runs in databases"),
        ("postgresql://me:s3cret@there/db", "the address of the MLflow server in front of it"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(
    address: str, said: str, folder: Path
) -> None:
    with pytest.raises(NoAddress) as refused:
        checked(address)
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_an_address_of_a_database_becomes_absolute(folder: Path) -> None:
    assert checked("sqlite:///folder/a.db") == f"sqlite:///{folder}/folder/a.db"
    assert checked("http://there:5000/mlflow/") == "http://there:5000/mlflow"
    with pytest.raises(NoAddress, match="there is no database"):
        checked("sqlite:///folder/a.db", exists=True)


def test_user_and_password_are_given_to_mlflow_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")

    assert connected("https://me:s%40cret@there:5000/a") == "https://there:5000/a"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "s@cret"


def test_texts_lose_passwords_and_tokens() -> None:
    text = "API request to http://me:s3@cret@there:5000/api?token=s3cret failed at 12:00"
    assert without_password(text) == "API request to http://there:5000/api failed at 12:00"
    assert shown("https://me:s3cret@there/a?token=s3cret") == "https://there/a"


@pytest.mark.parametrize("sign", ["/", "#", "?", "@", ":"])
def test_no_sign_in_a_password_lets_a_part_of_it_be_seen(sign: str) -> None:
    address = f"http://joe:s3{sign}cret@127.0.0.1:9/a"
    assert shown(address) == "http://127.0.0.1:9/a"
    assert without_password(f"at {address} now") == "at http://127.0.0.1:9/a now"
    if sign in "/#?":
        for refuse in (checked, connected):
            with pytest.raises(NoAddress, match=r"write a /, # or \? of a password as %2F") as told:
                refuse(address)
            assert "s3" not in str(told.value)


def test_of_a_failed_connection_the_innermost_reason_is_told() -> None:
    line = (
        "API request to http://there:9/api failed with exception HTTPConnectionPool(host='there', port=9): Max retries exceeded "
        "(Caused by NewConnectionError('<object at 0x1>: Failed to establish a new connection: [Errno 111] Connection refused'))"
    )
    assert first_line(OSError(line)) == "Connection refused"
