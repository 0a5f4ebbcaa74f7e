"""`harness compare A B`: which sides words mean, and what is printed and written of them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from harness.comparands import choose_method, questions
from harness.source import UsageError
from harness.workdir import Workdir
from reports.accuracy_layouts import TABLE3
from reports.pairing import pair
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from tests.harness.faked import content, invoke
from tests.harness.resealing import attempt, find, predictions
from tests.harness.running import Harness

TABLE_3 = (
    BASELINE,
    f"{BASELINE} + Autoencoder pretraining",
    f"{BASELINE} + Conditional Autoencoder pretraining",
    PRETRAINED,
)


def compare(work: Path, *words: str) -> Any:
    (told,) = content(invoke("compare", *words, "--workdir", str(work), "--json")).values()
    return told


def accuracy(work: Path, resample: int, **wanted: object) -> float:
    table = predictions(find(work, resample=resample, **wanted))
    means = table.groupby("video_id")[[f"p{place}" for place in range(10)]].mean().to_numpy()
    labels = table.groupby("video_id")["label"].first().to_numpy()
    return 100 * float((means.argmax(axis=1) == labels).mean())


def test_two_methods_are_compared_resample_by_resample(finished: Harness) -> None:
    told = compare(finished.work, "fig12:LSTM", "fig12:Composite")
    assert (told["first"], told["second"]) == (BASELINE, PRETRAINED)
    assert [line["shots"] for line in told["lines"]] == ["1", "2"]
    for line in told["lines"]:
        same = {"task": "FewShot", "shots": line["shots"]}
        one, other = (np.array([accuracy(finished.work, each, needs=needs, **same) for each in (0, 1)]) for needs in (0, 1))  # fmt: skip
        assert line["first"] == pytest.approx(one.mean())
        assert line["second"] == pytest.approx(other.mean())
        difference = other - one
        rho = int(line["shots"]) / 60
        half = stats.t.ppf(0.975, 1) * difference.std(ddof=1) * math.sqrt(1 / 2 + rho / (1 - rho))
        assert line["ci_high"] - line["ci_low"] == pytest.approx(2 * half)
    assert told["without_partner"] == told["without_result"] == [[], []]
    assert len(told["pairs"]) == 4


def test_people_see_means_classes_and_videos(finished: Harness) -> None:
    shown = invoke("compare", "fig12:LSTM", "fig12:pretrained", "--videos", "2", "--workdir", str(finished.work))  # fmt: skip
    assert shown.exit_code == 0, shown.output
    told = compare(finished.work, "fig12:LSTM", "fig12:pretrained")
    for text in (f"{PRETRAINED} minus {BASELINE}", "4 pairs of cells", "corrected t", "95 %"):  # fmt: skip
        assert text in shown.stdout
    assert told["videos"][0]["video"] in shown.stdout


def test_files_go_where_they_are_asked_to(finished: Harness, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.work.rglob("*")}
    done = invoke(
        "compare", "fig12:single", "fig12:LSTM", "--format", "md,csv,html,tex,json", "--out", str(tmp_path / "here"),
        "--workdir", str(finished.work),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    name = "fig12-single_against_fig12-LSTM"
    ends = (".csv", ".html", ".json", ".md", ".tex", "_classes.csv", "_scores.csv", "_videos.csv")
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [f"{name}{end}" for end in ends]  # fmt: skip
    record = json.loads((tmp_path / "here" / f"{name}.json").read_bytes())
    lines = (tmp_path / "here" / f"{name}_videos.csv").read_text().splitlines()
    assert len(lines) == 1 + len(record["videos"])
    assert record["provenance"]["second"]["experiment"] == "fig12"
    assert before == {path: path.stat().st_mtime_ns for path in finished.work.rglob("*")}


def test_work_folders_are_compared_and_what_one_lacks_is_named(
    finished: Harness, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished.work, other, symlinks=True)
    lost = find(other, task="FewShot", needs=0, shots="1", resample=1)
    key = json.loads(lost.read_bytes())["cell"]
    shutil.rmtree(lost.parent)
    for words in ((finished.work, other), (f"{finished.work}/fig12", f"{other}/fig12")):
        told = compare(tmp_path / "nowhere", *map(str, words))
        assert [cell["cell"] for cell in told["without_result"][1]] == [key]
        assert {line["difference"] for line in told["lines"]} == {0.0}
        counts = {(line["method"], line["shots"]): line["n"] for line in told["lines"]}
        assert counts == {
            (method, shots): 1 if (method, shots) == (BASELINE, "1") else 2
            for method in (SINGLE_FRAME, BASELINE, PRETRAINED)
            for shots in ("1", "2")
        }
        assert told["videos"] == []
    told = compare(tmp_path, f"{finished.work}/fig12:single", f"{other}/fig12")
    assert {line["first"] for line in told["lines"]} == {line["second"] for line in told["lines"]}
    assert len(told["lines"]) == 2
    shown = invoke("compare", str(finished.work), str(other))
    assert "no finished run yet" in shown.stdout


def test_a_damaged_result_is_not_compared(copy_of_finished: Harness) -> None:
    path = find(copy_of_finished.work, task="FewShot", needs=0, shots="1", resample=1)
    (attempt(path) / "predictions.parquet").unlink()
    told = compare(copy_of_finished.work, "fig12:LSTM", "fig12:Composite")
    assert [line["n"] for line in told["lines"]] == [1, 2]
    assert [line["test"] for line in told["lines"]] == ["", "corrected t"]


def test_a_report_names_damage_without_the_folders_of_this_machine(
    copy_of_finished: Harness, tmp_path: Path
) -> None:
    path = find(copy_of_finished.work, task="FewShot", needs=0, shots="1", resample=1)
    lost = attempt(path) / "predictions.parquet"
    lost.unlink()
    drawn = invoke("report", "fig12", "--format", "md,html,json", "--workdir", str(copy_of_finished.work))  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    for form in ("md", "html", "json"):
        text = (copy_of_finished.work / "reports/fig12" / f"fig12.{form}").read_text()
        assert f"{lost.relative_to(copy_of_finished.work)}, which belongs to" in text
        assert str(copy_of_finished.work) not in text


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("LSTM", BASELINE),
        ("lstm  classifier", BASELINE),
        ("Composite", PRETRAINED),
        ("+ autoencoder", TABLE_3[1]),
        (BASELINE, BASELINE),
    ],
)
def test_a_part_of_a_label_means_the_method(text: str, label: str) -> None:
    assert choose_method(text, TABLE_3, text) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *((row, label) for label, row in TABLE3.names.items()),
        ("future", f"{BASELINE} + Future Predictor pretraining"),
        ("auto", TABLE_3[1]),
        ("Composite with", f"{BASELINE} + Composite with Conditional Future Predictor pretraining"),
        ("LSTM", BASELINE),
        (TABLE_3[1], TABLE_3[1]),
    ],
)
def test_a_row_that_a_report_prints_means_its_method(text: str, label: str) -> None:
    assert choose_method(text, tuple(TABLE3.names), text, printed=TABLE3.names) == label


def test_a_beginning_of_several_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="means several methods"):
        choose_method("Conditional", tuple(TABLE3.names), "", printed=TABLE3.names)


@pytest.mark.parametrize(
    ("first", "second", "sides"),
    [
        ("table3:none", "table3:Autoencoder", (BASELINE, TABLE_3[1])),
        ("table1:single", "table3:Autoencoder", (f"table1: {SINGLE_FRAME}", f"table3: {TABLE_3[1]}")),
        ("paper.table3:none", "paper.table3:Composite", (BASELINE, PRETRAINED)),
    ],
)  # fmt: skip
def test_experiments_know_the_rows_of_their_own_reports(
    first: str, second: str, sides: tuple[str, str], tmp_path: Path
) -> None:
    place = Workdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    for name, settings in (("table1", ()), ("table3", ()), ("paper", ("only=table3",))):
        place.remember(name, source=name, settings=settings)
    (question,) = questions(first, second, place)
    assert (question.first.name, question.second.name) == sides
    assert pair(question.first, question.second).pairs


def test_a_word_that_begins_alike_means_the_method() -> None:
    assert choose_method("pretrained", (SINGLE_FRAME, BASELINE, PRETRAINED), "") == PRETRAINED


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("autoencoder", "means several methods"),
        ("pretrained", "means several methods"),
        ("compsite", "did you mean 'Composite'"),
        ("gru", "is no method"),
    ],
)
def test_a_text_that_means_none_or_several_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        choose_method(text, TABLE_3, text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fig12:LSTM", "fig12:LSTM"), "are the same: there is nothing to compare"),
        (("fig12:LSTM", "fig12"), "are the same"),
        (("fig12:LSTM", "fig13:LSTM"), "no experiment 'fig13' was run in"),
        (("fig12:LSTM", "fig12:Compsite"), "did you mean 'Composite'?"),
        (("fig12:LSTM", "fig12:"), "names no method after the colon"),
        (("fig12:LSTM", "fig12.left:single"), "fig12 has no part 'left'"),
        (("nowhere/fig12", "fig12"), "nothing was run in nowhere"),
        (("WORK:LSTM", "fig12"), "names a method of a whole work folder"),
        (("WORK", "WORK"), "are the same work folder"),
        (("fig12:LSTM", "fig12:single", "--format", "mdd"), "'mdd' is no format; did you mean 'md'?"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_sentence_and_exit_code_2(
    words: tuple[str, ...], sentence: str, finished: Harness
) -> None:
    typed = [word.replace("WORK", str(finished.work)) for word in words]
    done = invoke("compare", *typed, "--workdir", str(finished.work))
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr.replace("\n", " ")
    assert not done.stdout
