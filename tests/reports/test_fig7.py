"""Fig. 7: what stands in the table and the figure, from runs made by hand."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from safetensors.numpy import save_file

from reports.activity_panels import activity_figure, strip_steps
from reports.evidence import Evidence, Value
from reports.fig7 import KEPT, MEASURES, _watched, draw
from reports.style import paper_style
from reports.tables import MISSING
from tests.latex import assert_typesets_both_ways

STEPS, UNITS, SIDE, SEQUENCES = 40, 12, 8, 5
FORMS = ("png", "pdf", "svg", "gif", "md", "tex", "html", "csv", "json")
LABELS = {
    "trained": "Trained Future Predictor",
    "random": "Randomly Initialized Future Predictor",
}
PATTERNS = (  # in the paper's order: what a run keeps, and what stands above it
    ("input", "input"),
    ("input_gate", "input gate"),
    ("forget_gate", "forget gate"),
    ("output_gate", "output gate"),
    ("cell", "cell"),
    ("output", "output"),
)
GATES = ("input_gate", "forget_gate", "output_gate")
SKEWED = np.array([0.5, 0.5, 0.5, 0.5, 3.0])
"""Of the sequences at one step: the mean is 1, the median is not."""
UNITS_OF = {"persistence": "ratio", "moving_units": "%", "period": "steps", "period_share": "%"}


def measures(weights: str) -> dict[str, np.ndarray]:
    alive = weights == "trained"
    nothing = np.full(SEQUENCES, np.nan)
    spread = np.arange(SEQUENCES) - 2.0
    return {
        "persistence": 0.9 + 0.01 * spread if alive else np.zeros(SEQUENCES),
        "moving_units": 80 + spread if alive else np.zeros(SEQUENCES),
        "period": 20 + 0 * spread if alive else nothing,
        "period_share": 60 + spread if alive else nothing,
        "first_loss": (200 if alive else 700) + spread,
        "last_loss": (300 if alive else 710) + spread,
    }


def kept_by_hand(folder: Path, weights: str) -> Path:
    """What a run leaves: a sine that goes on, or one that dies."""
    folder = folder / weights
    folder.mkdir()
    steps = np.arange(1, STEPS + 1)
    fade = 1 if weights == "trained" else np.exp(-steps)[:, None]
    wave = np.sin(steps[:, None] / 3 + np.arange(UNITS)) * fade
    panels = {
        # No two arrays are alike, so none can stand in another's place.
        name: (((wave + 1) / 2 if name in GATES else wave) * (1 - place / 16)).astype(np.float16)
        for place, (name, _) in enumerate(PATTERNS)
    }
    frames = np.random.default_rng(0).integers(0, 255, (2 * STEPS + 3, SIDE, SIDE), dtype=np.uint8)
    arrays = {
        **panels,
        "units": np.arange(UNITS),
        "input_frames": frames[:3],
        "true_frames": frames[3 : STEPS + 3],
        "predicted_frames": frames[STEPS + 3 :],
    }
    save_file(arrays, folder / f"{KEPT}.safetensors")
    table = {"sequence": np.arange(SEQUENCES), **measures(weights)}
    for step in steps:
        if step > 1:
            decay = 1.0 if weights == "trained" else np.exp(-float(step))
            table[f"change_{step:03d}"] = 0.1 * decay * SKEWED
        table[f"future_loss_{step:03d}"] = 100.0 + step + 2 * SKEWED
    pd.DataFrame(table).to_parquet(folder / "predictions.parquet")
    return folder


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    tmp_path = tmp_path_factory.mktemp("runs")
    common: dict[str, Value] = {
        "dataset": "mnist",
        "model": "Composite",
        "layers": 1,
        "units": 256,
        "steps": 2000,
        "batch_size": 32,
        "input_frames": 3,
        "future_frames": 10,
        "future_steps": STEPS,
        "seed": 0,
    }
    cells = [
        {**common, "cell": f"key-{weights}", "method": label, "weights": weights}
        for weights, label in LABELS.items()
    ]
    rows = [
        {
            **cell,
            "run": "run",
            "metric": name,
            "value": float(values.mean()),
            "unit": UNITS_OF.get(name, "nats/frame"),
            "higher_is_better": True,
        }
        for cell in cells
        for name, values in measures(str(cell["weights"])).items()
        if np.isfinite(values).all()
    ]
    return Evidence(
        experiment="fig7",
        title="Activity",
        expected=tuple(cells),
        rows=tuple(rows),
        failed={},
        provenance={"notes": ["A note."]},
        kept={str(c["cell"]): kept_by_hand(tmp_path, str(c["weights"])) for c in cells},
    )


def only(evidence: Evidence, weights: str, reason: str = "out of memory") -> Evidence:
    """One run of the two is not there."""
    other = next(key for key in LABELS if key != weights)
    return replace(
        evidence,
        rows=tuple(row for row in evidence.rows if row["weights"] == weights),
        kept={key: folder for key, folder in evidence.kept.items() if weights in key},
        failed={f"key-{other}": reason},
    )


@pytest.fixture(scope="module")
def files(evidence: Evidence) -> dict[str, bytes]:
    return draw(evidence, FORMS)


class Cells(HTMLParser):
    """The texts of a page's table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.inside = tag == "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts.append(data)
            self.inside = False


