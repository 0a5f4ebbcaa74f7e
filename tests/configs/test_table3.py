"""Table 3's cells: seven beginnings, few labels and all, and what they share with Fig. 12 and Table 1."""

from collections import Counter
from pathlib import Path

import pytest

from configs.fig12 import fig12
from configs.table1 import table1
from configs.table3 import ROWS, table3
from reports.published import BASELINE, PRETRAINED, PUBLISHED
from tasks.pretrain import Pretrain
from tests.configs.percept_sets import set_with

PRINTED = list(dict.fromkeys(each.method for each in PUBLISHED if each.artefact == "table3"))


def test_rows_are_those_of_the_paper_in_its_order() -> None:
    labels = list(dict.fromkeys(cell.label for cell in table3().cells))
    assert labels == PRINTED
    assert len(labels) == 7


def test_each_row_starts_from_the_model_that_it_is_named_after() -> None:
    titles = {}
    for cell in table3(columns=("all",)).cells:
        if cell.needs:
            task = cell.needs[0].task
            assert isinstance(task, Pretrain)
            titles[cell.label] = (task.title, task.reconstruct, task.predict_future)
    assert titles == {
        f"{BASELINE} + Autoencoder pretraining": ("autoencoder", "unconditioned", "none"),
        f"{BASELINE} + Future Predictor pretraining": ("future predictor", "none", "unconditioned"),
        f"{BASELINE} + Conditional Autoencoder pretraining": ("conditional autoencoder", "conditional", "none"),
        f"{BASELINE} + Conditional Future Predictor pretraining": ("conditional future predictor", "none", "conditional"),
        PRETRAINED: ("Composite", "unconditioned", "unconditioned"),
        f"{BASELINE} + Composite with Conditional Future Predictor pretraining": (
            "Composite (conditional future)", "unconditioned", "conditional",
        ),
    }  # fmt: skip


def test_small_columns_have_ten_resamples_on_every_split_and_all_has_one_run() -> None:
    made = table3(splits=(1, 2))
    runs = Counter(
        (cell.label, values["shots"], values["split"])
        for cell in made.cells
        for values in (cell.task.values(),)
    )
    assert set(runs) == {(row, s, split) for row in PRINTED for s in ("4", "all") for split in (1, 2)}  # fmt: skip
    assert all(count == (10 if shots == "4" else 1) for (_, shots, _), count in runs.items())
    assert "Labelled videos per class of small columns: digits 4." in made.notes


def test_all_rows_see_the_same_videos_in_the_same_order() -> None:
    tasks: dict[tuple[object, ...], set[object]] = {}
    for cell in table3().cells:
        values = cell.task.values()
        tasks.setdefault((values["shots"], values["resample"]), set()).add((cell.task, cell.seed))
    assert all(len(each) == 1 for each in tasks.values())


def test_baseline_and_composite_are_cells_of_fig12_and_of_table1() -> None:
    mine = {cell.key for cell in table3().all_cells()}
    labels = (BASELINE, PRETRAINED)
    shared = [cell.key for cell in table3().cells if cell.label in labels]
    assert len(shared) == 2 * 11
    assert set(shared) <= {cell.key for cell in fig12().cells}
    on_pixels = [c for c in table1(methods=("lstm", "pretrained")).cells if c.task.values()["stream"] == "pixels"]  # fmt: skip
    assert {each.key for cell in on_pixels for each in (cell, *cell.needs)} <= mine


def test_models_without_a_future_draw_the_same_sequences() -> None:
    starts = {need.key: need.task for cell in table3().cells for need in cell.needs}
    assert len(starts) == 6
    lengths = {(t.input_frames, t.future_frames) for t in starts.values() if isinstance(t, Pretrain)}  # fmt: skip
    assert lengths == {(16, 13)}


def test_how_many_are_few_is_the_papers_number_unless_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    for name in ("first", "second"):
        set_with(tmp_path, name, "rgb")
    monkeypatch.setattr("configs.table3.SMALL", {"first": 3})
    sizes = {"dataset": ("first", "second"), "splits": (1, 2), "methods": ("lstm",)}

    def shots(**arguments: object) -> set[tuple[object, object]]:
        made = table3(**{**sizes, **arguments})  # type: ignore[arg-type]
        each = [cell.task.values() for cell in made.cells]
        return {(values["dataset"], values["shots"]) for values in each}

    every = {("first", "all"), ("second", "all")}
    assert shots() == every | {("first", "3"), ("second", "4")}
    assert shots(small=(2,)) == every | {("first", "2"), ("second", "2")}
    assert shots(small=(1, 2)) == every | {("first", "1"), ("second", "2")}
    assert shots(columns=("all",)) == every
    assert shots(columns=("small",)) == {("first", "3"), ("second", "4")}
    assert [note for note in table3(**sizes).notes if "saw all videos" in note] == []  # type: ignore[arg-type]


def test_papers_numbers_of_videos() -> None:
    few = {each.dataset: int(each.shots) for each in PUBLISHED if each.artefact == "table3" and each.shots != "all"}  # fmt: skip
    from configs.table3 import SMALL

    assert few == SMALL


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"resamples": 0}, "resamples=0: there is at least 1"),
        ({"small": (1, 2)}, "small=1,2: give one number of at least 1 for all, or one for each of dataset=digits"),
        ({"small": (0,)}, "small=0: give one number of at least 1"),
        ({"small": (61,)}, "class Bob of digits, split 1, has only 60"),
        ({"columns": ()}, "columns=: name at least one"),
        ({"methods": ("lstm", "lstm")}, "methods=lstm,lstm: name at least one, and each once"),
        ({"splits": (9,)}, "split 9 of digits does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        table3(**arguments)  # type: ignore[arg-type]


def test_methods_that_can_be_chosen_are_the_rows() -> None:
    made = table3(methods=("composite", "lstm"), columns=("all",))
    assert [cell.label for cell in made.cells] == [PRETRAINED, BASELINE]
    assert len(ROWS) == len(PRINTED)
