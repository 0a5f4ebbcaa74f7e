"""Moving digits as a dataset: what is trained on, what is tested on, and what each is called."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.cell import canonical
from tasks.data import moving_digits as module
from tasks.data.dataset import DrawnOnDevice
from tasks.data.moving_digits import moving_digits
from tests.real_data import real_data
from tests.tasks.test_glyphs import RUNES, folder_of

SHAPE = (20, 6, 64, 64)


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose glyphs pass for MNIST's, and where a small file may pass for the official one."""
    images = np.random.default_rng(0).integers(1, 256, size=(4, 28, 28))
    folder = folder_of(tmp_path, images[:3], images[3:])
    found = moving_digits(str(folder)).glyphs
    monkeypatch.setattr(module, "MNIST_TRAIN_SHA256", found.train_sha256)
    monkeypatch.setattr(module, "MNIST_TEST_SHA256", found.test_sha256)
    monkeypatch.setattr(module, "TEST_SHAPE", SHAPE)
    monkeypatch.setattr(module, "TEST_SHA256", "")
    return folder


def put_test_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    frames_TBYX = np.random.default_rng(2).integers(0, 256, size=SHAPE, dtype=np.uint8)
    path = folder / module.TEST_FILE
    np.save(path, frames_TBYX)
    monkeypatch.setattr(module, "TEST_SHA256", module._sha256(path))
    return frames_TBYX


def test_test_sequences_show_test_glyphs_and_training_sequences_training_glyphs(
    tmp_path: Path,
) -> None:
    ones = np.ones((2, 9, 9), dtype=int)
    data = moving_digits(str(folder_of(tmp_path, 200 * ones, 100 * ones)))
    levels = {
        "train": np.unique(data.unlabelled(3, range(20), 5) * 255),
        "test": np.unique(data.evaluation(range(20), 5) * 255),
    }
    assert levels["train"].tolist() == [0, 200]
    assert levels["test"].tolist() == [0, 100]


def test_a_sequence_is_a_function_of_seed_and_index() -> None:
    data = moving_digits()
    whole = data.unlabelled(5, range(12), 20)
    assert whole.shape == (20, 12, 32 * 32)
    assert whole.dtype == np.float32
    assert (whole.min(), whole.max()) == (0, 1)
    assert np.array_equal(whole[:, [7, 2]], data.unlabelled(5, [7, 2], 20))
    assert np.array_equal(whole[:4], data.unlabelled(5, range(12), 4))
    assert not np.array_equal(whole, data.unlabelled(6, range(12), 20))
    assert isinstance(data, DrawnOnDevice)
    assert torch.equal(data.unlabelled_on("cpu", 5, range(12), 20), torch.from_numpy(whole))
    tested = data.evaluation(range(12), 20)
    assert np.array_equal(tested[:, 3:5], data.evaluation([3, 4], 20))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "moving_digits"),
        ({"num_digits": 3}, "moving_digits_3"),
        ({"canvas": 40}, "moving_digits_40px"),
        ({"speed": "uniform"}, "moving_digits_uniform"),
    ],
)
def test_names_tell_sets_apart(changes: dict[str, object], name: str) -> None:
    assert moving_digits(**changes).name == name  # type: ignore[arg-type]


def test_only_mnist_itself_is_called_mnist(mnist: Path) -> None:
    assert moving_digits(str(mnist)).name == "mnist"
    assert moving_digits(str(mnist), num_digits=1).name == "moving_runes_1"
    assert moving_digits(str(mnist), canvas=96).name == "moving_runes_96px"
    assert moving_digits(str(mnist), speed="uniform").name == "moving_runes_uniform"


def test_other_pixels_under_the_name_mnist_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, RUNES[:3], RUNES[3:])
    named = folder.rename(tmp_path / "mnist")
    with pytest.raises(ValueError, match="are not MNIST's: get those with `harness data fetch"):
        moving_digits(str(named))