def test_all_forms_are_made_and_are_the_same_every_time(
    evidence: Evidence, files: dict[str, bytes]
) -> None:
    assert set(files) == {*(f"fig7.{form}" for form in FORMS), "fig7_steps.csv"}
    for form in ("png", "pdf", "svg", "gif", "csv", "json"):
        assert draw(evidence, (form,)).items() <= files.items()
    assert draw(evidence, ("md",)).keys() == {"fig7.md"}


def test_the_forms_show_the_same_numbers(files: dict[str, bytes]) -> None:
    parser = Cells()
    parser.feed(files["fig7.html"].decode())
    expected = ["0.900 ± 0.016", "80.0 ± 1.6", "20.0 ± 0.0", "60.0 ± 1.6", "200.0 ± 1.6", "300.0 ± 1.6"]  # fmt: skip
    row = [LABELS["trained"], *expected, "5"]
    assert parser.texts[: len(row)] == row
    assert f"| {' | '.join(row)} |" in files["fig7.md"].decode()
    for text in expected:
        assert text.replace("±", r"\pm") in files["fig7.tex"].decode()
    table = pd.read_csv(io.BytesIO(files["fig7.csv"]))
    lines = json.loads(files["fig7.json"])["lines"]
    for name in MEASURES:
        values = measures("trained")[name]
        assert table[name][0] == pytest.approx(values.mean())
        assert table[f"{name}_sd"][0] == pytest.approx(values.std(ddof=1), abs=1e-4)
        assert lines[0][name] == pytest.approx(values.mean())
    for form in ("md", "tex", "html"):
        assert "A note." in files[f"fig7.{form}"].decode()


def test_what_has_died_out_has_no_period(files: dict[str, bytes]) -> None:
    dead = f"| {LABELS['random']} | 0.000 ± 0.000 | 0.0 ± 0.0 | {MISSING} | {MISSING} |"
    assert dead in files["fig7.md"].decode()
    table = pd.read_csv(io.BytesIO(files["fig7.csv"]))
    assert np.isnan(table["period"][1])
    assert table["period_sequences"].tolist() == [5, 0]


def test_a_mean_over_some_of_the_sequences_says_over_how_many(
    evidence: Evidence, tmp_path: Path
) -> None:
    folder = evidence.kept["key-trained"]
    table = pd.read_parquet(folder / "predictions.parquet")
    table.loc[[0, 3], "period"] = np.nan
    table.to_parquet(tmp_path / "predictions.parquet")
    (tmp_path / f"{KEPT}.safetensors").symlink_to(folder / f"{KEPT}.safetensors")
    some = replace(evidence, kept={**evidence.kept, "key-trained": tmp_path})
    assert "| 20.0 ± 0.0 (3/5) |" in draw(some, ("md",))["fig7.md"].decode()


def test_every_steps_numbers_are_there_however_small(files: dict[str, bytes]) -> None:
    table = pd.read_csv(io.BytesIO(files["fig7_steps.csv"]))
    assert len(table) == 2 * STEPS
    random = table[table["method"] == LABELS["random"]].set_index("step")
    assert np.isnan(random["change"][1])
    assert random["change"][40] == pytest.approx(0.1 * np.exp(-40), rel=1e-4)
    sd = np.std(SKEWED, ddof=1)
    assert random["change_sd"][40] == pytest.approx(0.1 * np.exp(-40) * sd, rel=1e-4)
    assert random["loss"][7] == pytest.approx(107 + 2)
    assert random["loss_sd"][7] == pytest.approx(2 * sd, rel=1e-4)


def watched(evidence: Evidence) -> list:
    return [(str(cell["method"]), _watched(evidence, cell)) for cell in evidence.expected]


