"""Files of weights: right ones fill a model, all others are refused in one sentence."""

import hashlib
import json
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

from models import weights
from models.convnets import SqueezeNet
from models.weights import SQUEEZENET_NAMES, WeightsError, load_weights
from tasks.weights_told import told_by


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


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
@pytest.mark.parametrize("name", ["a\nb", "a" * 5000, "\x1b[2J"])
def test_a_name_of_any_length_and_characters_stays_one_sentence(
    suffix: str, name: str, tmp_path: Path
) -> None:
    sentence = refusal(written(tmp_path, suffix, Small().state_dict() | {name: torch.ones(1)}))
    assert sentence.isprintable()
    assert len(sentence) < 1000


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


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda value: value.to_sparse(), "is a sparse tensor (torch.sparse_coo)"),
        (lambda value: value.to_sparse_csr(), "is a sparse tensor (torch.sparse_csr)"),
        (lambda value: value.to("meta"), "there are no numbers in first.weight"),
        (lambda value: torch.nested.nested_tensor(list(value)), "is a nested tensor"),
        (
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            "is a quantised tensor",
        ),
        (lambda value: value.to(torch.complex64), "is a tensor of torch.complex64"),
        (lambda value: value.to(torch.float8_e4m3fn), "is a tensor of torch.float8_e4m3fn"),
        (lambda value: value.double() + 1e300, "can be had of first.weight in torch.float32"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.filterwarnings(
    "ignore:.*prototype stage", "ignore:.*beta state", "ignore:.*deprecated"
)
def test_a_tensor_that_is_none_of_plain_numbers_is_refused(
    made: Callable[[Tensor], Tensor], said: str, legacy: bool, tmp_path: Path
) -> None:
    saved = Small().state_dict()
    saved["first.weight"] = made(saved["first.weight"])
    path = tmp_path / "a.pth"
    # The old format has no numbers of 8 bits.
    new = not legacy or saved["first.weight"].dtype == torch.float8_e4m3fn
    torch.save(saved, path, _use_new_zipfile_serialization=new)
    sentence = refusal(path)
    assert str(path) in sentence
    if not (legacy and "nested" in said):  # whose sizes torch takes before it has read them
        assert f"{path} does not fit Small: " in sentence
        assert said in sentence


def test_whole_numbers_that_the_model_cannot_hold_are_refused(tmp_path: Path) -> None:
    model = Small()
    model.second.num_batches_tracked = torch.tensor(0, dtype=torch.int32)  # type: ignore[assignment]
    saved = Small().state_dict() | {"second.num_batches_tracked": torch.tensor(2**32 + 1)}
    assert "of second.num_batches_tracked in torch.int32" in refusal(
        written(tmp_path, ".safetensors", saved), model
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tensors_that_share_their_numbers_become_the_models_own(
    device: str, tmp_path: Path
) -> None:
    saved, one = Small().state_dict(), torch.arange(4.0)
    saved |= {"first.bias": one, "second.bias": one, "second.weight": torch.ones(1).expand(4)}
    torch.save(saved, tmp_path / "a.pth")
    with torch.device(device):
        model = Small()
    load_weights(model, tmp_path / "a.pth")
    with torch.no_grad():
        model.first.bias += 1
        model.second.weight[0] = 5
    assert model.second.bias.tolist() == [0, 1, 2, 3]
    assert model.second.weight.tolist() == [5, 1, 1, 1]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_model_is_not_altered_by_what_becomes_of_the_file(
    suffix: str, device: str, tmp_path: Path
) -> None:
    saved = Small().state_dict()
    path = written(tmp_path, suffix, saved)
    with torch.device(device):
        model = Small()
    load_weights(model, path)
    with path.open("r+b") as file:  # in place, as cp and rsync --inplace do
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_a_flipped_bit_of_a_number_is_told_by_the_checksum(suffix: str, tmp_path: Path) -> None:
    saved = Small().state_dict() | {"first.bias": torch.tensor([1.0, 2.0, 3.0, 4.25])}
    path = written(tmp_path, suffix, saved)
    content, numbers = path.read_bytes(), saved["first.bias"].numpy().tobytes()
    place = content.index(numbers)
    path.write_bytes(content[: place + 2] + bytes([content[place + 2] ^ 1]) + content[place + 3 :])
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_pth_that_unpacks_to_any_size_is_refused_unread(kind: int, tmp_path: Path) -> None:
    path = written(tmp_path, ".pth", Small().state_dict())
    packed = tmp_path / "b.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", kind) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member) + bytes(2**18))
    assert "is packed, as torch packs nothing" in refusal(packed)


def test_an_npz_whose_arrays_are_not_all_there_is_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ".npz", Small().state_dict())
    twice, behind, packed = (tmp_path / f"{name}.npz" for name in ("twice", "behind", "packed"))
    with zipfile.ZipFile(path) as old:
        members = {member.filename: old.read(member) for member in old.infolist()}
    with zipfile.ZipFile(twice, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate"):
            new.writestr("first.bias.npy", members["first.bias.npy"])
    assert "first.bias is there twice" in refusal(twice)
    with zipfile.ZipFile(behind, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content + bytes(100))
    assert "goes on behind its numbers" in refusal(behind)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as new:
        for name, content in members.items():
            new.writestr(name, content)
    assert "is packed in a way that NumPy does not pack" in refusal(packed)


def header(length: int, content: object) -> bytes:
    text = json.dumps(content).encode()
    return (length or len(text)).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        header(2**40, {}),
        header(2**24 + 1, {}) + b" " * 2**24,
        header(0, {"first.weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}}),
        header(0, {"first.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}}) + bytes(8),
        header(0, {"first.weight": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 8]}}) + bytes(8),
        header(0, {"first.weight": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}) + bytes(8),
        header(0, {"__metadata__": {"task": 5}}),
        header(0, []),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert str(path) in refusal(path)
    told_by(path)  # says what it can, and raises nothing


def test_what_is_no_file_is_no_weights(tmp_path: Path) -> None:
    pipe, zeros, hole = (tmp_path / f"{name}.pth" for name in ("pipe", "zeros", "hole"))
    os.mkfifo(pipe)
    zeros.symlink_to("/dev/zero")
    with hole.open("wb") as sink:
        sink.truncate(2**40)
    for path in (pipe, zeros, hole):
        assert f"the weights {path} are no file, or one of more than 64 GiB" in refusal(path)


def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, ".npz", Small().state_dict())
    read = weights._read_npz

    def and_written(path: Path, limit: int) -> dict[str, Tensor]:
        found = read(path, limit)
        path.write_bytes(path.read_bytes() + b"\0")
        return found

    monkeypatch.setattr(weights, "_READERS", {".npz": and_written})
    assert f"{path} was written to while it was read" in refusal(path)


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
