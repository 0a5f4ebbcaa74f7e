"""Reports from a tracking store alone: byte for byte those from the results, and honest where the store was altered."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from mlflow.tracking import MlflowClient

from harness import redraw
from harness.carried import Carried
from harness.source import UsageError
from tests.harness.faked import invoke
from tests.harness.running import sets
from tests.harness.tracking import drawn, tracking_server

TOYS = f"{Path(__file__).with_name('toys_of_parts.py')}"
PRETRAINED = {
    "methods": "lstm,pretrained",
    "shots": 1,
    "resamples": 2,
    "units": 4,
    "layers": 1,
    "pretrain_steps": 2,
    "pretrain_batch": 4,
    "finetune_steps_few": 2,
}


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    """No store from outside; no encoders, whose tracing takes seconds; addresses leave no user or password behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_LOG_MODELS", "0")
        for name in ("TRACKING_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD"):
            patch.setenv(f"MLFLOW_{name}", "")
            patch.delenv(f"MLFLOW_{name}")
        yield


def run(work: Path, name: str, **settings: object) -> Result:
    done = invoke("run", name, *sets(settings), "--cluster", "inline", "--workdir", str(work))
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two artefacts as one experiment, in a work folder. Tests read it."""
    work = tmp_path_factory.mktemp("parts") / "work"
    run(work, f"{TOYS}:both", **{"table2.steps": 2})
    return work


@pytest.fixture(scope="module")
def figure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A figure that rests on a pretrained model."""
    work = tmp_path_factory.mktemp("figure") / "work"
    run(work, "fig12", **PRETRAINED)
    return work


