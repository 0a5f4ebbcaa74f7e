"""Figures 9 and 10 look at the model that other figures train, and train none of their own."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from configs.experiment import Experiment
from configs.fig9 import fig9
from configs.fig10 import fig10
from configs.knobs import knobs
from configs.unsupervised import digits_model, sized
from reports.published import COMPOSITE
from tasks.data.moving_digits import moving_digits

FIGURES = [fig9, fig10]


@pytest.mark.parametrize("figure", FIGURES)
def test_the_cell_is_the_one_layer_composite_model_that_artefacts_share(
    figure: Callable[..., Experiment],
) -> None:
    expected = digits_model(moving_digits(), COMPOSITE, sized("demo"), layers=1)
    assert [cell.key for cell in figure().all_cells()] == [expected.key]
    assert figure().cells[0].label == COMPOSITE
    two = digits_model(moving_digits(), COMPOSITE, sized("demo"))
    assert figure(layers=2).cells[0].key == two.key


def test_every_knob_reaches_the_cell() -> None:
    chosen = {
        "scale": "paper",
        "speed": "uniform",
        "layers": 2,
        "units": 32,
        "steps": 7,
        "batch": 3,
        "rate": 0.25,
    }
    for name, value in chosen.items():
        cells = {figure(**{"glyphs": "digits", name: value}).cells[0].key for figure in FIGURES}
        assert len(cells) == 1
        assert cells != {fig9().cells[0].key}, name
    assert not {"test_set", "test_sequences"} & set(
        knobs(fig9)
    )  # they would alter nothing that is drawn


@pytest.mark.parametrize("module", ["configs.fig9", "configs.fig10"])
def test_an_experiment_is_described_without_importing_what_computes(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'matplotlib', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
