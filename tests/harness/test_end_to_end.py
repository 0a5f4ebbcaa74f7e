"""The whole path, as a user walks it, at a tiny size: run, look, lose things, run again."""

import json
import os
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from harness import files
from tests.harness.running import NUM_CELLS, Harness, mlflow_cells, rows, tiny

COLUMNS = {"dataset", "method", "labels_per_class", "n", "mean", "sd", "min", "max", "published"}


def test_a_run_leaves_the_report_in_every_format(finished: Harness) -> None:
    folder = finished.work / "reports" / "fig12"
    for suffix in ("csv", "png", "pdf", "svg", "md", "tex", "html", "json"):
        assert (folder / f"fig12.{suffix}").stat().st_size > 100, suffix
    table = rows(finished.csv())
    assert set(table[0]) >= COLUMNS
    assert len(table) == 6
    assert {(row["labels_per_class"], row["n"]) for row in table} == {
        ("1.0000", "2"),
        ("2.0000", "2"),
    }
    record = json.loads((folder / "fig12.json").read_bytes())
    assert record["missing"] == [] or not record["missing"]


def test_the_numbers_of_the_csv_are_those_of_the_results(finished: Harness) -> None:
    scores: dict[tuple[str, str], list[float]] = {}
    for body in finished.results().values():
        if "shots" in body["values"]:
            cell = json.loads(
                (
                    finished.work / "runs" / body["cell"][:16] / body["attempt"] / "cell.json"
                ).read_bytes()
            )
            value = next(
                score["value"] for score in body["scores"] if score["metric"] == "video_accuracy"
            )
            scores.setdefault((cell["label"], body["values"]["shots"]), []).append(value)
    for row in rows(finished.csv()):
        values = scores[row["method"], row["shots"]]
        assert float(row["mean"]) == pytest.approx(sum(values) / 2, abs=1e-4)
        assert (float(row["min"]), float(row["max"])) == pytest.approx(
            (min(values), max(values)), abs=1e-4
        )


def test_every_cell_is_in_mlflow_exactly_once_under_one_parent(finished: Harness) -> None:
    cells = mlflow_cells(finished.work)
    assert set(cells.values()) == {1}
    assert set(cells) == {body["cell"] for body in finished.results().values()}
    assert len(cells) == NUM_CELLS
    with sqlite3.connect(finished.work / "mlflow.db") as database:
        parents = {
            value
            for (value,) in database.execute(
                "select value from tags where key = 'mlflow.parentRunId'"
            ).fetchall()
        }
        assert len(parents) == 1
        curve = database.execute(
            "select key, step, value from metrics where run_uuid = ? and key like 'video_accuracy/digits/%'",
            (*parents,),
        ).fetchall()
    means = {(key, step): value for key, step, value in curve}
    for row in rows(finished.csv()):
        key = "video_accuracy/digits/" + row["method"].replace("+", "_")
        assert means[key, int(float(row["labels_per_class"]))] == pytest.approx(
            float(row["mean"]), abs=1e-4
        )


def test_status_counts_add_up(finished: Harness) -> None:
    counts = finished.json("status", "fig12")
    assert {name: counts[name] for name in ("total", "done", "running", "waiting", "failed", "missing")} == {
        "total": NUM_CELLS, "done": NUM_CELLS, "running": 0, "waiting": 0, "failed": 0, "missing": 0,
    }  # fmt: skip


def test_a_second_run_starts_no_cell(copy_of_finished: Harness) -> None:
    before = copy_of_finished.attempts()
    drawn = (copy_of_finished.work / "reports" / "fig12" / "fig12.png").stat().st_mtime_ns
    outcome = json.loads(copy_of_finished.run_tiny("--json").stdout)
    assert (outcome["ran"], outcome["done"], outcome["total"]) == (0, NUM_CELLS, NUM_CELLS)
    assert copy_of_finished.attempts() == before
    assert (copy_of_finished.work / "reports" / "fig12" / "fig12.png").stat().st_mtime_ns == drawn


def test_mlflow_is_rebuilt_from_the_results(copy_of_finished: Harness) -> None:
    expected, cells = copy_of_finished.csv(), mlflow_cells(copy_of_finished.work)
    (copy_of_finished.work / "mlflow.db").unlink()
    for path in (copy_of_finished.work / "reports" / "fig12").iterdir():
        path.unlink()
    copy_of_finished("collect", "fig12")
    copy_of_finished("report", "fig12")
    assert copy_of_finished.csv() == expected
    assert mlflow_cells(copy_of_finished.work) == cells
    copy_of_finished("collect", "fig12")
    assert mlflow_cells(copy_of_finished.work) == cells


