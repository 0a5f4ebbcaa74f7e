"""Table 1's cells: which columns there are, what they share with Fig. 12, and what is refused."""

from pathlib import Path

import pytest

from configs.experiment import Experiment
from configs.fig12 import fig12
from configs.table1 import table1
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME, published
from tasks.cell import Cell
from tasks.fewshot import FewShot
from tasks.pretrain import Pretrain
from tests.configs.percept_sets import add_store, set_with

ROWS = (SINGLE_FRAME, BASELINE, PRETRAINED)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    return tmp_path


def columns(made: Experiment) -> list[tuple[object, object]]:
    """Dataset and stream of every column, in order."""
    each = [cell.task.values() for cell in made.cells]
    return list(dict.fromkeys((values["dataset"], values["stream"]) for values in each))


def of_stream(made: Experiment, stream: str) -> dict[str, Cell]:
    return {cell.label: cell for cell in made.cells if cell.task.values()["stream"] == stream}


def start_of(cell: Cell) -> Pretrain:
    (need,) = cell.needs
    assert isinstance(need.task, Pretrain)
    return need.task


def test_by_default_three_methods_stand_on_pixels_one_field_and_ten_fields() -> None:
    made = table1()
    assert columns(made) == [("digits", "pixels"), ("digits", "flow1"), ("digits", "flow10")]
    assert [cell.label for cell in made.cells] == list(ROWS) * 3
    for cell in made.cells:
        values = cell.task.values()
        assert (values["shots"], values["resample"], values["split"]) == ("all", 0, 1)
    assert made.chance == {"digits": 10.0}
    assert made.notes == ()


def test_labels_are_those_that_the_paper_has_numbers_for() -> None:
    for label in ROWS:
        assert published("table1", "ucf101", label, "all", modality="flow1") is not None


def test_cells_on_pixels_are_those_of_fig12_with_all_labels() -> None:
    mine = {cell.key for cell in of_stream(table1(splits=(1, 3)), "pixels").values()}
    figure = fig12(splits=(1, 3), shots=("all",), resamples=1)
    assert mine <= {cell.key for cell in figure.cells}
    assert len(figure.cells) == 2 * 3
    whole = {cell.key for cell in fig12().all_cells()}
    pixels = [cell for cell in table1().cells if cell.task.values()["stream"] == "pixels"]
    assert {each.key for cell in pixels for each in (cell, *cell.needs)} <= whole


def test_classifiers_of_flow_are_small_and_read_four_frames_and_so_do_their_pretrainings() -> None:
    made = table1(units=64, layers=1, flow_units=9, flow_block=5)
    for stream, units, block in (("pixels", 64, 16), ("flow1", 9, 5), ("flow10", 9, 5)):
        rows = of_stream(made, stream)
        for label in (BASELINE, PRETRAINED):
            task = rows[label].task
            assert isinstance(task, FewShot)
            assert (task.encoder.units, task.encoder.layers, task.block) == (units, 1, block)
            assert task.stride == block // 2
        start = start_of(rows[PRETRAINED])
        assert (start.input_frames, start.future_frames) == (block, 13)
        assert start.dataset.stream == stream
        assert rows[BASELINE].task == rows[PRETRAINED].task
    task = of_stream(table1(), "flow1")[BASELINE].task
    assert isinstance(task, FewShot)
    assert (task.encoder.units, task.block) == (128, 4)  # sec. 3.3


def test_one_pretraining_of_a_stream_serves_all_splits() -> None:
    made = table1(splits=(1, 2, 3))
    assert len(made.cells) == 3 * 3 * 3
    assert len({need.key for cell in made.cells for need in cell.needs}) == 3


def test_flow_and_rows_can_be_left_out() -> None:
    made = table1(flow10=("none",), methods=("lstm",))
    assert columns(made) == [("digits", "pixels"), ("digits", "flow1")]
    assert {cell.label for cell in made.cells} == {BASELINE}
    assert len(made.notes) == 1
    assert "digits is not seen as stacks of 10 fields of flow" in made.notes[0]


def test_a_set_has_the_columns_that_it_has_stores_for_and_a_note_names_the_others(
    root: Path,
) -> None:
    set_with(root, "moves", "rgb", "flow1", "flow10")
    set_with(root, "still", "rgb")
    made = table1(dataset=("moves", "still"), splits=(1, 2))
    assert columns(made) == [
        ("moves", "rgb"), ("moves", "flow1"), ("moves", "flow10"), ("still", "rgb"),
    ]  # fmt: skip
    assert made.chance == {"moves": 50.0, "still": 50.0}
    told = [note for note in made.notes if "is not seen as" in note]
    assert [note.partition(" is not seen as ")[0] for note in told] == ["still", "still"]
    assert any("Pretraining saw all videos of moves" in note for note in made.notes)
    alone = table1(dataset="moves", splits=(1, 2))  # type: ignore[arg-type]
    assert {cell.key for cell in alone.cells} < {cell.key for cell in made.cells}


