"""Glyphs: built in, MNIST, or anyone's; training and test never mix, and identity is that of the pixels."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.data import glyphs
from tasks.data.glyphs import find_glyphs
from tests.real_data import real_data
from tests.tasks.test_idx import idx


def folder_of(tmp_path: Path, train: np.ndarray, test: np.ndarray) -> Path:
    folder = tmp_path / "runes"
    folder.mkdir(exist_ok=True)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(train))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(test)))
    return folder


RUNES = np.random.default_rng(1).integers(0, 256, size=(5, 9, 9))


def test_no_writer_of_built_in_digits_is_on_both_sides() -> None:
    from sklearn.datasets import load_digits

    # A writer's block begins with the digits in order, three times; the last block before the end begins later.
    targets = load_digits().target
    cut = find_glyphs("digits").num_train
    assert targets[cut : cut + 20].tolist() == [*range(10), *range(10)]


def test_built_in_digits_need_no_file_and_share_no_image() -> None:
    found = find_glyphs("digits")
    train, test = found.images("train"), found.images("test")
    assert (found.side, len(train), len(test)) == (14, 1415, 382)
    assert not {each.tobytes() for each in train} & {each.tobytes() for each in test}
    assert train.max() == 255
    # Enlarging keeps a digit where it was: halves of a glyph and of its source weigh about the same.
    from sklearn.datasets import load_digits

    source = load_digits().images[:1415]
    top, below = source[:, :4].sum((1, 2)), source[:, 4:].sum((1, 2))
    share = train[:, :7].sum((1, 2), dtype=float) / train.sum((1, 2), dtype=float)
    assert np.abs(share - top / (top + below)).max() < 0.05


def test_anyones_glyphs_are_known_by_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, RUNES[:3], RUNES[3:])
    found = find_glyphs(str(folder))
    assert (found.name, found.side, found.num_train, found.num_test) == ("runes", 9, 3, 2)
    np.testing.assert_array_equal(found.images("test"), RUNES[3:])
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    shutil.copytree(folder, tmp_path / "data/runes")
    assert find_glyphs("runes") == found
    assert find_glyphs("runes").folder != found.folder


def test_files_that_were_replaced_are_noticed(tmp_path: Path) -> None:
    found = find_glyphs(str(folder_of(tmp_path, RUNES[:3], RUNES[3:])))
    glyphs._images.cache_clear()
    folder_of(tmp_path, RUNES[:2], RUNES[3:])
    with pytest.raises(ValueError, match="are not those that were asked for"):
        found.images("train")
    assert replace(found, train_sha256="x") != found


def test_what_are_no_glyphs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match="there are no glyphs 'runes': neither"):
        find_glyphs("runes")
    folder = folder_of(tmp_path, RUNES[:3], RUNES[3:, :8, :8])
    with pytest.raises(ValueError, match="are 9 x 9 to train and 8 x 8 to test"):
        find_glyphs(str(folder))
    (folder / "train-images-idx3-ubyte").unlink()
    glyphs._images.cache_clear()
    with pytest.raises(ValueError, match="has no train-images-idx3-ubyte"):
        find_glyphs(str(folder))


def test_mnist_is_found() -> None:
    found = find_glyphs(str(real_data("mnist")))
    assert (found.side, found.num_train, found.num_test) == (28, 60_000, 10_000)
