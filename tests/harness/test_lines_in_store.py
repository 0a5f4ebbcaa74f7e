"""The runs of a figure's lines in the MLflow database: what stands there, and what a second collect leaves."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.harness.running import Harness, rows, tiny

METHODS = ["single frame", "LSTM classifier", "LSTM classifier + Composite pretraining"]


def ask(work: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(work / "mlflow.db") as database:
        return database.execute(query, values).fetchall()


def of_role(work: Path, role: str) -> list[tuple[Any, ...]]:
    """(id, name, begin) of the runs of a role that are not deleted, newest first as the UI's table has them."""
    return ask(
        work,
        "select r.run_uuid, r.name, r.start_time from runs r join tags t using (run_uuid) where t.key = 'role' "
        "and t.value = ? and r.lifecycle_stage = 'active' order by r.start_time desc",
        role,
    )


def tags(work: Path, run: str) -> dict[str, str]:
    return dict(ask(work, "select key, value from tags where run_uuid = ?", run))


def test_every_line_of_the_figure_is_a_run_beside_the_parent_with_the_figures_numbers(
    finished: Harness,
) -> None:
    found = of_role(finished.work, "curve")
    assert [name for _, name, _ in found] == [f"{method} · digits" for method in METHODS]
    ((parent, _, begun),) = of_role(finished.work, "parent")
    assert all(start < begun for *_, start in found)  # the parent comes first
    assert (
        len({tags(finished.work, run)["mlflow.runColor"] for run, *_ in [*found, (parent,)]}) == 4
    )
    for (run, *_), method in zip(found, METHODS, strict=True):
        assert "mlflow.parentRunId" not in tags(finished.work, run)  # seen without opening anything
        assert dict(
            ask(finished.work, "select key, value from params where run_uuid = ?", run)
        ) == {
            "method": method,
            "dataset": "digits",
        }
        points = {
            (name, step): value
            for name, step, value in ask(
                finished.work, "select key, step, value from metrics where run_uuid = ?", run
            )
        }
        drawn = [row for row in rows(finished.csv()) if row["method"] == method]
        assert len(drawn) == 2
        for row in drawn:
            step, mean, sd = (
                int(float(row["labels_per_class"])),
                float(row["mean"]),
                float(row["sd"]),
            )
            for bound, value in (("lower", mean - sd), ("mean", mean), ("upper", mean + sd)):
                assert points[f"digits/{bound} video_accuracy", step] == pytest.approx(
                    value, abs=1e-3
                )


def test_scores_of_cells_stand_at_their_number_of_labels(finished: Harness) -> None:
    found = ask(
        finished.work,
        "select m.step, p.value from metrics m join params p using (run_uuid) "
        "where m.key = 'video_accuracy' and p.key = 'labels_per_class'",
    )
    assert len(found) == 12
    assert all(step == int(labels) for step, labels in found)


def test_the_parents_page_has_the_tables_and_the_list_of_experiments_a_description(
    finished: Harness,
) -> None:
    ((parent, *_),) = of_role(finished.work, "parent")
    text = tags(finished.work, parent)["mlflow.note.content"]
    assert "13 of 13 cells have a result" in text
    assert "| digits | single frame | 1 | 2 |" in text
    ((experiment,),) = ask(
        finished.work,
        "select value from experiment_tags where key = 'mlflow.note.content'",
    )
    assert "pretraining" in experiment


def test_collecting_again_adds_nothing_and_lines_that_are_no_longer_drawn_go(
    copy_of_finished: Harness,
) -> None:
    before = of_role(copy_of_finished.work, "curve")
    copy_of_finished("collect", "fig12")
    assert of_role(copy_of_finished.work, "curve") == before
    copy_of_finished("collect", "fig12", *tiny(methods="single_frame"))
    assert of_role(copy_of_finished.work, "curve") == before[:1]
    copy_of_finished("collect", "fig12", *tiny(resamples=1))
    # Cells of other knobs are no longer among those that filters by role and groups by method give.
    wanted = {run for run, *_ in of_role(copy_of_finished.work, "cell")}
    parents = [tags(copy_of_finished.work, run).get("mlflow.parentRunId") for run in wanted]
    assert None not in parents
    assert of_role(copy_of_finished.work, "former cell")
    copy_of_finished("collect", "fig12", *tiny())
    assert not of_role(copy_of_finished.work, "former cell")
    copy_of_finished("collect", "fig12", *tiny(resamples=1))
    ((run, name, _), *others) = of_role(copy_of_finished.work, "curve")
    assert (name, len(others)) == (before[0][1], 2)
    assert run != before[0][0]  # points cannot be taken back: other numbers are another run