def test_more_resamples_run_only_what_is_new(copy_of_finished: Harness) -> None:
    outcome = copy_of_finished.json("run", "fig12", *tiny(resamples=3))
    assert (outcome["ran"], outcome["total"]) == (6, NUM_CELLS + 6)
    assert {row["n"] for row in rows(copy_of_finished.csv())} == {"3"}
    assert set(mlflow_cells(copy_of_finished.work).values()) == {1}


def test_one_process_gives_the_same_numbers_as_many(finished: Harness, harness: Harness) -> None:
    harness.run_tiny("--cluster", "inline")
    assert harness.csv() == finished.csv()


def test_two_ranks_give_the_pretraining_loss_of_one(finished: Harness, harness: Harness) -> None:
    harness("run", "fig12", *tiny(methods="pretrained", shots=1, resamples=1), "--ranks", "2")
    one, two = (
        next(body for body in each.results().values() if body["task"] == "Pretrain")
        for each in (finished, harness)
    )
    assert one["cell"] == two["cell"]
    assert (one["usage"]["ranks"], two["usage"]["ranks"]) == (1, 2)
    assert two["history"]["step"] == one["history"]["step"]
    assert two["history"]["loss"] == pytest.approx(one["history"]["loss"], rel=1e-6)
    for first, second in zip(one["scores"], two["scores"], strict=True):
        assert second["metric"] == first["metric"]
        assert second["value"] == pytest.approx(first["value"], rel=1e-6)
        assert second["count"] == first["count"]


