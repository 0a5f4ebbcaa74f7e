"""Table 2's report from hand-made evidence: every number by hand, holes that stay holes, published numbers kept apart."""

import io
import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from reports.evidence import Evidence, Value
from reports.frame_panels import frame_panels
from reports.prediction_losses import BACKWARDS, FLOOR, FORCED, FREE, by_frame, by_seed, over_seeds
from reports.published import (
    COMPOSITE,
    COMPOSITE_CONDITIONAL,
    CONDITIONAL_FUTURE_PREDICTOR,
    FUTURE_PREDICTOR,
    PUBLISHED,
)
from reports.style import paper_style
from reports.table2 import draw
from reports.tables import MISSING
from tasks.pretrain import (
    FUTURE_LOSS,
    FUTURE_LOSS_TEACHER_FORCED,
    RECONSTRUCTION_LOSS,
    TARGET_ENTROPY,
    at_frame,
)
from tests.latex import assert_typesets_both_ways

MODELS = (FUTURE_PREDICTOR, COMPOSITE, CONDITIONAL_FUTURE_PREDICTOR, COMPOSITE_CONDITIONAL)
FORMS = ("png", "pdf", "svg", "gif", "md", "tex", "html", "csv", "json")
UNIT = {"logistic": "nats/frame", "linear": "squared loss/frame"}


@dataclass
class Runs:
    """Cells with what their runs kept: two held-out sequences each, whose losses rise by a number a frame."""

    folder: Path
    cells: list[dict[str, Value]] = field(default_factory=list)
    rows: list[dict[str, Value]] = field(default_factory=list)
    kept: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        dataset: str,
        method: str,
        seed: int,
        loss: float | None,
        *,
        output: str = "logistic",
        units: int = 64,
        forced: float | None = None,
        test_sequences: int = 10_000,
    ) -> None:
        """A cell; without a loss it has no result. `forced` is the teacher-forced loss of a conditional model."""
        conditional, composite = "Conditional" in method, "Composite" in method
        ahead = 10 if output == "logistic" else 13
        key = f"{dataset}-{MODELS.index(method)}-{seed}"
        cell: dict[str, Value] = {
            "cell": key,
            "dataset": dataset,
            "method": method,
            "seed": seed,
            "output": output,
            "predict_future": "conditional" if conditional else "unconditioned",
            "layers": 2,
            "units": units,
            "frame_size": 1024,
            "input_frames": 10,
            "future_frames": ahead,
            "tested_on": "sequences made by hand",
            "test_sequences": test_sequences,
            "trained_cell": f"{key}-trained",
            "steps": 300,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "schedule": "AdamW at up to 0.002, cosine",
            "precision": "float32",
        }
        self.cells.append(cell)
        if loss is None:
            return
        scores = {FREE: loss, FORCED: loss if forced is None else forced}
        columns: dict[str, object] = {"sequence": [0, 1]}
        for metric, value in scores.items():
            for frame in range(1, ahead + 1):
                middle = value + frame - (ahead + 1) / 2
                columns[f"{metric}_{frame:03d}"] = [middle - 3, middle + 3]
        if output == "logistic":
            scores["target_entropy"] = 109.03
        if composite:
            scores["reconstruction_loss"] = loss - 20
        for metric, value in scores.items():
            score = {"run": f"{key}#1", "metric": metric, "value": value, "unit": UNIT[output]}
            self.rows.append({**cell, **score, "higher_is_better": False})
        self.kept[key] = self.folder / key
        self.kept[key].mkdir()
        pd.DataFrame(columns).to_parquet(self.kept[key] / "predictions.parquet")
        trained = self.folder / f"{key}-trained"
        trained.mkdir()
        self.kept[trained.name] = trained
        save_file(
            {"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float32)},
            trained / "model.safetensors",
        )

    def evidence(self) -> Evidence:
        return Evidence(
            experiment="table2",
            title="Table 2: future prediction",
            expected=tuple(self.cells),
            rows=tuple(self.rows),
            failed=self.failed,
            provenance={"notes": ["A note."], "commit": "abc"},
            kept=self.kept,
        )


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(folder=tmp_path)


def filled(runs: Runs, *, seeds: int = 3, holes: Iterable[tuple[str, int]] = ()) -> Evidence:
    """Both columns, all four models: the loss is 200 + 10 a model + the seed squared; conditional ones have 30 less if forced."""
    for dataset, output in (("moving_digits", "logistic"), ("panned_photos", "linear")):
        for place, method in enumerate(MODELS):
            for seed in range(seeds):
                loss = 200.0 + 10 * place + seed**2
                runs.add(
                    dataset,
                    method,
                    seed,
                    None if (method, seed) in holes else loss,
                    output=output,
                    forced=loss - 30 if "Conditional" in method else None,
                )
    return runs.evidence()


def text_of(evidence: Evidence, form: str) -> str:
    return draw(evidence, [form])[f"table2.{form}"].decode()


def row_of(text: str, *begins: str) -> list[str]:
    """The cells of the one Markdown row that begins so."""
    head = "| " + " | ".join(begins) + " |"
    (row,) = [line for line in text.splitlines() if line.startswith(head)]
    return [cell.strip() for cell in row.strip("|").split("|")]


def lines_of(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content))


