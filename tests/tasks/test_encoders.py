"""A user's own encoder: its identity follows its code."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.encoders import own

SOURCE = '''
"""An encoder."""
from torch import nn
import neighbour

WIDTH = 3
UNUSED = 1

def helper(x):
    return x * WIDTH

class Mine(nn.Module):
    def __init__(self, frame_size, units=4):
        super().__init__()
        self.rnn = nn.GRU(frame_size, units)

    def forward(self, frames):
        return helper(self.rnn(frames)[0]) + neighbour.SHIFT

def experiment():
    return Mine
'''


def load(folder: Path, text: str) -> Any:
    path = folder / "mine.py"
    path.write_text(text)
    sys.modules.pop("neighbour", None)
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("mine_under_test", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["mine_under_test"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module.Mine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("SHIFT = 0.0\n")
    return tmp_path


def identity(folder: Path, text: str = SOURCE) -> str:
    return own(load(folder, text)).code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * WIDTH", "x + WIDTH"),  # a function that the class uses
        ("WIDTH = 3", "WIDTH = 4"),  # a constant that this function uses
        ("nn.GRU", "nn.RNN"),  # the class itself
        ("units=4", "units=5"),
    ],
)
def test_editing_what_the_encoder_is_made_of_makes_a_new_identity(
    folder: Path, old: str, new: str
) -> None:
    assert old in SOURCE
    assert identity(folder) != identity(folder, SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNUSED = 1", "UNUSED = 2"),
        ("return Mine\n", "return None\n"),
        ("class Mine", "# a comment\nclass Mine"),
    ],
)
def test_editing_anything_else_does_not(folder: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert identity(folder) == identity(folder, SOURCE.replace(old, new))


def test_editing_an_imported_neighbour_makes_a_new_identity(folder: Path) -> None:
    before = identity(folder)
    (folder / "neighbour.py").write_text("SHIFT = 1.0\n")
    assert identity(folder) != before


def test_arguments_are_passed_on_and_told_apart(folder: Path) -> None:
    factory = load(folder, SOURCE)
    small, large = own(factory), own(factory, units=6)
    assert small != large
    frames_TBD = torch.zeros(3, 2, 7)
    assert small.build(7)(frames_TBD).shape == (3, 2, 4)
    assert large.build(7)(frames_TBD).shape == (3, 2, 6)


def test_the_decoders_have_a_size_of_their_own(folder: Path) -> None:
    spec = replace(own(load(folder, SOURCE)), units=5, layers=2)
    states = spec.build(7).represent(torch.zeros(3, 2, 7))
    assert [tuple(state.h_BH.shape) for state in states] == [(2, 5), (2, 5)]


def test_a_class_without_a_file_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("class Nowhere: pass", namespace)
    with pytest.raises(ValueError, match="the source of the encoder Nowhere cannot be read"):
        own(namespace["Nowhere"])


@pytest.mark.parametrize(
    "text",
    [
        "def make(n):\n    return lambda size: n\nMine = make(3)\n",
        "Mine = lambda size: size\n",
        "def make():\n    class Inner:\n        pass\n    return Inner\nMine = make()\n",
    ],
)
def test_an_encoder_whose_code_cannot_be_told_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"is not defined at the top level of mine\.py"):
        own(load(folder, text))


def test_packages_beside_the_file_and_what_neighbours_import_count(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "deep.py").write_text("DEPTH = 1\n")
    (folder / "neighbour.py").write_text(
        "try:\n    from parts.deep import DEPTH\nfinally:\n    SHIFT = 0.0\n"
    )
    before = identity(folder)
    (folder / "parts" / "deep.py").write_text("DEPTH = 2\n")
    assert identity(folder) != before


def test_every_assignment_of_a_name_counts(folder: Path) -> None:
    twice = SOURCE.replace("WIDTH = 3", "WIDTH = 2\nif WIDTH:\n    WIDTH = 3")
    assert identity(folder, twice) != identity(folder, twice.replace("WIDTH = 2", "WIDTH = 0"))