def test_a_damaged_result_is_treated_as_missing_aloud(copy_of_finished: Harness) -> None:
    expected = copy_of_finished.csv()
    victim = sorted(copy_of_finished.work.glob("runs/*/result.json"))[3]
    # The accepted result is a hard link: cut the name, not the attempt's own file.
    content = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(content[: len(content) // 2])
    assert copy_of_finished.json("status", "fig12")["missing"] == 1
    again = copy_of_finished.run_tiny()
    assert "is cut short or altered: treated as missing" in again.stderr
    assert "1 of" in again.stderr or "13 of 13" in again.stderr
    assert copy_of_finished.csv() == expected
    assert set(mlflow_cells(copy_of_finished.work).values()) == {1}
    assert list(victim.parent.glob("damaged-*.json"))


def test_a_result_with_a_changed_number_is_not_believed(copy_of_finished: Harness) -> None:
    victim = next(
        path
        for path in copy_of_finished.work.glob("runs/*/result.json")
        if b"video_accuracy" in path.read_bytes()
    )
    body = json.loads(victim.read_bytes())
    body["scores"][0]["value"] = 99.0
    victim.unlink()
    victim.write_text(json.dumps(body))
    assert copy_of_finished.json("status", "fig12")["done"] == NUM_CELLS - 1


def test_a_file_of_weights_says_its_task_in_one_entry(finished: Harness) -> None:
    """Of two, safetensors would write now one first and now the other: weights made again would be other bytes."""
    path = next(finished.work.glob("runs/*/attempt-*/encoder.safetensors"))
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    (told,) = header["__metadata__"].values()
    assert json.loads(told)["class"] == "Pretrain"
    assert json.loads(told)["cell"][:16] == path.parents[1].name


def test_missing_weights_make_a_result_missing(copy_of_finished: Harness) -> None:
    weights = next(copy_of_finished.work.glob("runs/*/attempt-*/encoder.safetensors"))
    weights.unlink()
    again = copy_of_finished.run_tiny()
    assert "encoder.safetensors" in again.stderr
    assert "is missing: treated as missing" in again.stderr


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "nowhere")
    done = harness.run_tiny("--dry-run")
    assert "13 cells, 0 done, 13 to run" in done.stdout
    assert not (tmp_path / "nowhere").exists()
    plan = json.loads(harness.run_tiny("--dry-run", "--json").stdout)
    assert (plan["total"], plan["to_run"], len(plan["cells"])) == (13, 13, 13)


def test_logs_show_what_a_cell_said(finished: Harness) -> None:
    key = sorted(finished.results())[0]
    assert "accepted: " in finished("logs", key[:8]).stdout
    assert finished.json("logs", key)["state"] == "finished"


def test_a_run_says_where_everything_is(finished: Harness) -> None:
    done = finished.run_tiny()
    for name in ("fig12.png", "fig12.md", "fig12.csv", "fig12.html", "mlflow.db"):
        assert name in done.stdout
    assert "nothing to run, all 13 cells are done" in done.stderr


def test_results_record_where_they_come_from(finished: Harness) -> None:
    for body in finished.results().values():
        origin = body["provenance"]
        assert origin["code"]["commit"]
        assert origin["packages"]["torch"].startswith("2.13.0")
        assert origin["machine"]["host"]
        assert origin["settings"]
        assert body["usage"]["elapsed_s"] > 0


def test_predictions_are_kept_by_video_id(finished: Harness) -> None:
    import pyarrow.parquet as pq

    from tasks.data.digits import Digits

    body = next(body for body in finished.results().values() if body["task"] == "FewShot")
    path = finished.work / "runs" / body["cell"][:16] / body["attempt"] / "predictions.parquet"
    table = pq.read_table(path).to_pandas()
    assert {"video_id", "block", "start", "label", "p0", "p9"} <= set(table.columns)
    assert set(table["video_id"]) == {video.id for video in Digits().test(1)}
    subset = json.loads((path.parent / "subset.json").read_bytes())
    assert not set(subset["videos"]) & set(table["video_id"])


def test_a_lost_database_is_filled_again_by_the_next_run(copy_of_finished: Harness) -> None:
    cells = mlflow_cells(copy_of_finished.work)
    (copy_of_finished.work / "mlflow.db").unlink()
    copy_of_finished.run_tiny()
    assert mlflow_cells(copy_of_finished.work) == cells


def test_a_report_of_other_knobs_is_not_taken_for_the_runs(copy_of_finished: Harness) -> None:
    expected = copy_of_finished.csv()
    copy_of_finished("report", "fig12", *tiny(resamples=1), "--format", "csv")
    assert copy_of_finished.csv() != expected
    copy_of_finished.run_tiny()
    assert copy_of_finished.csv() == expected


def test_two_work_folders_share_one_store_without_touching_each_other(
    copy_of_finished: Harness, harness: Harness, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    environ = {"MLFLOW_TRACKING_URI": f"sqlite:///{shared / 'mlflow.db'}"}
    copy_of_finished("collect", "fig12", env=environ)
    harness("run", "fig12", *tiny(methods="single_frame"), env=environ)
    copy_of_finished("collect", "fig12", env=environ)
    counted = Counter(mlflow_cells(shared).values())
    assert counted == {1: NUM_CELLS - 4, 2: 4}
    with sqlite3.connect(shared / "mlflow.db") as database:
        query = "select count(*) from tags t join runs r using (run_uuid) where t.key = 'role' and t.value = 'parent'"
        assert database.execute(f"{query} and r.lifecycle_stage = 'active'").fetchone() == (2,)
        lines = query.replace("parent", "curve")  # three of one folder, one of the other
        assert database.execute(f"{lines} and r.lifecycle_stage = 'active'").fetchone() == (4,)


def altered_weights(work: Path) -> Path:
    weights = next(work.glob("runs/*/attempt-*/encoder.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return weights


def test_weights_that_somebody_wrote_to_are_trained_again(copy_of_finished: Harness) -> None:
    expected = copy_of_finished.csv()
    altered_weights(copy_of_finished.work)
    again = copy_of_finished.run_tiny()
    assert (
        "encoder.safetensors was altered since it was written: treated as missing" in again.stderr
    )
    assert copy_of_finished.csv() == expected


def test_weights_that_rotted_on_disk_are_not_finetuned(copy_of_finished: Harness) -> None:
    weights = next(copy_of_finished.work.glob("runs/*/attempt-*/encoder.safetensors"))
    written = weights.stat().st_mtime_ns
    altered_weights(copy_of_finished.work)
    os.utime(weights, ns=(written, written))
    done = copy_of_finished("run", "fig12", *tiny(resamples=3), code=1)
    assert "encoder.safetensors was altered since it was written" in done.stderr


def test_results_of_other_weights_than_those_there_are_done_again(
    copy_of_finished: Harness,
) -> None:
    body = next(body for body in copy_of_finished.results().values() if body["rests_on"])
    path = copy_of_finished.work / "runs" / body["cell"][:16] / "result.json"
    del body["sha256"]
    ((need, listed),) = body["rests_on"].items()
    body["rests_on"] = {need: dict.fromkeys(listed, "0" * 64)}
    body["sha256"] = files.sha256(files.to_json(body))
    path.unlink()
    path.write_bytes(files.to_json(body))
    again = copy_of_finished.run_tiny()
    assert "was computed from other weights than cell" in again.stderr
    assert copy_of_finished.json("status", "fig12")["done"] == NUM_CELLS