@pytest.fixture(scope="module")
def collected(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the experiment fig1, of two cells."""
    store = tmp_path_factory.mktemp("collected") / "store"
    store.mkdir()
    address = f"sqlite:///{store}/mlflow.db"
    done = invoke("collect", f"{TOYS}:fig1", "--workdir", str(parts), "--to", address)
    assert done.exit_code == 0, done.output
    return store


def copied(store: Path, to: Path) -> str:
    """A copy of a store, and its address: making a new database takes MLflow seconds."""
    shutil.copytree(store, to)
    with sqlite3.connect(to / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"update {table} set {column} = replace({column}, ?, ?)", (str(store), str(to))
            )
    return f"sqlite:///{to}/mlflow.db"


@pytest.fixture
def own(collected: Path, tmp_path: Path) -> str:
    """The address of such a store of the test's own."""
    return copied(collected, tmp_path / "store")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("server") / "store"
    with tracking_server(folder) as address:
        yield address, folder


def test_a_report_of_parts_from_a_database_is_the_one_from_results(
    parts: Path, tmp_path: Path
) -> None:
    hidden = parts.rename(parts.with_name("hidden"))
    try:  # only the store is left where it was
        parts.mkdir()
        for name in ("mlflow.db", "mlartifacts"):
            (parts / name).symlink_to(hidden / name)
        done = invoke(
            "report", f"{TOYS}:both", "--from", f"sqlite:///{parts}/mlflow.db", "--workdir", str(tmp_path)
        )  # fmt: skip
    finally:
        shutil.rmtree(parts)
        hidden.rename(parts)
    assert done.exit_code == 0, done.output
    expected = drawn(parts / "reports")
    assert drawn(tmp_path / "reports") == expected
    assert {"both/both.html", "both/fig1/fig1.pdf", "both/table2/table2.png"} <= set(expected)


def test_a_figure_from_a_server_is_the_one_from_results_and_no_password_is_told_or_kept(
    figure: Path, server: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = server
    guarded = f"http://me:s3cret@{address}"
    told = []
    for _ in range(2):
        done = invoke("collect", "fig12", "--workdir", str(figure), "--to", guarded)
        assert done.exit_code == 0, done.output
        told.append(done.output)
        with sqlite3.connect(folder / "mlflow.db") as database:
            counted = database.execute("select count(*) from runs").fetchone()
        # A parent, two lines of the figure, a pretraining, two methods of two resamples.
        assert counted == (8,)
    done = invoke("report", "fig12", "--from", guarded, "--workdir", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert drawn(tmp_path / "out" / "reports") == drawn(figure / "reports")
    assert "s3cret" not in "".join([*told, done.output])
    kept = [path for top in (folder, figure) for path in top.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"s3cret" in path.read_bytes()]
    files = {path.name for path in (folder / "files").rglob("*")}
    assert {"predictions.parquet", "encoder.safetensors", "result.json", "fig12.png"} <= files


def test_two_folders_in_one_store_are_told_apart(own: str, parts: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(parts, other)
    (other / ".id").unlink()
    victim = next(other.glob("runs/*/result.json"))
    victim.unlink()
    done = invoke("collect", f"{TOYS}:fig1", "--workdir", str(other), "--to", own)
    assert "1 of 2 cells are in" in done.output
    words = (
        "report",
        f"{TOYS}:fig1",
        "--from",
        own,
        "--format",
        "csv",
        "--workdir",
        str(tmp_path / "out"),
    )
    which = invoke(*words)
    assert which.exit_code == 2
    identity = (other / ".id").read_text()
    assert "2 work folders collected fig1" in which.stderr
    assert f"{identity[:8]} (" in which.stderr
    for wanted in (identity[:8], "other"):
        done = invoke(*words, "--folder", wanted)
        assert done.exit_code == 0, done.output
        assert "1 of 2 cells have no result" in done.stderr
    assert "no work folder 'nobody' collected fig1" in invoke(*words, "--folder", "nobody").stderr
    client = MlflowClient(own)
    (experiment,) = (each for each in client.search_experiments() if each.name == "fig1")
    found = client.search_runs([experiment.experiment_id], "tags.role = 'parent'")
    assert sorted(run.info.run_name.rpartition(":")[2] for run in found) == ["other", "work"]


def cells(address: str) -> tuple[MlflowClient, list[str]]:
    client = MlflowClient(address)
    ids = [each.experiment_id for each in client.search_experiments()]
    return client, [run.info.run_id for run in client.search_runs(ids, "tags.role = 'cell'")]


def report(address: str, out: Path, name: str = f"{TOYS}:fig1") -> Result:
    return invoke("report", name, "--from", address, "--format", "md,json", "--workdir", str(out))


def test_a_deleted_run_is_missing_and_said(own: str, tmp_path: Path) -> None:
    client, ids = cells(own)
    client.delete_run(ids[0])
    done = report(own, tmp_path)
    assert "its run is not in the tracking store any more: treated as missing" in done.stderr
    assert "1 of 2 cells have no result" in done.stderr
    text = (tmp_path / "reports" / "fig1" / "fig1.md").read_text()
    assert "its run is not in the tracking store any more" in text


def test_an_edited_score_is_not_believed(own: str, tmp_path: Path) -> None:
    client, ids = cells(own)
    client.log_metric(
        ids[0], "video_accuracy", 99.0, step=1
    )  # where it stands, at its labels per class
    done = report(own, tmp_path)
    assert "its scores in the tracking store are not those that were collected" in done.stderr
    assert "99.0" not in (tmp_path / "reports" / "fig1" / "fig1.md").read_text()


def test_collecting_again_mends_an_edited_score(own: str, parts: Path, tmp_path: Path) -> None:
    words = ("collect", f"{TOYS}:fig1", "--workdir", str(parts), "--to", own)
    client, ids = cells(own)
    client.log_metric(ids[0], "video_accuracy", 99.0, step=1)
    assert invoke(*words).exit_code == 0
    mended, again = cells(own)
    assert len(again) == len(ids)
    assert ids[0] not in again
    assert 99.0 not in [mended.get_run(each).data.metrics["video_accuracy"] for each in again]


def test_an_altered_file_is_not_shown_and_its_cell_is_missing(
    own: str, figure: Path, tmp_path: Path
) -> None:
    """Seen where a report reads files, as that of a drawing function of one's own does."""
    file = tmp_path / "looks.py"
    file.write_text(
        "from dataclasses import replace\nfrom configs.fig12 import fig12\n\n\n"
        "def draw(evidence, formats):\n"
        "    seen = [evidence.predictions(key) is not None for key in sorted(evidence.kept)]\n"
        "    return {'looks.csv': f'{len(seen)} {len(evidence.rows) > 0} {all(seen)}'.encode()}\n\n\n"
        "def looks():\n"
        "    return replace(fig12(methods=('lstm',), shots=(1,), resamples=2, units=4, layers=1,\n"
        "                         finetune_steps_few=2), draw=draw)\n"
    )
    done = invoke("collect", f"{file}:looks", "--workdir", str(figure), "--to", own)
    assert "2 of 2 cells" in done.output
    words = (
        "report",
        f"{file}:looks",
        "--from",
        own,
        "--format",
        "csv",
        "--workdir",
        str(tmp_path),
    )
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    out = tmp_path / "reports" / "looks" / "looks.csv"
    assert out.read_text() == "2 True True"
    client = MlflowClient(own)
    (experiment,) = (each for each in client.search_experiments() if each.name == "looks")
    run_id = client.search_runs([experiment.experiment_id], "tags.role = 'cell'")[0].info.run_id
    (victim,) = (tmp_path / "store").rglob(f"{run_id}/artifacts/predictions.parquet")
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    done = invoke(*words)
    assert "predictions.parquet was altered since it was written: treated as missing" in done.stderr
    assert out.read_text() == "1 True True"


def test_nothing_that_a_server_names_is_imported(own: str, tmp_path: Path) -> None:
    (evidence,) = (tmp_path / "store").rglob("evidence.json")
    content = json.loads(evidence.read_text())
    assert content["drawn_by"] == "configs.fig12:_draw"
    for named in ("this:draw", "os:system", "configs.fig12:fig12", "configs.nothing:_draw"):
        evidence.write_text(json.dumps({**content, "drawn_by": named}))
        done = report(own, tmp_path / "out", name="fig1")
        assert done.exit_code == 2, done.output
        assert "write FILE.py:fig1 in place of fig1" in done.stderr
        assert "this" not in sys.modules
    evidence.write_text(json.dumps(content))  # drawn by one that is known here, no file is needed
    assert report(own, tmp_path / "out", name="fig1").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fig1", "--from", "{own}x"), "there is no database"),
        (("fig1", "--from", "sqlite:///README.md"), "README.md could not be read (DatabaseError"),
        (("fig2", "--from", "{own}"), "there is no experiment 'fig2'"),
        (("fig1", "--from", "{own}", "--set", "steps=3"), "leave --set out"),
        (("fig12", "--folder", "a"), "--folder is for --from URI"),
        (
            ("fig1", "--from", "http://127.0.0.1:9"),
            "MLflow at http://127.0.0.1:9 could not be read",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    words: tuple[str, ...], said: str, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = invoke("report", *(word.format(own=own) for word in words), "--workdir", str(tmp_path))
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_store_that_an_older_collector_wrote_is_said_to_need_another_collection(
    own: str, tmp_path: Path
) -> None:
    (evidence,) = (tmp_path / "store").rglob("evidence.json")
    evidence.unlink()
    assert "`harness collect` it again" in report(own, tmp_path / "out").stderr
    evidence.write_text('{"format": 0, "runs": {}}')
    assert "was written by another version" in report(own, tmp_path / "out").stderr


def test_a_drawing_function_of_a_changed_file_is_refused() -> None:
    told = Carried(content={"drawn_by": "elsewhere:draw", "runs": {}})
    with pytest.raises(UsageError, match=r"write FILE\.py:mine"):
        redraw.find_draw("mine", "mine", told, ())