def test_names_of_columns_are_those_of_the_task() -> None:
    assert (FUTURE_LOSS.name, FUTURE_LOSS_TEACHER_FORCED.name) == (FREE, FORCED)
    assert (RECONSTRUCTION_LOSS.name, TARGET_ENTROPY.name) == (BACKWARDS, FLOOR)
    assert at_frame(FUTURE_LOSS, 7) == f"{FREE}_007"


def test_means_are_over_seeds_and_their_sd_has_one_degree_less(runs: Runs) -> None:
    means = over_seeds(by_seed(filled(runs))).set_index(["dataset", "method"])
    line = means.loc[("moving_digits", CONDITIONAL_FUTURE_PREDICTOR)]
    losses = [220.0, 221.0, 224.0]
    mean = sum(losses) / 3
    assert line[FREE] == pytest.approx(mean)
    assert line[FORCED] == pytest.approx(mean - 30)
    sd = math.sqrt(sum((each - mean) ** 2 for each in losses) / 2)
    assert line[f"{FREE}_sd"] == pytest.approx(sd)
    assert (line["n"], line["expected"]) == (3, 3)


def test_a_row_has_both_ways_of_decoding_named_and_the_published_number_apart(runs: Runs) -> None:
    text = text_of(filled(runs), "md")
    heading = next(line for line in text.splitlines() if line.startswith("| model | free-running"))
    assert "| free-running (nats/frame) | teacher-forced (nats/frame) | seeds |" in heading
    assert "published, Moving MNIST 64 x 64, 2048 units (nats/frame)" in heading
    digits, patches = text.split("Table 2 on panned_photos")
    row = row_of(digits, CONDITIONAL_FUTURE_PREDICTOR)
    assert row[1:] == ["221.7 ± 2.1", "191.7 ± 2.1", "3", "343.5"]
    patches = patches.split("frame by frame", 1)[0]
    assert row_of(patches, COMPOSITE)[1:] == ["211.7 ± 2.1", "211.7 ± 2.1", "3", "210.7"]
    assert "published, UCF-101 patches 32 x 32 (squared loss/frame)" in patches
    assert "always 0.5" not in patches  # it means nothing for linear outputs


def test_floor_and_ignorance_stand_in_the_table_for_our_size_of_frame(runs: Runs) -> None:
    text = text_of(filled(runs), "md")
    half = f"{1024 * math.log(2):.1f}"
    assert row_of(text, "always 0.5 in every pixel")[1:] == [half, half, MISSING, MISSING]
    assert row_of(text, "perfect prediction (the true frames' own entropy)")[1] == "109.0"


