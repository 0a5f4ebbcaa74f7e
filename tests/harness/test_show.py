"""`harness show CELL`: what a number leads back to, against the files that it was made of."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from harness import result, status
from harness.lineage import identities
from harness.workdir import Workdir
from tests.harness.faked import content, invoke
from tests.harness.resealing import attempt, find
from tests.harness.running import Harness, tiny

PRETRAINED = {"task": "FewShot", "needs": 1, "shots": "2", "resample": 1}


def show(work: Path, cell: str, *words: str) -> dict[str, object]:
    told = content(invoke("show", cell, "--workdir", str(work), "--json", *words))
    assert isinstance(told, dict)
    return told


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_that_a_finished_cell_leads_back_to_is_told(finished: Harness) -> None:
    accepted = find(finished.work, **PRETRAINED)
    body = json.loads(accepted.read_bytes())
    told = show(finished.work, accepted.parent.name[:8])
    assert told["cell"] == body["cell"]
    assert told["state"] == "done"
    for mine, theirs in (("question", "description"), ("values", "values"), ("scores", "scores")):
        assert told[mine] == body[theirs]
    run = told["run"]
    assert isinstance(run, dict)
    assert {name: run[name] for name in body["provenance"]} == body["provenance"]
    assert run["usage"] == body["usage"]
    (drawn,) = told["drawn_by"]  # type: ignore[misc]
    assert drawn["experiment"] == "fig12"
    assert drawn["method"] == "LSTM classifier + Composite pretraining"
    assert sorted(drawn["settings"]) == sorted(tiny()[1::2])
    folder = attempt(accepted)
    assert {each["name"]: each["sha256"] for each in told["files"]} == {  # type: ignore[index, attr-defined]
        name: sha256(folder / name) for name in body["files"]
    }
    manifest = json.loads((folder / "subset.json").read_bytes())
    assert told["subset"] == {
        "videos": len(manifest["videos"]),
        "ids_sha256": hashlib.sha256("\n".join(manifest["videos"]).encode()).hexdigest(),
        "manifest_sha256": sha256(folder / "subset.json"),
    }
    (need,) = told["needs"]  # type: ignore[misc]
    weights = attempt(find(finished.work, task="Pretrain"))
    assert need["unchanged"] is True
    assert need["weights"] == {path.name: sha256(path) for path in weights.glob("*.safetensors")}
    assert [each["values"]["class"] for each in told["data"] if "class" in each["values"]] or told[
        "data"
    ]  # type: ignore[attr-defined]


def test_a_person_reads_the_same(finished: Harness) -> None:
    accepted = find(finished.work, **PRETRAINED)
    body = json.loads(accepted.read_bytes())
    shown = invoke("show", accepted.parent.name, "--workdir", str(finished.work))
    assert shown.exit_code == 0
    for text in (
        body["cell"],
        body["attempt"],
        body["provenance"]["code"]["commit"],
        body["provenance"]["machine"]["host"],
        f"torch {body['provenance']['packages']['torch']}",
        "“LSTM classifier + Composite pretraining”",
        body["files"]["predictions.parquet"]["sha256"],
        "encoder.units",
        *(f"{score['value']:.6g} {score['unit']}" for score in body["scores"]),
    ):
        assert text in shown.stdout


def test_a_cell_that_others_need_names_them_and_no_report(finished: Harness) -> None:
    accepted = find(finished.work, task="Pretrain")
    told = show(finished.work, accepted.parent.name)
    starting = {
        body["cell"] for body in finished.results().values() if told["cell"] in body["rests_on"]
    }
    assert set(told["needed_by"]) == starting  # type: ignore[call-overload]
    assert len(starting) == 4
    assert told["drawn_by"] == []


def test_a_cell_that_failed_says_why_and_what_came_before(copy_of_finished: Harness) -> None:
    work = copy_of_finished.work
    accepted = find(work, task="Pretrain")
    key = json.loads(accepted.read_bytes())["cell"]
    accepted.unlink()
    (attempt_folder,) = accepted.parent.glob("attempt-*")
    (attempt_folder / "result.json").unlink()
    result.note_refusal(Workdir(work), key, "ValueError: the disk was full")
    told = show(work, key[:16])
    assert told["state"] == "failed"
    assert told["detail"] == "ValueError: the disk was full"
    assert [each["state"] for each in told["attempts"]] == ["not finished", "failed"]  # type: ignore[index, attr-defined]
    assert told["scores"] == []
    assert told["run"] is None
    shown = invoke("show", key[:16], "--workdir", str(work))
    assert "failed: ValueError: the disk was full" in shown.stdout


def test_a_cell_that_was_never_run_is_known_by_the_experiment_that_asks_for_it(
    copy_of_finished: Harness,
) -> None:
    accepted = find(copy_of_finished.work, **PRETRAINED)
    key = json.loads(accepted.read_bytes())["cell"]
    shutil.rmtree(accepted.parent)
    for digits in (key[:6], key):
        told = show(copy_of_finished.work, digits)
        assert told["cell"] == key
        assert told["state"] == "missing"
        assert "it has no run here" in str(told["detail"])
        assert told["values"]["shots"] == "2"  # type: ignore[index, call-overload]


def test_a_cell_that_runs_says_so(copy_of_finished: Harness) -> None:
    work = Workdir(copy_of_finished.work)
    accepted = find(work.root, **PRETRAINED)
    key = json.loads(accepted.read_bytes())["cell"]
    accepted.unlink()
    with work.locked("a test"):
        status.announce(work, running=[key], waiting=[])
        assert show(work.root, key)["state"] == "running"


def test_a_file_that_was_altered_is_told_with_exit_code_1(copy_of_finished: Harness) -> None:
    accepted = find(copy_of_finished.work, **PRETRAINED)
    path = attempt(accepted) / "predictions.parquet"
    content_before = path.read_bytes()
    path.write_bytes(content_before[:200] + bytes([content_before[200] ^ 1]) + content_before[201:])
    shown = invoke("show", accepted.parent.name, "--workdir", str(copy_of_finished.work))
    assert shown.exit_code == 1
    assert "predictions.parquet was altered since it was written" in shown.stdout


def test_a_cell_that_no_experiment_asks_for_any_more_is_told_from_its_result(
    copy_of_finished: Harness,
) -> None:
    accepted = find(copy_of_finished.work, **PRETRAINED)
    (copy_of_finished.work / "experiments/fig12.json").unlink()
    told = show(copy_of_finished.work, accepted.parent.name)
    body = json.loads(accepted.read_bytes())
    assert told["state"] == "done"
    assert told["drawn_by"] == []
    assert told["question"] == body["description"]
    accepted.unlink()
    assert show(copy_of_finished.work, accepted.parent.name)["question"] == body["description"]


@pytest.mark.parametrize(
    ("digits", "sentence"),
    [("xyz!", "is no cell: give the first 4 or more digits"), ("ffffffffff", "begins with ffff")],
)
def test_no_such_cell_is_one_sentence(digits: str, sentence: str, finished: Harness) -> None:
    done = invoke("show", digits, "--workdir", str(finished.work))
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_data_are_told_by_what_identifies_them() -> None:
    index, percepts, glyphs = ("1" * 64, "2" * 64, "3" * 64)
    task = {
        "class": "FewShot",
        "subset": {"dataset": {"class": "VideoPercepts", "index": index, "percepts": percepts, "set_name": "mine"}},
        "schedule": {"steps": 3},
        "others": [{"class": "Glyphs", "sha256": glyphs}],
    }  # fmt: skip
    found = {each["place"]: each for each in identities(task)}
    assert found["subset.dataset"]["digests"] == {"index": index, "percepts": percepts}
    assert found["subset.dataset"]["values"] == {"class": "VideoPercepts", "set_name": "mine"}
    assert found["others[0]"]["digests"] == {"sha256": glyphs}
    assert len(found) == 2