def test_the_panels_show_the_arrays_on_common_scales(evidence: Evidence) -> None:
    with paper_style():
        figure = activity_figure(watched(evidence))
    *others, left, right, strip = figure.axes
    panels = [axes for axes in others if axes.images]
    images = [axes.images[0] for axes in panels]
    assert [axes.get_title() for axes in panels] == 2 * [heading for _, heading in PATTERNS]
    for row, (_, each) in enumerate(watched(evidence)):
        for column, (name, _) in enumerate(PATTERNS):
            image = images[row * len(PATTERNS) + column]
            assert np.array_equal(image.get_array(), each.arrays[name].astype(float).T)
            limits = image.get_clim()
            if name == "cell":
                assert limits[0] == -limits[1]
                assert limits == images[column].get_clim()  # one scale for both predictors
            else:
                assert limits == ((0, 1) if name in GATES else (-1, 1))
    assert left.get_yscale() == "log"
    assert left.lines[0].get_ydata()[1:] == pytest.approx(0.1)
    assert list(right.lines[0].get_ydata()) == [102.0 + step for step in range(1, STEPS + 1)]
    assert [text.get_text() for text in strip.get_yticklabels()] == ["true", "trained", "random"]
    picture = strip.images[0].get_array()
    arrays = watched(evidence)[0][1].arrays
    assert np.array_equal(picture[:SIDE, :SIDE], arrays["input_frames"][-1])
    shown = strip_steps(STEPS)
    for place, step in enumerate(shown, start=1):
        columns = slice(place * (SIDE + 1), place * (SIDE + 1) + SIDE)
        assert np.array_equal(picture[:SIDE, columns], arrays["true_frames"][step - 1])
        below = picture[SIDE + 1 : 2 * SIDE + 1, columns]
        assert np.array_equal(below, arrays["predicted_frames"][step - 1])


def texts(figure: Figure) -> list[Text]:
    """All texts that are seen; a tick beyond the ends of its axis has a label, and is not."""
    found = [*figure.texts, *figure.legends[0].get_texts()]
    for axes in figure.axes:
        found += [axes.title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [axis.label, *(tick.label1 for tick in ticks if tick.label1.get_visible())]
    return [text for text in found if text.get_text()]


def test_no_two_texts_of_the_figure_overlap_or_leave_the_page(evidence: Evidence) -> None:
    with paper_style():
        figure = activity_figure(watched(evidence))
        figure.canvas.draw()
        seen = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    assert len(seen) > 60
    for place, (text, box) in enumerate(seen):
        assert figure.bbox.x0 <= box.x0, text
        assert figure.bbox.y0 <= box.y0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text
        for other, theirs in seen[:place]:
            assert not box.overlaps(theirs), (text, other)


@pytest.mark.parametrize("weights", list(LABELS))
def test_a_run_that_is_missing_is_shown_as_that(evidence: Evidence, weights: str) -> None:
    partial = only(evidence, weights)
    files = draw(partial, ("md", "csv", "gif"))
    assert set(files) == {"fig7.md", "fig7.csv", "fig7_steps.csv", "fig7.gif"}
    text = files["fig7.md"].decode()
    assert "1 of 2 expected results are in." in text
    assert "out of memory" in text
    other = next(label for key, label in LABELS.items() if key != weights)
    assert f"| {other} |{f' {MISSING} |' * 6} 0 |" in text
    with paper_style():
        figure = activity_figure(watched(partial))
    told = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert told.count("no finished\nrun yet") == len(PATTERNS)


def test_without_any_run_there_is_no_figure(evidence: Evidence) -> None:
    files = draw(replace(evidence, rows=(), kept={}), FORMS)
    assert set(files) == {f"fig7.{form}" for form in ("md", "tex", "html", "csv", "json")}
    assert "0 of 2 expected results are in." in files["fig7.md"].decode()


def test_a_run_that_kept_nothing_to_show_is_refused(evidence: Evidence, tmp_path: Path) -> None:
    folder = evidence.kept["key-random"]
    (tmp_path / "predictions.parquet").write_bytes((folder / "predictions.parquet").read_bytes())
    torn = replace(evidence, kept={**evidence.kept, "key-random": tmp_path})
    with pytest.raises(ValueError, match="does not hold what a report needs"):
        draw(torn, ("png",))


def test_the_film_has_the_input_and_then_every_step(files: dict[str, bytes]) -> None:
    with Image.open(io.BytesIO(files["fig7.gif"])) as image:
        assert image.n_frames == 3 + STEPS


def test_strips_show_early_steps_and_the_last() -> None:
    assert strip_steps(100) == [1, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    for steps in (21, 25, 40, 500):
        shown = strip_steps(steps)
        assert shown == sorted(set(shown))
        assert (shown[0], shown[-1]) == (1, steps)
        assert len(shown) <= 13


def test_the_report_needs_no_torch() -> None:
    code = "import sys, reports.fig7; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_latex_typesets_both_ways(files: dict[str, bytes], tmp_path: Path) -> None:
    assert_typesets_both_ways(tmp_path, "fig7", files["fig7.tex"])