def test_stores_are_named_for_all_sets_for_each_or_for_each_split_of_each(root: Path) -> None:
    ones, twos = set_with(root, "ones", "rgb"), set_with(root, "twos", "rgb")
    by_split = [add_store(each, "flow1", net="t", split=n) for each in (ones, twos) for n in (1, 2)]
    add_store(ones, "rgb", net="other")
    rgb = ("rgb-other", "rgb-net")
    made = table1(dataset=("ones", "twos"), rgb=rgb, flow=tuple(by_split), splits=(1, 2))
    seen = {
        (cell.task.values()["split"], data.place)  # type: ignore[attr-defined]
        for cell in made.cells
        if isinstance(cell.task, FewShot) and (data := cell.task.subset.dataset).stream == "flow1"
    }
    assert seen == set(zip((1, 2, 1, 2), by_split, strict=True))
    places = {start_of(c).dataset.details["percepts"] for c in made.cells if c.needs}
    assert places >= set(by_split)
    # One store of such a net cannot serve both splits.
    with pytest.raises(ValueError, match="split 2 of ones cannot be tested on flow1-t-"):
        table1(dataset=("ones",), rgb=("rgb-net",), flow=(by_split[0],), splits=(1, 2))


def test_pretraining_on_other_videos_is_of_the_same_kind_of_stream(root: Path) -> None:
    set_with(root, "moves", "rgb", "flow1")
    set_with(root, "more", "rgb", "flow1", labelled=False)
    made = table1(dataset=("moves",), pretrain_on="more", splits=(1,))
    starts = {c.task.values()["stream"]: start_of(c).dataset.name for c in made.cells if c.needs}
    # Flow is pretrained on the set's own, as in the paper, unless other videos are named.
    assert starts == {"rgb": "more", "flow1": "moves"}
    made = table1(dataset=("moves",), pretrain_flow_on="more", splits=(1,))
    starts = {c.task.values()["stream"]: start_of(c).dataset.name for c in made.cells if c.needs}
    assert starts == {"rgb": "moves", "flow1": "more"}
    with pytest.raises(ValueError, match="frames of digits are not like those of moves"):
        table1(dataset=("moves",), pretrain_on="digits", splits=(1,))


def test_what_cannot_be_is_a_sentence_before_anything_runs(root: Path) -> None:
    moves = set_with(root, "moves", "rgb", "flow1", "flow2")
    for arguments, sentence in (
        ({"dataset": ("mooves",)}, "there is no dataset 'mooves'; did you mean 'moves'"),
        ({"dataset": ("digits", "digits")}, "dataset=digits,digits: name at least one, and each once"),
        ({"methods": ()}, "methods=: name at least one"),
        ({"splits": (1, 1)}, "splits=1,1: name at least one, and each once"),
        ({"splits": (4,)}, "split 4 of digits does not exist: choose from 1, 2, 3"),
        ({"scale": "large"}, "scale=large: choose from demo, paper"),
        ({"pretrain_rgb": ("rgb",)}, "pretrain_rgb=rgb: it names a store of other videos .* set pretrain_on too"),
        ({"pretrain_flow10": ("x",)}, "pretrain_flow10=x: .* set pretrain_flow_on too"),
        ({"flow_block": 0}, "flow_block=0: it must be at least 1"),
        ({"rgb": ("vgg",)}, "rgb=vgg: the built-in digits have no percepts, they come as pixels, flow1, flow10"),
        ({"rgb": ("flow1",)}, "rgb=flow1: these percepts of digits are of the flow1 stream, name a store of RGB"),
        ({"rgb": ("none",)}, "rgb=none: the built-in digits have no percepts"),
        ({"flow": ("flow10",)}, "flow=flow10: these percepts of digits are of the flow10 stream"),
        ({"dataset": ("moves",), "scale": "paper"}, "scale=paper takes splits 1,2,3, and moves has 1,2"),
        ({"dataset": ("moves",), "splits": (1, 2), "flow": ("flow2",)}, "of the flow2 stream, name a store of single fields"),
        ({"dataset": ("moves",), "flow": ("vgg",)}, "flow='vgg' is not among the percepts of moves"),
        ({"dataset": ("moves",), "flow10": ("flow10",)}, "flow10='flow10' is not among the percepts of moves"),
        ({"dataset": ("moves", "digits"), "flow": ("a", "b", "c")}, "name one store for all, one for each of dataset=moves,digits, or"),
        ({"dataset": ("moves",), "flow": ("a", "b"), "splits": (1,)}, "name one store for all splits, or one for each of splits=1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            table1(**arguments)  # type: ignore[arg-type]
    add_store(moves, "flow1", net="other")
    with pytest.raises(ValueError, match=r"flow='flow1-' could be any of these.*set flow to"):
        table1(dataset=("moves",))
