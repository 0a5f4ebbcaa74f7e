"""Fig. 12's cells: what is paired with what, and what is shared."""

from collections import defaultdict

import pytest

from configs.experiment import Experiment
from configs.fig12 import fig12
from configs.knobs import knobs
from configs.registry import EXPERIMENTS
from harness.source import find
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from tasks.cell import Cell
from tasks.fewshot import FewShot
from tasks.registry import load
from tasks.schedule import Schedule

COMPLETE = [name for name in EXPERIMENTS if not find(name).lacking(())]


@pytest.mark.parametrize("name", COMPLETE)
def test_every_experiment_that_needs_no_knob_is_made_of_unique_cells(name: str) -> None:
    made = load(EXPERIMENTS[name].place)()
    assert isinstance(made, Experiment)
    cells = made.all_cells()
    assert len({cell.key for cell in cells}) == len(cells)
    assert all(cell.task.gflop() > 0 for cell in cells)


def test_the_default_is_the_papers_figure_three_methods_and_ten_resamples() -> None:
    counts: defaultdict[tuple[str, object], set[object]] = defaultdict(set)
    for cell in fig12().cells:
        values = cell.task.values()
        counts[cell.label, values["shots"]].add(values["resample"])
    assert {label for label, _ in counts} == {SINGLE_FRAME, BASELINE, PRETRAINED}
    assert {str(shots) for _, shots in counts} >= {"1", "2", "4", "all"}
    assert all(resamples == set(range(10)) for resamples in counts.values())


def test_baseline_and_pretrained_differ_in_nothing_but_the_weights_they_start_from() -> None:
    pairs: defaultdict[tuple[object, ...], dict[str, Cell]] = defaultdict(dict)
    for cell in fig12(splits=(1, 2)).cells:
        if isinstance(cell.task, FewShot):
            values = cell.task.values()
            pairs[values["split"], values["shots"], values["resample"]][cell.label] = cell
    assert len(pairs) == 2 * 6 * 10
    for pair in pairs.values():
        assert pair[BASELINE].task == pair[PRETRAINED].task
        assert pair[BASELINE].seed == pair[PRETRAINED].seed
        assert not pair[BASELINE].needs
        assert len(pair[PRETRAINED].needs) == 1


def test_one_pretraining_serves_all_splits_and_resamples() -> None:
    made = fig12(splits=(1, 2, 3))
    assert len({need.key for cell in made.cells for need in cell.needs}) == 1


def test_knobs_that_do_not_concern_a_cell_leave_its_key_alone() -> None:
    before = {cell.key for cell in fig12(methods=("single_frame", "lstm")).cells}
    after = {cell.key for cell in fig12(methods=("single_frame", "lstm"), pretrain_steps=7).cells}
    assert before == after
    assert not before & {cell.key for cell in fig12(methods=("lstm",), dropout=0.1).cells}


def test_the_scale_sets_what_is_not_set_by_hand() -> None:
    def found(**knobs: object) -> tuple[FewShot, Schedule, set[object]]:
        made = fig12(methods=("pretrained",), resamples=1, **knobs)  # type: ignore[arg-type]
        task = made.cells[-1].task
        assert isinstance(task, FewShot)
        start = made.cells[-1].needs[0].task
        return task, start.schedule, {cell.task.values()["split"] for cell in made.cells}

    task, start, splits = found(scale="paper")
    assert (task.encoder.units, task.encoder.layers, splits) == (2048, 2, {1, 2, 3})  # sec. 3.3
    assert start.batch_size == 128
    by_hand, start, splits = found(scale="paper", units=7, splits=(2,), pretrain_steps=9)
    assert (by_hand.encoder.units, by_hand.encoder.layers, splits) == (7, 2, {2})
    assert (start.steps, by_hand.schedule) == (9, task.schedule)
    with pytest.raises(ValueError, match="scale=small: choose from demo, paper"):
        found(scale="small")


def test_demo_is_the_default_and_what_it_says_in_the_knobs() -> None:
    meaning = knobs(fig12)["units"].meaning
    assert meaning == "units of an LSTM layer (demo 128, paper 2,048)"
    assert {cell.key for cell in fig12().cells} == {cell.key for cell in fig12(scale="demo").cells}
    assert {cell.key for cell in fig12().cells} == {cell.key for cell in fig12(units=128).cells}


def test_an_experiment_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="has no cells: there is nothing to run"):
        Experiment(title="empty", cells=(), draw=lambda evidence, formats: {})