def test_a_note_says_what_each_column_was_tested_on(runs: Runs) -> None:
    evidence = filled(runs)
    for form in ("md", "html", "tex"):
        told = text_of(evidence, form).count("Tested on sequences made by hand, the first 10,000.")
        assert told == 2


def test_parameters_are_told_as_soon_as_a_training_is_done(runs: Runs) -> None:
    runs.add("moving_digits", COMPOSITE, 0, 200.0)
    runs.rows.clear()
    del runs.kept[str(runs.cells[0]["cell"])]
    row = row_of(text_of(runs.evidence(), "md"), "moving_digits", COMPOSITE)
    assert row[3] == "22"


def test_one_seed_has_no_spread(runs: Runs) -> None:
    text = text_of(filled(runs, seeds=1), "md")
    assert row_of(text.split("panned")[0], FUTURE_PREDICTOR)[1:] == ["200.0", "200.0", "1", "350.2"]
    assert "±" not in text


def test_an_incomplete_line_is_marked_in_every_form_and_what_lacks_is_listed(runs: Runs) -> None:
    runs.failed = {"moving_digits-1-2": "out of memory"}
    evidence = filled(runs, holes=[(COMPOSITE, 2)])
    text = text_of(evidence, "md")
    assert row_of(text.split("panned")[0], COMPOSITE)[1:4] == ["210.5 ± 0.7", "210.5 ± 0.7", "2/3 †"]  # fmt: skip
    assert "Incomplete: the mean is over the seeds that have a result." in text
    assert "22 of 24 expected results are in." in text
    assert row_of(text, "moving_digits-1-", COMPOSITE)[2] == "out of memory"
    assert row_of(text, "panned_photos-1-", COMPOSITE)[2] == "no finished run yet"
    assert r"2/3 \textdagger{}" in text_of(evidence, "tex")
    assert "2/3 †" in text_of(evidence, "html")
    frames = lines_of(draw(evidence, ["csv"])["table2_frames.csv"])
    mine = frames[(frames["method"] == COMPOSITE) & (frames["dataset"] == "moving_digits")]
    assert set(zip(mine["n"], mine["expected"], strict=True)) == {(2, 3)}


def test_a_model_without_any_result_is_empty_not_zero(runs: Runs) -> None:
    evidence = filled(runs, holes=[(FUTURE_PREDICTOR, seed) for seed in range(3)])
    row = row_of(text_of(evidence, "md").split("panned")[0], FUTURE_PREDICTOR)
    assert row[1:] == [MISSING, MISSING, "0/3 †", "350.2"]


def test_nothing_finished_is_drawn_as_that(runs: Runs) -> None:
    holes = [(method, seed) for method in MODELS for seed in range(3)]
    files = draw(filled(runs, holes=holes), ["md", "png"])
    assert "0 of 24 expected results are in." in files["table2.md"].decode()
    assert files["table2.png"].startswith(b"\x89PNG")


def test_losses_by_frame_are_means_over_sequences_then_seeds(runs: Runs) -> None:
    evidence = filled(runs)
    frames = by_frame(evidence, by_seed(evidence))
    mine = frames[(frames["dataset"] == "moving_digits") & (frames["method"] == COMPOSITE_CONDITIONAL)]  # fmt: skip
    for decoding, loss in (("free-running", 230 + 5 / 3), ("teacher-forced", 200 + 5 / 3)):
        line = mine[mine["decoding"] == decoding].set_index("frame")
        assert list(line.index) == list(range(1, 11))
        assert line.loc[3, "mean"] == pytest.approx(loss + 3 - 5.5)
        assert line["mean"].mean() == pytest.approx(loss)  # the table's number
        assert line.loc[3, "sd"] == pytest.approx(np.std([0, 1, 4], ddof=1))
    unconditioned = frames[frames["method"] == FUTURE_PREDICTOR]
    assert set(unconditioned["decoding"]) == {"free-running"}
    assert set(frames[frames["dataset"] == "panned_photos"]["frame"]) == set(range(1, 14))


