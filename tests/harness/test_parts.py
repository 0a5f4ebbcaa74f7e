"""An experiment of several artefacts: run once, drawn each by its own names, on one page; what fails in one stays there."""

import json
import re
import shutil
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from click.testing import Result

from harness import closing, launch, plan, publish
from harness.order import Order
from harness.source import find
from harness.words import complete_setting
from harness.workdir import Workdir
from reports.published import SINGLE_FRAME
from tests.harness.faked import invoke
from tests.harness.running import Harness, mlflow_cells, rows, sets
from tests.harness.toys_of_parts import OTHER_NAME

TOYS = f"{Path(__file__).with_name('toys_of_parts.py')}:both"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """Both artefacts, run undisturbed by worker processes. Tests read it and change nothing."""
    made = Harness(tmp_path_factory.mktemp("parts") / "work")
    made("run", TOYS, "--set", "table2.steps=2", "--jobs", "1")
    return made


@pytest.fixture
def mine(done: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in a folder of the test's own; MLflow is not written again."""
    monkeypatch.setattr(launch, "_gather_all", lambda *_: [])
    shutil.copytree(done.work, tmp_path / "copied", symlinks=True)
    return tmp_path / "copied"


def run(work: Path, *words: str, verb: str = "run") -> Result:
    inline = ("--cluster", "inline") if verb == "run" else ()
    return invoke(verb, TOYS, "--workdir", str(work), *inline, *words)


def folder(work: Path) -> Path:
    return work / "reports" / "both"


def test_every_cell_was_run_once_and_every_artefact_is_drawn_in_its_folder(done: Harness) -> None:
    assert len(done.results()) == len(done.attempts()) == 2
    for part in ("fig1", "table2"):
        for suffix in ("csv", "png", "pdf", "svg", "md", "tex", "html", "json"):
            assert (folder(done.work) / part / f"{part}.{suffix}").stat().st_size > 100, suffix
    page = (folder(done.work) / "both.html").read_text()
    assert page.count("<svg") == page.count("</article>") == 2
    assert "First &lt;b&gt;artefact" in page
    assert "2 of 2 cells done, none missing; 1 of them shared by several artefacts" in page


def test_cells_lead_to_their_runs_from_the_parts_and_from_their_page(done: Harness) -> None:
    pages = [folder(done.work) / name for name in ("fig1/fig1.html", "both.html")]
    for page, number in zip(pages, (2, 3), strict=True):
        runs = re.findall(r'href="([./]+/runs/\w{16}/attempt[^"]*)"', page.read_text())
        assert len(runs) == number  # one of the two cells is in both artefacts
        assert all((page.parent / unquote(run) / "result.json").is_file() for run in runs)


def test_a_shared_cell_is_called_what_each_artefact_calls_it(done: Harness) -> None:
    first, second = (
        rows((folder(done.work) / part / f"{part}.csv").read_bytes()) for part in ("fig1", "table2")
    )
    assert {(row["method"], row["n"]) for row in first} == {(SINGLE_FRAME, "2")}
    assert {(row["method"], row["n"]) for row in second} == {(OTHER_NAME, "1")}
    values = {
        body["values"]["resample"]: score["value"]
        for body in done.results().values()
        for score in body["scores"]
        if score["metric"] == "video_accuracy"
    }
    assert float(first[0]["mean"]) == pytest.approx(sum(values.values()) / 2, abs=1e-4)
    assert float(second[0]["mean"]) == pytest.approx(values[0], abs=1e-4)


def test_mlflow_has_each_cell_once_and_each_artefacts_curves_and_files(done: Harness) -> None:
    assert set(mlflow_cells(done.work).values()) == {1}
    assert len(mlflow_cells(done.work)) == 2
    with sqlite3.connect(done.work / "mlflow.db") as database:
        keys = {key for (key,) in database.execute("select key from metrics")}
    assert {key for key in keys if "video_accuracy/digits" in key and "/sd" not in key} >= {
        f"fig1/video_accuracy/digits/{SINGLE_FRAME}",
        f"table2/video_accuracy/digits/{OTHER_NAME}",
    }
    for place in ("artifacts/fig1/fig1.png", "artifacts/table2/table2.csv", "artifacts/both.html"):
        assert list((done.work / "mlartifacts").glob(f"*/{place}")), place


def test_a_second_run_starts_nothing_and_draws_nothing(mine: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder(mine).rglob("*") if path.is_file()}
    told = json.loads(run(mine, "--set", "table2.steps=2", "--json").stdout)
    assert (told["ran"], told["done"], told["total"]) == (0, 2, 2)
    assert {"both.html", "fig1/fig1.png", "table2/table2.csv"} <= set(told["report"])
    after = {path: path.stat().st_mtime_ns for path in folder(mine).rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("lost", ["both.html", "fig1/fig1.png", "table2/table2.csv"])
def test_a_report_that_lost_a_file_is_not_current(lost: str, mine: Path) -> None:
    place, settings = Workdir(mine), ("table2.steps=2",)
    experiment = find(TOYS).experiment(settings)
    made = plan.make(experiment, place)
    assert publish.is_current("both", experiment, made, place, settings)
    (folder(mine) / lost).unlink()
    assert not publish.is_current("both", experiment, made, place, settings)


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("always", "table2 could not be drawn: KeyError: 'no such colour' (toys_of_parts.py, line"),
        ("when drawn", "table2 could not be drawn: KeyError: 'no such colour'"),
        ("with a refusal", "table2 could not be drawn: these numbers cannot stand together"),
    ],
)
def test_an_artefact_that_cannot_be_drawn_leaves_the_others(
    fails: str, reason: str, mine: Path
) -> None:
    told = run(mine, "--format", "html,csv", *sets({"table2.fails": fails}), verb="report")
    assert told.exit_code == 1
    assert reason in told.stderr
    page = (folder(mine) / "both.html").read_text()
    assert page.count("<svg") == 1
    assert page.count("table2 could not be drawn") == 2
    assert (folder(mine) / "fig1" / "fig1.csv").exists()
    assert not list((folder(mine) / "table2").iterdir())  # they were drawn from other results
    # Mended, all is whole again.
    assert run(mine, "--format", "html,csv", "--set", "steps=2", verb="report").exit_code == 0
    assert (folder(mine) / "both.html").read_text().count("<svg") == 2


