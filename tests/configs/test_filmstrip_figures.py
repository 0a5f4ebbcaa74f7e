"""Figs. 5, 6 and 8: which models they show what, and that they train no model twice."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from configs import fig5 as fig5_module
from configs import fig6 as fig6_module
from configs import fig8 as fig8_module
from configs.fig5 import fig5
from configs.fig6 import fig6
from configs.fig8 import fig8
from configs.unsupervised import digits_model, patches_model, sized
from reports.published import COMPOSITE, COMPOSITE_CONDITIONAL
from tasks.data.dataset import Unlabelled
from tasks.data.digits import Digits
from tasks.data.moving_digits import TestFile, moving_digits
from tasks.data.patches import Patches

SIZES = sized("demo")
DATA = moving_digits()


def test_fig5_shows_the_papers_three_models_the_same_sequences() -> None:
    made = fig5()
    assert [cell.label for cell in made.cells] == [
        "One Layer Composite Model",
        "Two Layer Composite Model",
        "Two Layer Composite Model with a Conditional Future Predictor",
    ]
    assert [cell.needs[0].key for cell in made.cells] == [
        digits_model(DATA, COMPOSITE, SIZES, layers=1).key,
        digits_model(DATA, COMPOSITE, SIZES).key,
        digits_model(DATA, COMPOSITE_CONDITIONAL, SIZES).key,
    ]
    values = [cell.task.values() for cell in made.cells]
    assert {(each["dataset"], each["show"], each["test_sequences"]) for each in values} == {
        ("moving_digits", 2, 512)
    }


def test_fig8_shows_one_two_and_three_digits_to_fig5s_first_model() -> None:
    made = fig8()
    assert {cell.needs[0].key for cell in made.cells} == {fig5().cells[0].needs[0].key}
    assert [cell.task.values()["dataset"] for cell in made.cells] == [
        "moving_digits_1",
        "moving_digits",
        "moving_digits_3",
    ]
    assert {cell.task.values()["trained_on"] for cell in made.cells} == {"moving_digits"}
    deep = fig8(layers=2)
    assert {cell.needs[0].key for cell in deep.cells} == {fig5().cells[1].needs[0].key}
    assert any("Composite Model of two layers of 256 units" in note for note in deep.notes)


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> Unlabelled:
    """Frames with linear outputs in place of patches, by any name."""

    class Linear(Digits):
        output = "linear"

    found: Unlabelled = Linear()
    monkeypatch.setattr(fig6_module, "find_patches", lambda name, scale: found)
    return found


def test_fig6_shows_two_sizes_the_same_patches(patches: Unlabelled) -> None:
    for knobs, sizes in (
        ({}, (128, 256)),
        ({"units": 8}, (8, 16)),
        ({"units": 8, "larger_units": 9}, (8, 9)),
        ({"scale": "paper"}, (2048, 4096)),
    ):
        made = fig6(**knobs)  # type: ignore[arg-type]
        shown = sized(knobs.get("scale", "demo"), "patches")  # type: ignore[arg-type]
        assert [cell.needs[0].key for cell in made.cells] == [
            patches_model(patches, COMPOSITE, replace(shown, units=size)).key for size in sizes
        ]
        assert [cell.label for cell in made.cells] == [
            f"Two Layer Composite Model with {size:,} LSTM units" for size in sizes
        ]


def test_the_larger_model_is_larger(patches: Unlabelled) -> None:
    with pytest.raises(ValueError, match=r"larger_units=8: .* more than the 8 units"):
        fig6(units=8, larger_units=8)


def test_other_data_than_the_papers_are_said_to_be_that(patches: Unlabelled) -> None:
    for made in (fig5(), fig6(), fig8()):
        assert sum("these are other data" in note for note in made.notes) == 1


@pytest.mark.parametrize(
    ("colour", "side", "said"),
    [
        ("gray", 32, None),
        ("rgb", 24, "these are 24 x 24 in colour, and losses are sums over 1,728 numbers."),
        ("rgb", 32, "these are 32 x 32 in colour, and losses are sums over 3,072 numbers."),
        ("gray", 24, "these are 24 x 24 in gray, and losses are sums over 576 numbers."),
    ],
)
def test_patches_of_the_papers_videos_are_the_papers_in_its_size_and_gray_alone(
    monkeypatch: pytest.MonkeyPatch, colour: Literal["gray", "rgb"], side: int, said: str | None
) -> None:
    class Cut(Patches):
        notes = ()  # the real ones are read from an index

    found = Cut(
        set_name="ucf101", index="i", patches="p", colour=colour, side=side, per_video=1, place="x"
    )
    monkeypatch.setattr(fig6_module, "find_patches", lambda name, scale: found)
    notes = fig6(patches="ucf101").notes
    if said is None:
        assert notes == ()
    else:
        (note,) = notes
        assert note.startswith("The paper's figure is of 32 x 32 patches of UCF-101")
        assert "does not say whether gray" in note
        assert note.endswith(said)


def test_knobs_reach_the_models_and_the_pictures() -> None:
    for made in (
        fig5(units=7, steps=3, batch=2, rate=0.1, test_sequences=9, show=4),
        fig8(units=7, steps=3, batch=2, rate=0.1, test_sequences=9, show=4),
    ):
        for cell in made.cells:
            values = cell.task.values()
            chosen = ("units", "steps", "batch_size", "learning_rate", "test_sequences", "show")
            assert [values[name] for name in chosen] == [7, 3, 2, 0.1, 9, 4]


def test_what_is_tested_on_reaches_the_pictures_and_no_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = [(*fig5().cells, *fig8().cells), fig6().cells]
    more = [
        (*fig5(test_sequences=9).cells, *fig8(test_sequences=9).cells),
        fig6(test_sequences=9).cells,
    ]
    official = replace(DATA, test_file=TestFile(sha256="0" * 64, path=Path("there")))
    for each in (fig5_module, fig8_module):
        monkeypatch.setattr(
            each, "find_digits", lambda *_, num_digits=2, **__: official if num_digits == 2 else moving_digits(num_digits=num_digits)
        )  # fmt: skip
    from_file = [(*fig5().cells, *fig8().cells)]
    for cells, others in zip([*usual, usual[0]], [*more, *from_file], strict=True):
        assert [cell.needs for cell in cells] == [cell.needs for cell in others]
    for cells, others in zip(usual, more, strict=True):
        assert all(a.key != b.key for a, b in zip(cells, others, strict=True))
    changed = [a.key != b.key for a, b in zip(usual[0], from_file[0], strict=True)]
    assert changed == [True, True, True, False, True, False]  # one and three digits are drawn


def test_the_paper_scale_is_the_papers() -> None:
    values = fig5(scale="paper", glyphs="digits").cells[1].task.values()
    assert (values["units"], values["layers"], values["input_frames"], values["future_frames"]) == (
        2048, 2, 10, 10,
    )  # fmt: skip