def test_real_mnist_is_known_by_its_pixels() -> None:
    data = moving_digits(str(real_data("mnist")))
    assert data.name == "mnist"
    assert data.frame_size == 4096


def test_glyphs_are_what_they_show_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = folder_of(tmp_path / "a", RUNES[:3], RUNES[3:])
    other = first.rename(tmp_path / "renamed")
    made = moving_digits(str(other))
    assert made.name == "moving_renamed"
    folder_of(tmp_path / "a", RUNES[:3], RUNES[3:])
    again = moving_digits(str(tmp_path / "a" / "runes"))
    assert json.dumps(canonical(made)) == json.dumps(canonical(again))
    altered = moving_digits(str(folder_of(tmp_path, RUNES[:2], RUNES[3:])))
    assert json.dumps(canonical(made)) != json.dumps(canonical(altered))


def test_the_official_file_is_used_where_it_is(
    mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert moving_digits(str(mnist)).test_file is None
    assert "not on the official" in moving_digits(str(mnist)).notes[1]
    frames_TBYX = put_test_file(mnist, monkeypatch)
    data = moving_digits(str(mnist))
    assert "official file" in data.notes[1]
    wanted = frames_TBYX[:7, 2:5].reshape(7, 3, -1).astype(np.float32) / np.float32(255)
    assert np.array_equal(data.evaluation(range(2, 5), 7), wanted)
    assert moving_digits(str(mnist), test_set="generated").test_file is None
    assert canonical(data) != canonical(moving_digits(str(mnist), test_set="generated"))
    # It shows two digits at one speed: whatever else is asked for is drawn.
    assert moving_digits(str(mnist), num_digits=3).test_file is None
    assert moving_digits(str(mnist), speed="uniform").test_file is None
    for indices, num_frames in ((range(2), 21), ([6], 20)):
        with pytest.raises(ValueError, match=r"6 sequences of 20 frames.*test_set=generated"):
            data.evaluation(indices, num_frames)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: np.save(path, np.zeros((20, 5, 64, 64), np.uint8)), r"array \(20, 5, 64, 64\) of uint8"),
        (lambda path: np.save(path, np.zeros(SHAPE, np.float32)), "of float32"),
        (lambda path: np.save(path, np.zeros(SHAPE, np.uint8)), "has sha256"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "or was cut short"),
        (lambda path: path.write_bytes(b"no array"), "no array in NumPy's format"),
        (lambda path: path.write_bytes(b""), "no array in NumPy's format"),
    ],
)  # fmt: skip
def test_another_file_in_its_place_is_refused_in_a_sentence(
    spoil: Callable[[Path], object], message: str, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_test_file(mnist, monkeypatch)
    spoil(mnist / module.TEST_FILE)
    for test_set in ("auto", "official"):
        with pytest.raises(ValueError, match=message) as caught:
            moving_digits(str(mnist), test_set=test_set)  # type: ignore[arg-type]
        assert "test_set=generated" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert moving_digits(str(mnist), test_set="generated").test_file is None


def test_a_file_changed_after_the_plan_is_not_read(
    mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_test_file(mnist, monkeypatch)
    data = moving_digits(str(mnist))
    np.save(mnist / module.TEST_FILE, np.zeros(SHAPE, np.uint8))
    with pytest.raises(ValueError, match="has sha256"):
        data.evaluation(range(2), 20)
    (mnist / module.TEST_FILE).unlink()
    with pytest.raises(ValueError, match="is gone"):
        data.evaluation(range(2), 20)


def test_asking_for_the_official_file_says_why_it_cannot_be(mnist: Path) -> None:
    with pytest.raises(ValueError, match="is not there: `harness data fetch moving-mnist-test`"):
        moving_digits(str(mnist), test_set="official")
    with pytest.raises(ValueError, match="other sequences are asked for"):
        moving_digits(test_set="official")
    with pytest.raises(ValueError, match="other sequences are asked for"):
        moving_digits(str(mnist), num_digits=1, test_set="official")