def test_no_difference_is_given_from_numbers_of_another_setting_and_it_is_said_why(
    runs: Runs,
) -> None:
    files = draw(filled(runs), ["md", "tex", "csv"])
    for form in ("md", "tex"):
        text = files[f"table2.{form}"].decode()
        assert "ours minus published" not in text
        assert text.count("No difference from the published numbers is given") == 2
    assert "losses are sums over pixels" in files["table2.md"].decode()
    assert lines_of(files["table2.csv"])["difference"].isna().all()


def test_in_the_papers_own_setting_the_difference_is_given(runs: Runs) -> None:
    for place, method in enumerate(MODELS):
        runs.add("mnist", method, 0, 340.0 + place, units=2048)
    text = text_of(runs.evidence(), "md").split("frame by frame")[0]
    assert row_of(text, FUTURE_PREDICTOR)[-2:] == ["350.2", "\N{MINUS SIGN}10.2"]
    assert row_of(text, COMPOSITE_CONDITIONAL)[-2:] == ["341.2", "+1.8"]
    assert row_of(text, "always 0.5 in every pixel")[-2:] == [MISSING, MISSING]
    assert "No difference" not in text


@pytest.mark.parametrize(("dataset", "units"), [("mnist", 1024), ("moving_digits", 2048)])
def test_data_or_size_alone_make_no_papers_setting(runs: Runs, dataset: str, units: int) -> None:
    runs.add(dataset, COMPOSITE, 0, 340.0, units=units)
    assert "ours minus published" not in text_of(runs.evidence(), "md")


def test_a_few_test_sequences_make_no_papers_setting(runs: Runs) -> None:
    runs.add("mnist", COMPOSITE, 0, 340.0, units=2048, test_sequences=9_999)
    text = text_of(runs.evidence(), "md")
    assert "ours minus published" not in text
    assert "over 9,999 sequences, the paper's over 10,000" in text


def test_later_records_are_published_numbers_in_a_table_of_their_own(runs: Runs) -> None:
    text = text_of(filled(runs), "md")
    for one in PUBLISHED:
        if one.artefact == "mnist_records":
            assert row_of(text, one.method)[1:] == [str(one.value), one.source]
    (caption,) = [line for line in text.splitlines() if "For context" in line]
    assert "FC-LSTM is the ConvLSTM authors' own version of the models of Table 2" in caption
    assert "with other architectures" not in caption  # that one is not
    runs.cells, runs.rows = (
        [each for each in given if each["output"] == "linear"] for given in (runs.cells, runs.rows)
    )
    assert "Video Pixel Networks" not in text_of(runs.evidence(), "md")


def test_models_say_what_they_were_trained_on_and_how_large_they_are(runs: Runs) -> None:
    row = row_of(text_of(filled(runs), "md"), "moving_digits", COMPOSITE)
    # 3 x 5 + 7 numbers were kept; 300 steps of 32 sequences.
    assert row[2:] == ["2 x 64", "22", "300", "9,600", "191.7 ± 2.1", "3"]


