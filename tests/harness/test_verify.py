"""`harness verify NAME`: what was altered, edited or lost in a finished work folder is told by name."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import launch, provenance, publish
from tests.harness.faked import invoke
from tests.harness.resealing import attempt, find, keep, parquet, predictions, reseal
from tests.harness.running import NUM_CELLS, Harness

LSTM = {"task": "FewShot", "needs": 0, "shots": "2", "resample": 1}
CALLED = "“LSTM classifier” on digits (pixels), 2 videos per class, split 1"
TOYS = f"{Path(__file__).with_name('toys_of_parts.py')}:both"


@pytest.fixture(scope="module")
def lean(finished: Harness, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder with a report without pictures, which take long to draw."""
    work = tmp_path_factory.mktemp("lean") / "work"
    for name in ("runs", "experiments"):
        shutil.copytree(finished.work / name, work / name)
    drawn = invoke("report", "fig12", "--format", "md,csv,json", "--workdir", str(work))
    assert drawn.exit_code == 0, drawn.output
    return work


@pytest.fixture
def mine(lean: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    shutil.copytree(lean, tmp_path / "mine")
    return tmp_path / "mine"


def verify(work: Path, *words: str, code: int = 1) -> Any:
    done = invoke("verify", *(words or ("fig12",)), "--workdir", str(work), "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def state(work: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in work.rglob("*")}


def only(told: Any, kind: str) -> dict[str, str]:
    """The one finding of a kind."""
    (found,) = (each for each in told["findings"] if each["kind"] == kind)
    assert isinstance(found, dict)
    return found


def test_an_untouched_folder_agrees_in_everything_and_stays_untouched(finished: Harness) -> None:
    before = state(finished.work)
    told = verify(finished.work, code=0)
    assert told["agrees"] is True
    assert told["findings"] == []
    assert told["cells"] == told["agree"] == NUM_CELLS
    scores = sum(len(body["scores"]) for body in finished.results().values())
    assert told["scores"] == scores
    assert told["twice"] == 2 * (NUM_CELLS - 1)  # accuracy and likelihood of every classifier
    assert told["reports"] == told["reports_agree"] == len(list((finished.work / "reports/fig12").glob("fig12*")))  # fmt: skip
    assert state(finished.work) == before


def test_a_person_is_told_that_all_agrees(lean: Path) -> None:
    shown = invoke("verify", "fig12", "--workdir", str(lean))
    assert shown.exit_code == 0
    assert "all agrees, nothing is missing" in shown.stdout


def test_a_prediction_file_that_was_edited_is_named(mine: Path) -> None:
    accepted = find(mine, **LSTM)
    path = attempt(accepted) / "predictions.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    told = verify(mine)
    found = only(told, "damaged")
    assert found["cells"] == [json.loads(accepted.read_bytes())["cell"]]
    assert found["file"] == str(path.relative_to(mine))
    assert "was altered since it was written" in found["what"]
    assert CALLED in found["what"]
    # The report lies there as it was drawn: that is one sentence, and no list of its files.
    assert "1 cells are gone or not believed" in only(told, "report")["what"]


def test_predictions_that_were_edited_and_sealed_again_give_other_scores(
    mine: Path,
) -> None:
    accepted = find(mine, **LSTM)
    table = predictions(accepted)
    names = [f"p{place}" for place in range(10)]
    table[names] = table[names].to_numpy()[:, ::-1]
    keep(accepted, "predictions.parquet", parquet(table))
    told = verify(mine)
    means = table.groupby("video_id")[names].mean().to_numpy()
    right = means.argmax(axis=1) == table.groupby("video_id")["label"].first().to_numpy()
    texts = [each["what"] for each in told["findings"] if each["kind"] == "score"]
    assert any(f"its predictions give {100 * float(right.mean())!r} %" in text for text in texts)
    assert all(CALLED in text for text in texts)
    assert told["agree"] == NUM_CELLS - 1
    # The report shows the score that was stated, which is now known not to hold.
    assert "reports/fig12/fig12_runs.csv" in {each["file"] for each in told["findings"]}


def test_a_result_that_was_edited_is_named(mine: Path) -> None:
    accepted = find(mine, **LSTM)
    accepted.write_text(accepted.read_text().replace('"seed": 1', '"seed": 2'))
    found = only(verify(mine), "damaged")
    assert found["file"] == str(accepted.relative_to(mine))
    assert "is cut short or altered" in found["what"]


def test_a_score_that_was_edited_and_sealed_again_is_named_with_both_values(
    mine: Path,
) -> None:
    accepted = find(mine, **LSTM)
    before = json.loads(accepted.read_bytes())["scores"][0]["value"]
    reseal(accepted, lambda body: body["scores"][0].update(value=before + 1e-6))
    found = only(verify(mine), "score")
    assert f"it states video_accuracy {before + 1e-6!r} %" in found["what"]
    assert f"its predictions give {before!r} %" in found["what"]
    assert found["file"].endswith("/result.json")


def test_a_difference_in_the_last_bits_is_no_disagreement(mine: Path) -> None:
    accepted = find(mine, task="Pretrain")
    value = json.loads(accepted.read_bytes())["scores"][0]["value"]
    reseal(accepted, lambda body: body["scores"][0].update(value=value * (1 + 1e-13)))
    told = verify(mine)
    assert {each["kind"] for each in told["findings"]} == {"report"}  # it shows the value as it was


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (lambda body: body["scores"].pop(0), "it states no video_accuracy"),
        (lambda body: body["scores"].append({**body["scores"][0], "metric": "luck"}), "it states luck, which its predictions do not give"),
        (lambda body: body["scores"][0].update(count=7), " over 7, and its predictions give"),
    ],
)  # fmt: skip
def test_scores_are_held_to_name_and_count_as_well(
    alter: Callable[[dict[str, Any]], None], sentence: str, mine: Path
) -> None:
    reseal(find(mine, **LSTM), alter)
    told = verify(mine)
    assert sentence in only(told, "score")["what"]