def test_a_run_tells_by_its_exit_code_that_an_artefact_could_not_be_drawn(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish.draw, "__defaults__", (("html", "csv"),))
    told = run(mine, *sets({"table2.fails": "when drawn"}), "--json")
    assert told.exit_code == 1
    content = json.loads(told.stdout)
    assert (content["undrawn"], content["failed"]) == (["table2"], {})
    assert [each.partition(":")[0] for each in content["problems"]] == ["table2 could not be drawn"]


def test_a_report_of_one_piece_that_refuses_its_numbers_says_so_in_a_sentence(
    tmp_path: Path,
) -> None:
    words = (TOYS.replace(":both", ":alone"), "--workdir", str(tmp_path / "work"))
    told = invoke("run", *words, "--cluster", "inline", *sets({"fails": "with a refusal"}))
    assert told.exit_code == 1, told.output
    assert "harness: alone could not be drawn: these numbers cannot stand together" in told.stderr
    again = invoke("report", *words)
    assert again.exit_code == 1
    assert "harness: alone could not be drawn: these numbers cannot stand together" in again.stderr
    assert invoke("report", *words, "--set", "fails=").exit_code == 0  # its results were kept


@pytest.mark.parametrize(("fails", "code"), [("", 0), ("when drawn", 1)])
def test_the_closing_job_draws_every_artefact_that_can_be_drawn(
    fails: str,
    code: int,
    mine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(publish.draw, "__defaults__", (("html", "csv"),))
    settings = (f"table2.fails={fails}",)
    place = Workdir(mine)
    place.remember("both", source=TOYS, settings=settings)
    shutil.rmtree(folder(mine))
    submission = mine / "submissions" / "1"
    Order(workdir=str(mine), source=TOYS, settings=settings).write(submission / "order.json")
    assert closing.main([str(submission)]) == code
    assert (folder(mine) / "both.html").read_text().count("<svg") == 2 - code
    assert ("table2 could not be drawn" in capsys.readouterr().err) == bool(code)


def test_only_a_run_of_which_nothing_can_be_drawn_is_refused(tmp_path: Path) -> None:
    work = tmp_path / "work"
    source = find(TOYS)
    settings = ("only=table2", "table2.fails=always")
    told = run(work, *(word for each in settings for word in ("--set", each)))
    assert told.exit_code == 2
    assert "both: nothing of it can be drawn: table2 could not be drawn: KeyError" in told.stderr
    assert not list(work.glob("runs/*"))
    experiment = source.experiment(("table2.fails=always",))
    place = Workdir(work)
    launch.rehearse("both", experiment, plan.make(experiment, place), place, ())  # fig1 is left


def test_report_draws_the_formats_of_every_artefact_and_its_exit_code_tells(mine: Path) -> None:
    shutil.rmtree(folder(mine))
    told = run(mine, "--format", "md,html", verb="report")
    assert told.exit_code == 0
    assert [Path(line).name for line in told.stdout.splitlines()] == [
        "fig1.md", "fig1.html", "table2.md", "table2.html", "both.html",
    ]  # fmt: skip
    failing = ("--set", "table2.fails=when drawn")
    told = run(mine, "--format", "html", "--json", *failing, verb="report")
    assert told.exit_code == 1
    assert set(json.loads(told.stdout)) == {"fig1/fig1.html", "both.html"}
    assert run(mine, "--format", "md", *failing, verb="report").exit_code == 0


def test_a_report_of_some_formats_is_not_taken_for_the_whole(mine: Path) -> None:
    place, settings = Workdir(mine), ("table2.steps=2",)
    experiment = find(TOYS).experiment(settings)
    made = plan.make(experiment, place)
    assert publish.is_current("both", experiment, made, place, settings)
    shutil.rmtree(folder(mine))
    publish.draw("both", experiment, made, place, settings, ("csv",))
    assert not publish.is_current("both", experiment, made, place, settings)
    # What was drawn from the same results stays, and counts.
    rest = tuple(form for form in publish.FORMATS if form != "csv")
    publish.draw("both", experiment, made, place, settings, rest)
    assert publish.is_current("both", experiment, made, place, settings)
    assert (folder(mine) / "fig1" / "fig1.csv").exists()


def test_nothing_that_was_drawn_from_other_results_stays_beside_a_report(mine: Path) -> None:
    place, settings = Workdir(mine), ("table2.steps=2",)
    experiment = find(TOYS).experiment(settings)
    publish.draw("both", experiment, plan.make(experiment, place), place, settings)
    before = set(publish.written_files("both", experiment, place))
    other_settings = ("table2.steps=3",)
    other = find(TOYS).experiment(other_settings)
    publish.draw("both", other, plan.make(other, place), place, other_settings, ("md",))
    after = set(publish.written_files("both", other, place))
    assert after == {file for file in before if file.endswith(".md")} < before


def test_another_name_in_one_artefact_makes_the_report_stale(mine: Path) -> None:
    place, settings = Workdir(mine), ("table2.steps=2",)
    experiment = find(TOYS).experiment(settings)
    table = experiment.parts["table2"]
    renamed = replace(table, cells=tuple(replace(cell, label="anew") for cell in table.cells))
    other = replace(experiment, parts={**experiment.parts, "table2": renamed})
    assert not publish.is_current("both", other, plan.make(other, place), place, settings)


def test_a_dry_run_counts_cells_by_part_and_those_shared(tmp_path: Path) -> None:
    told = run(tmp_path / "nowhere", "--dry-run")
    assert "both: 2 cells, 0 done, 2 to run" in told.stdout
    assert "fig1    0 of 2 cells done, 1 of them shared with other parts" in told.stdout
    content = json.loads(run(tmp_path / "nowhere", "--dry-run", "--json").stdout)
    assert content["parts"] == {
        "fig1": {"cells": 2, "done": 0, "shared": 1},
        "table2": {"cells": 1, "done": 0, "shared": 1},
    }
    assert content["total"] == len(content["cells"]) == 2
    alone = json.loads(run(tmp_path / "no", "--dry-run", "--json", "--set", "only=fig1").stdout)
    assert alone["parts"] == {"fig1": {"cells": 2, "done": 0, "shared": 0}}
    assert not (tmp_path / "nowhere").exists()


def test_status_and_describe_speak_of_the_parts(mine: Path) -> None:
    told = invoke("status", "both", "--workdir", str(mine))
    assert "knobs as in the last run: table2.steps=2" in told.stderr
    assert "table2  1 of 1 cells done, 1 of them shared" in told.stdout
    content = json.loads(invoke("status", "both", "--workdir", str(mine), "--json").stdout)
    assert content["parts"]["fig1"] == {"cells": 2, "done": 2, "shared": 1}
    about = json.loads(invoke("describe", TOYS, "--json").stdout)
    assert about["parts"] == {
        "fig1": {"title": "First <b>artefact</b>", "cells": 2, "shared": 1},
        "table2": {"title": "Second artefact", "cells": 1, "shared": 1},
    }
    assert "parts" not in about["knobs"]


def test_an_artefact_run_alone_keeps_its_own_place(mine: Path) -> None:
    before = (folder(mine) / "fig1" / "fig1.csv").read_bytes()
    words = ("report", TOYS.replace(":both", ":fig1"), "--workdir", str(mine), "--format", "csv")
    assert invoke(*words).exit_code == 0
    assert (mine / "reports" / "fig1" / "fig1.csv").read_bytes() == before
    assert (folder(mine) / "both.html").exists()


def test_missing_results_are_counted_on_the_page(mine: Path) -> None:
    kept = {path.name for path in mine.glob("runs/*")}
    table = find(TOYS).experiment(()).parts["table2"]
    (lost,) = kept - {cell.short for cell in table.cells}
    shutil.rmtree(mine / "runs" / lost)
    assert run(mine, "--format", "html", verb="report").exit_code == 0
    page = (folder(mine) / "both.html").read_text()
    assert "1 of 2 cells done, 1 missing" in page
    states = Counter(word for word in ("1 missing", "complete") if f"<td>{word}</td>" in page)
    assert states == {"1 missing": 1, "complete": 1}
    assert find(TOYS).experiment(()).parts["fig1"].cells[1].short == lost


def test_completion_offers_knobs_of_parts() -> None:
    context = click.Context(click.Command("run"))
    context.params = {"name": TOYS}
    offered = complete_setting(context, click.Option(["--set"]), "fig1.")
    assert offered == ["fig1.resamples=", "fig1.steps="]
    assert "only=" in complete_setting(context, click.Option(["--set"]), "o")
