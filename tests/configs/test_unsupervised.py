"""Sizes and schedules of the unsupervised models, by scale and by hand."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from configs.knobs import knobs
from configs.registry import EXPERIMENTS
from configs.unsupervised import COMPOSITE, digits_model, find_patches, patches_model, sized
from harness.source import UsageError, find
from tasks.data.moving_digits import TestFile, moving_digits
from tasks.data.panned_photos import PannedPhotos
from tasks.evaluate import Evaluate
from tasks.pretrain import Pretrain
from tasks.schedule import Staircase

HALF = [
    name
    for name, entry in EXPERIMENTS.items()
    if name != "paper" and "optimiser" in inspect.signature(find(name).function).parameters
]


TESTED = {"table2", "fig5", "fig6", "fig8"}
"""Those that tell losses on held-out sequences."""


def task_of(**chosen: object) -> Pretrain:
    task = digits_model(moving_digits(), COMPOSITE, sized("demo", **chosen)).task  # type: ignore[arg-type]
    assert isinstance(task, Pretrain)
    return task


def test_as_in_2015_has_the_authors_batch_and_rate_unless_told() -> None:
    found = task_of(optimiser="as_in_2015").schedule
    assert (found.batch_size, found.learning_rate) == (80, pytest.approx(80e-4))
    assert found.decay == Staircase(factor=0.9, every=10_000)
    assert found.clip_velocity == 1e-4
    assert task_of(optimiser="as_in_2015", batch=16).schedule.learning_rate == pytest.approx(16e-4)
    with pytest.raises(ValueError, match="leave the rate out"):
        task_of(optimiser="as_in_2015", rate=0.1)


def test_a_training_is_the_same_whatever_it_will_be_tested_on() -> None:
    data, patches = moving_digits(), find_patches("panned_photos")
    official = replace(data, test_file=TestFile(sha256="0" * 64, path=Path("there")))
    few, many = sized("demo", test_sequences=3), sized("demo", test_sequences=10_000)
    keys = {digits_model(each, COMPOSITE, sizes).key for each in (data, official) for sizes in (few, many)}  # fmt: skip
    assert len(keys) == 1
    assert len({patches_model(patches, COMPOSITE, sizes).key for sizes in (few, many)}) == 1
    other = replace(data, rules=replace(data.rules, speed="uniform"))
    assert digits_model(other, COMPOSITE, few).key not in keys


def test_precision_is_the_scales_unless_told() -> None:
    assert task_of().precision == "float32"
    assert task_of(precision="bfloat16").precision == "bfloat16"
    assert sized("paper").precision == "bfloat16"


def test_patches_have_sizes_of_their_own_and_the_papers_lengths() -> None:
    task = patches_model(find_patches("panned_photos"), COMPOSITE, sized("demo", "patches")).task
    assert isinstance(task, Pretrain)
    assert isinstance(task.dataset, PannedPhotos)
    assert (task.input_frames, task.future_frames) == (16, 13)
    assert task.encoder.units == 128


@pytest.mark.parametrize("name", HALF)
def test_every_artefact_of_this_half_has_its_knobs(name: str) -> None:
    """One run of all of them sets each of these once."""
    known = knobs(find(name).function)
    assert {"scale", "units", "steps", "batch", "rate", "precision"} <= set(known)
    made = find(name).experiment(())
    tests = any(isinstance(cell.task, Evaluate) for cell in made.cells)
    assert tests == (name in TESTED)
    assert not tests or "test_sequences" in known
    assert find(name).experiment(("optimiser=as_in_2015", "precision=bfloat16", "steps=7"))
    for cell in find(name).experiment(("optimiser=as_in_2015", "precision=bfloat16", "steps=7")).all_cells():  # fmt: skip
        if isinstance(cell.task, Pretrain):
            assert cell.task.precision == "bfloat16"
            assert (cell.task.schedule.steps, cell.task.schedule.batch_size) == (7, 80)


def test_the_artefacts_are_those_of_the_paper() -> None:
    assert set(HALF) == {"table2", "fig5", "fig6", "fig7", "fig8", "fig9", "fig10"}


def test_at_the_papers_scale_mnist_moves_and_its_absence_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="harness data fetch mnist"):
        find("fig5").experiment(("scale=paper",))
    with pytest.raises(UsageError, match="ucf101"):
        find("fig6").experiment(("scale=paper",))
    chosen = find("fig5").experiment(("scale=paper", "glyphs=digits"))
    assert {cell.task.values()["dataset"] for cell in chosen.all_cells()} == {"moving_digits"}