def test_a_label_that_was_altered_is_told_by_its_video(mine: Path) -> None:
    accepted = find(mine, **LSTM)
    table = predictions(accepted)
    video = table["video_id"].iloc[0]
    table.loc[table["video_id"] == video, "label"] = (table["label"].iloc[0] + 1) % 10
    keep(accepted, "predictions.parquet", parquet(table))
    texts = [each["what"] for each in verify(mine)["findings"]]
    assert any(f"1 videos have another label than the test list gives them, such as {video}" in text for text in texts)  # fmt: skip


def test_predictions_that_lack_a_video_give_no_score(mine: Path) -> None:
    accepted = find(mine, **LSTM)
    table = predictions(accepted)
    keep(accepted, "predictions.parquet", parquet(table[table["video_id"] != table["video_id"][0]]))
    found = only(verify(mine), "score")
    assert "its predictions give no score: 1 videos of the test list were not predicted" in found["what"]  # fmt: skip


def test_a_subset_that_the_question_does_not_draw_is_named(mine: Path) -> None:
    accepted = find(mine, **LSTM)
    manifest = json.loads((attempt(accepted) / "subset.json").read_bytes())
    manifest["videos"] = manifest["videos"][1:]
    keep(accepted, "subset.json", json.dumps(manifest).encode())
    found = only(verify(mine), "question")
    assert found["file"].endswith("/subset.json")
    assert CALLED in found["what"]


def test_a_cell_that_was_deleted_is_named_as_the_resample_that_is_missing(
    mine: Path,
) -> None:
    accepted = find(mine, **LSTM)
    shutil.rmtree(accepted.parent)
    told = verify(mine)
    found = only(told, "missing")
    assert found["what"] == f"1 of 2: resample 1 of {CALLED} has no result"
    assert told["agree"] == NUM_CELLS - 1
    # An incomplete report that says so agrees, but something is missing all the same.
    drawn = invoke("report", "fig12", "--format", "md,csv,json", "--workdir", str(mine))
    assert drawn.exit_code == 0
    again = verify(mine)
    assert [each["kind"] for each in again["findings"]] == ["missing"]
    assert again["reports_agree"] == again["reports"]