class Cells(HTMLParser):
    """Texts of a page's tables, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_all_forms_agree_and_are_the_same_every_time(runs: Runs) -> None:
    evidence = filled(runs)
    files = draw(evidence, FORMS)
    again = draw(evidence, ["png", "md", "tex", "csv", "json"])
    assert again == {name: files[name] for name in again}
    forms = {f"table2.{form}" for form in FORMS if form != "gif"}
    assert set(files) == forms | {"table2_frames.csv", "table2_seeds.csv"}
    page = Cells()
    page.feed(files["table2.html"].decode())
    in_page = {
        tuple(row[: len(row) - linked]) for row in page.rows for linked in (0, 1)
    }  # cells come last
    for line in files["table2.md"].decode().splitlines():
        if line.startswith("| ") and not line.startswith("| :"):
            assert tuple(cell.strip() for cell in line.strip("|").split("|")) in in_page
    reduced = lines_of(files["table2.csv"])
    assert len(reduced) == 8
    drawn = json.loads(files["table2.json"])["lines"]
    assert [each[FREE] for each in drawn] == pytest.approx(list(reduced[FREE]), abs=1e-4)
    seeds = lines_of(files["table2_seeds.csv"])
    assert len(seeds) == 24
    one = seeds[(seeds["dataset"] == "panned_photos") & (seeds["method"] == COMPOSITE)]
    assert list(one["seed"]) == [0, 1, 2]
    assert list(one[FREE]) == [210.0, 211.0, 214.0]
    assert one["target_entropy"].isna().all()


def test_the_figure_has_a_panel_a_column_and_dashes_for_teacher_forcing(runs: Runs) -> None:
    evidence = filled(runs)
    frames = by_frame(evidence, by_seed(evidence))
    with paper_style():
        figure = frame_panels(frames, floors={"moving_digits": 109.03})
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["moving_digits", "panned_photos"]  # fmt: skip
    assert [panel.get_ylabel() for panel in figure.axes] == [
        "cross entropy (nats per frame)",
        "squared loss per frame",
    ]
    for panel in figure.axes:
        curves = [line for line in panel.get_lines() if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
        styles = [line.get_linestyle() for line in curves if line.get_linestyle() != "None"]
        assert (styles.count("-"), styles.count("--")) == (4, 2)
    (legend,) = figure.legends
    names = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    assert names[:4] == list(MODELS)
    assert "error bars: ±1 sd over 3 seeds" in names
    assert [text.get_text() for text in figure.axes[0].texts] == ["↓ floor: 109.0"]


def test_it_is_drawn_without_torch(runs: Runs) -> None:
    filled(runs, seeds=1)
    given = {"cells": runs.cells, "rows": runs.rows, "kept": {k: str(p) for k, p in runs.kept.items()}}  # fmt: skip
    code = """
import json, sys
from pathlib import Path
from reports.evidence import Evidence
from reports.table2 import draw
given = json.load(sys.stdin)
evidence = Evidence(experiment="t", title="T", expected=tuple(given["cells"]), rows=tuple(given["rows"]), failed={},
    provenance={}, kept={key: Path(folder) for key, folder in given["kept"].items()})
assert len(draw(evidence, ["md", "svg", "csv"])) == 5
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_sizes_are_told_without_a_file_or_refused_in_a_sentence(runs: Runs) -> None:
    evidence = filled(runs, seeds=1)
    key = str(runs.cells[0]["trained_cell"])
    assert evidence.sizes(key, "model") == {"a": 15, "b": 7}
    assert evidence.sizes("unknown", "model") == {}
    with pytest.raises(ValueError, match=r"other.safetensors does not hold what a report needs"):
        evidence.sizes(key, "other")


@pytest.mark.parametrize("change", [{"seed": 0}, {"steps": 7}, {"tested_on": "others"}])
def test_what_is_averaged_may_differ_in_the_seed_alone(
    runs: Runs, change: dict[str, Value]
) -> None:
    runs.add("moving_digits", COMPOSITE, 0, 200.0)
    runs.add("moving_digits", COMPOSITE, 1, 200.0)
    for each in (*runs.cells[1:], *(row for row in runs.rows if row["seed"] == 1)):
        each.update(change)
    with pytest.raises(ValueError, match="must differ in their seed, and in nothing else"):
        draw(runs.evidence(), ["md"])


def test_a_score_in_another_unit_is_refused(runs: Runs) -> None:
    runs.add("moving_digits", COMPOSITE, 0, 200.0)
    runs.rows[0]["unit"] = "bits/frame"
    with pytest.raises(ValueError, match="is in bits/frame, and logistic outputs are scored in nats/frame"):  # fmt: skip
        draw(runs.evidence(), ["md"])


def test_the_latex_typesets_both_ways(runs: Runs, tmp_path: Path) -> None:
    content = draw(filled(runs, holes=[(COMPOSITE, 1)]), ["tex"])["table2.tex"]
    assert_typesets_both_ways(tmp_path, "table2", content)
