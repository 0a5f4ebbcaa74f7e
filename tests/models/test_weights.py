"""Files of weights: right ones fill a model, all others are refused in one sentence."""

import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.convnets import SqueezeNet
from models.weights import SQUEEZENET_NAMES, WeightsError, load_weights


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.BatchNorm1d(4)  # has an integer buffer too


def write_torch(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path)


def write_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    np.savez(path, **{name: each.numpy() for name, each in tensors.items()})


WRITERS: dict[str, Callable[[Path, dict[str, Tensor]], None]] = {
    ".pth": write_torch,
    ".pt": write_torch,
    ".safetensors": lambda path, tensors: save_file(tensors, path),
    ".npz": write_npz,
}


def written(folder: Path, suffix: str, tensors: dict[str, Tensor]) -> Path:
    path = folder / f"weights{suffix}"
    WRITERS[suffix](path, tensors)
    return path


def refusal(path: Path, model: nn.Module | None = None, **options: Any) -> str:
    """The sentence that refuses a file; the model must be as it was."""
    model = model or Small()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(model, path, **options)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_file_fills_the_model_and_its_sha256_is_told(
    suffix: str, device: str, tmp_path: Path
) -> None:
    saved = Small().state_dict()
    path = written(tmp_path, suffix, saved)
    with torch.device(device):
        model = Small()
    digest = load_weights(model, path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_weights(model, path, expect=digest) == digest
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_a_state_dict_may_stand_in_a_checkpoint(tmp_path: Path) -> None:
    saved, model = Small().state_dict(), Small()
    torch.save({"state_dict": saved, "epoch": 90}, tmp_path / "a.pth")
    load_weights(model, tmp_path / "a.pth")
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_half_precision_is_widened_to_the_models(tmp_path: Path) -> None:
    saved = {
        name: each.half() if each.is_floating_point() else each
        for name, each in Small().state_dict().items()
    }
    model = Small()
    load_weights(model, written(tmp_path, ".safetensors", saved))
    assert model.first.weight.dtype == torch.float32
    assert torch.equal(model.first.weight, saved["first.weight"].float())


@pytest.mark.parametrize("suffix", WRITERS)
def test_missing_and_unexpected_keys_are_named_and_counted(suffix: str, tmp_path: Path) -> None:
    saved = Small().state_dict()
    del saved["first.weight"]
    saved |= {f"other{index}": torch.ones(1) for index in range(5)}
    sentence = refusal(written(tmp_path, suffix, saved))
    assert "does not fit Small: 1 of its keys are missing (first.weight)" in sentence
    assert "5 of its keys are unexpected (other0, other1, other2, and 2 more)" in sentence


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_wrong_shape_is_told_with_the_right_one(suffix: str, tmp_path: Path) -> None:
    saved = Small().state_dict() | {"first.weight": torch.ones(3, 4)}
    sentence = refusal(written(tmp_path, suffix, saved))
    assert "does not fit Small: first.weight is (3, 4) instead of (4, 3)" in sentence


def test_numbers_of_another_kind_or_not_finite_are_refused(tmp_path: Path) -> None:
    saved = Small().state_dict()
    integers = saved | {"first.bias": torch.ones(4, dtype=torch.int64)}
    assert "first.bias is torch.int64 instead of torch.float32" in refusal(
        written(tmp_path, ".pth", integers)
    )
    holes = saved | {"first.bias": torch.tensor([0.0, 1.0, float("nan"), 2.0])}
    assert "not every number is finite in first.bias" in refusal(written(tmp_path, ".pth", holes))


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_file_cut_short_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    path = written(tmp_path, suffix, Small().state_dict())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert f"{path} is damaged, or no {suffix} file of plain tensors" in refusal(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_of_something_else_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    for content in (b"<!DOCTYPE html>not found", bytes(range(256)) * 20):
        path.write_bytes(content)
        assert "is damaged, or no" in refusal(path)


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"a": 1}, {1: torch.ones(1)}])
def test_a_pickle_that_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert "holds no state dict" in refusal(tmp_path / "a.pth")


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(legacy: bool, tmp_path: Path) -> None:
    mark = tmp_path / "was-here"
    path = tmp_path / "a.pth"
    content = {"first.weight": torch.ones(4, 3), "x": Hostile(f"touch {mark}")}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert "no .pth file of plain tensors" in refusal(path)
    path.write_bytes(pickle.dumps(Hostile(f"touch {mark}")))
    assert "no .pth file of plain tensors" in refusal(path)
    assert not mark.exists()


def test_an_npz_of_objects_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was-here"
    np.savez(tmp_path / "a.npz", x=np.array([Hostile(f"touch {mark}")], dtype=object))
    assert "an array of object where numbers are wanted" in refusal(tmp_path / "a.npz")
    assert not mark.exists()


def test_an_npz_that_claims_more_than_the_model_holds_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert "up to x.npy it has 1099511627776 numbers, the whole model" in refusal(path)


def test_a_file_that_is_not_there_or_of_no_known_kind_is_told(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "a.pth")
    assert "must end in .pth, .pt, .safetensors, .npz" in refusal(tmp_path / "a.caffemodel")


def test_another_file_than_expected_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"garbage")
    assert "it is another file than was asked for" in refusal(path, expect="0" * 64)


def test_the_table_of_squeezenets_names_is_whole_and_one_to_one() -> None:
    with torch.device("meta"):
        ours = SqueezeNet().state_dict()
    assert sorted(SQUEEZENET_NAMES.values()) == sorted(ours)
    assert len(SQUEEZENET_NAMES) == 52
    for theirs, name in {
        "conv1/w": "features.0.weight",
        "fire2/squeeze/b": "features.3.squeeze.bias",
        "fire5/e1/w": "features.7.expand1x1.weight",
        "fire8/e3/b": "features.10.expand3x3.bias",
        "fire9/e3/w": "features.12.expand3x3.weight",
        "conv10/b": "classifier.1.bias",
    }.items():
        assert SQUEEZENET_NAMES[theirs] == name


def test_caffes_names_are_turned_into_ours_and_ask_for_caffes_padding(tmp_path: Path) -> None:
    saved = SqueezeNet(5).state_dict()
    path = written(
        tmp_path, ".npz", {theirs: saved[ours] for theirs, ours in SQUEEZENET_NAMES.items()}
    )
    model = SqueezeNet(5, conv10_padding=1)
    load_weights(model, path)
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert "build it with conv10_padding=1" in refusal(path, SqueezeNet(5))