def test_a_table_that_was_edited_is_named_with_its_line_and_nothing_else_is(
    mine: Path,
) -> None:
    path = mine / "reports/fig12/fig12.csv"
    lines = path.read_text().splitlines(keepends=True)
    place = next(at for at, line in enumerate(lines) if "LSTM classifier,2," in line)
    lines[place] = lines[place].replace("LSTM classifier,2,", "LSTM classifier,3,")
    path.write_text("".join(lines))
    told = verify(mine)
    (found,) = told["findings"]
    assert found["file"] == "reports/fig12/fig12.csv"
    assert f"differs in line {place + 1}: it has" in found["what"]
    assert told["reports_agree"] == told["reports"] - 1


def test_a_table_that_was_edited_is_named_beside_a_cell_that_is_gone(
    mine: Path,
) -> None:
    shutil.rmtree(find(mine, **LSTM).parent)
    path = mine / "reports/fig12/fig12.md"
    path.write_text(path.read_text().replace("single frame", "Single frame"))
    files = {each["file"] for each in verify(mine)["findings"] if each["kind"] == "report"}  # fmt: skip
    assert files == {"reports/fig12", "reports/fig12/fig12.md"}


def test_files_of_a_report_that_are_lost_or_strange_are_named(mine: Path) -> None:
    folder = mine / "reports/fig12"
    (folder / "fig12.json").unlink()
    (folder / "fig12_extra.csv").write_text("1")
    found = {each["file"]: each["what"] for each in verify(mine)["findings"]}
    assert found == {
        "reports/fig12/fig12.json": "is missing",
        "reports/fig12/fig12_extra.csv": "is nothing that these results draw",
    }
    shutil.rmtree(folder)
    assert "no report was drawn yet" in only(verify(mine), "report")["what"]


def test_a_picture_that_was_edited_is_named_and_the_numbers_beside_it_agree(
    copy_of_finished: Harness,
) -> None:
    mine = copy_of_finished.work
    path = mine / "reports/fig12/fig12.png"
    path.write_bytes(path.read_bytes() + b"\0")
    told = verify(mine)
    assert [each["file"] for each in told["findings"]] == ["reports/fig12/fig12.png"]
    assert any("pictures alone differ" in note for note in told["notes"])


def test_a_report_that_another_commit_drew_alike_agrees_and_says_so(
    lean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = provenance.code()
    monkeypatch.setattr(provenance, "code", lambda: {**now, "commit": "f" * 40})
    told = verify(lean, code=0)
    assert told["drawn_by"] == now["commit"]
    (note,) = told["notes"]
    assert f"drawn by another commit ({now['commit'][:12]}" in note


def test_parts_and_their_page_are_verified_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_gather_all", lambda *_: [])
    monkeypatch.setattr(publish, "draw", partial(publish.draw, formats=("csv", "html")))
    work = tmp_path / "work"
    ran = invoke("run", TOYS, "--cluster", "inline", "--workdir", str(work))
    assert ran.exit_code == 0, ran.output
    whole = verify(work, "both", code=0)
    lie = [each for each in (work / "reports/both").rglob("[!.]*") if each.is_file()]
    assert whole["reports"] == len(lie)
    edited = {work / "reports/both/both.html", work / "reports/both/table2/table2.csv"}
    for path in edited:
        path.write_bytes(path.read_bytes().replace(b"digits", b"Digits", 1))
    told = verify(work, "both")
    assert {work / each["file"] for each in told["findings"]} == edited


def test_nothing_that_was_never_run_is_verified(tmp_path: Path) -> None:
    told = verify(tmp_path / "nowhere")
    assert told["agree"] == 0
    assert not (tmp_path / "nowhere").exists()
    assert invoke("verify", "fig21", "--workdir", str(tmp_path)).exit_code == 2
