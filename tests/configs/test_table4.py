"""Table 4's cells: the very cells of Table 1, and their fusion."""

from pathlib import Path

import pytest

from configs.experiment import Experiment
from configs.table1 import table1
from configs.table4 import COMPOSITE_LSTM, table4
from configs.two_stream import two_stream
from reports.published import PRETRAINED, PUBLISHED
from tasks.fusion import Fusion
from tests.configs.percept_sets import add_store, set_with


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    return tmp_path


def streams(made: Experiment) -> list[tuple[object, object]]:
    each = [cell.task.values() for cell in made.cells]
    return list(dict.fromkeys((values["dataset"], values["stream"]) for values in each))


def test_three_rows_under_one_name_the_papers_and_nothing_new_but_the_fusion() -> None:
    made = table4(splits=(1, 2))
    assert streams(made) == [("digits", "pixels"), ("digits", "flow10"), ("digits", "rgb+flow")]
    assert {cell.label for cell in made.cells} == {COMPOSITE_LSTM}
    printed = {each.method for each in PUBLISHED if each.artefact == "table4" and each.value == 75.8}  # fmt: skip
    assert printed == {COMPOSITE_LSTM}
    known = {cell.key for cell in table1(splits=(1, 2)).all_cells()}
    new = [cell for cell in made.all_cells() if cell.key not in known]
    assert len(new) == 2
    assert all(isinstance(cell.task, Fusion) for cell in new)


def test_a_fusion_is_of_the_cells_of_its_own_split_weighted_as_told() -> None:
    made = table4(splits=(1, 2, 3), rgb_weight=0.25)
    rows = {(c.task.values()["split"], c.task.values()["stream"]): c for c in made.cells}
    assert len(rows) == len(made.cells) == 9
    for split in (1, 2, 3):
        both = rows[split, "rgb+flow"]
        assert both.needs == (rows[split, "pixels"], rows[split, "flow10"])
        assert isinstance(both.task, Fusion)
        assert both.task.weights == (0.25, 0.75)
    assert "Fusion: 0.25 of RGB's probabilities and 0.75 of flow's" in made.notes[-1]
    default = table4().cells[-1].task
    assert isinstance(default, Fusion)
    assert default.weights == pytest.approx((1 / 3, 2 / 3))


def test_which_flow_is_fused_is_ten_fields_where_there_are_some_unless_it_is_told(
    root: Path,
) -> None:
    set_with(root, "ten", "rgb", "flow1", "flow10")
    one = set_with(root, "one", "rgb", "flow1")
    set_with(root, "bare", "rgb")
    every = ("ten", "one", "bare")
    made = table4(dataset=every, splits=(1, 2))
    assert streams(made) == [
        ("ten", "rgb"), ("ten", "flow10"), ("ten", "rgb+flow"), ("one", "rgb"), ("one", "flow1"), ("one", "rgb+flow"),
        ("bare", "rgb"),
    ]  # fmt: skip
    assert [note for note in made.notes if "RGB alone" in note] == [
        "bare is seen as RGB alone: no percepts of flow were named or found, so there is neither a flow row nor a fusion."
    ]
    told = table4(dataset=("ten",), splits=(1, 2), flow_fields=1)
    assert ("ten", "flow1") in streams(told)
    assert ("ten", "flow10") not in streams(told)
    alone = table4(dataset=("one",), splits=(1, 2), flow_fields=10)
    assert streams(alone) == [("one", "rgb")]
    # A set with stacks of ten may have as many stores of single fields as it likes, and one without may not.
    add_store(one, "flow1", net="other")
    assert table4(dataset=("ten",), splits=(1, 2)).cells
    with pytest.raises(ValueError, match="flow='flow1-' could be any of these"):
        table4(dataset=every, splits=(1, 2))


def test_cells_are_those_of_two_streams_too(root: Path) -> None:
    set_with(root, "moves", "rgb", "flow1")
    mine = table4(dataset=("moves",), splits=(1, 2))
    theirs = two_stream(dataset="moves", splits=(1, 2), methods=("pretrained",))
    assert {cell.key for cell in mine.all_cells()} == {cell.key for cell in theirs.all_cells()}
    rows = table1(dataset=("moves",), splits=(1, 2)).cells
    assert {c.key for c in rows if c.label == PRETRAINED} == {c.key for c in mine.cells if c.needs[0].label == ""}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rgb_weight": 1.5}, "rgb_weight=1.5: it lies between 0 and 1, flow has the rest"),
        ({"dataset": ()}, "dataset=: name at least one"),
        ({"flow10": ("flow1",)}, "flow10=flow1: these percepts of digits are of the flow1 stream"),
        ({"flow_units": 0}, "flow_units=0: it must be at least 1"),
    ],
)
def test_what_cannot_be_is_a_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        table4(**arguments)  # type: ignore[arg-type]


def test_two_streams_of_built_in_data_are_named_as_streams() -> None:
    made = two_stream(dataset="digits", rgb="pixels", flow=("flow1",), methods=("lstm",))
    assert streams(made) == [("digits", "rgb+flow"), ("digits", "flow1"), ("digits", "pixels")][::-1]  # fmt: skip
    with pytest.raises(ValueError, match="as flow1 and as flow10 are not one kind of flow"):
        two_stream(dataset="digits", rgb="pixels", flow=("flow1", "flow10"), splits=(1, 2))
    with pytest.raises(ValueError, match="digits as pixels are not like digits as flow1"):
        two_stream(
            dataset="digits", rgb="pixels", flow=("flow1",),
            pretrain_on="digits", pretrain_rgb="pixels", pretrain_flow=("pixels",),
        )  # fmt: skip
