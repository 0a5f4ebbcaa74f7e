"""Weights from files: .pth and .pt of torch, .safetensors, and .npz of arrays.

A file fits whole or is refused, with what is wrong in one sentence; nothing in it is ever executed. Where the
model lies on torch's meta device, it takes the file's tensors as they are, and is never filled at random first.
"""

from __future__ import annotations

import hashlib
import math
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor, nn

from models.convnets import SqueezeNet
from models.percepts import WrappedConvnet

MOST_BYTES = 2**36
"""Of a file: more than any model that is built here has."""
MOST_HEADER = 2**24
"""Bytes of a .safetensors file's header; tasks/weights_told.py reads as many."""
_DTYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.bool,
)  # fmt: skip
"""Of numbers that can be checked and turned into the model's."""
SHOWN = 3
"""Names that a message lists before it only counts."""

_FIRES: Mapping[str, int] = {
    "fire2": 3, "fire3": 4, "fire4": 5, "fire5": 7, "fire6": 8, "fire7": 9, "fire8": 10, "fire9": 12,
}  # fmt: skip
_FIRE_PARTS: Mapping[str, str] = {"squeeze": "squeeze", "e1": "expand1x1", "e3": "expand3x3"}
_SQUEEZENET_LAYERS: Mapping[str, str] = {
    "conv1": "features.0",
    **{
        f"{fire}/{theirs}": f"features.{place}.{ours}"
        for fire, place in _FIRES.items()
        for theirs, ours in _FIRE_PARTS.items()
    },
    "conv10": "classifier.1",
}

SQUEEZENET_NAMES: Mapping[str, str] = {
    f"{theirs}/{short}": f"{ours}.{long}"
    for theirs, ours in _SQUEEZENET_LAYERS.items()
    for short, long in (("w", "weight"), ("b", "bias"))
}
"""Names of SqueezeNet 1.0's arrays in files made from Caffe's layers, and their names here."""


class WeightsError(Exception):
    """A file of weights that cannot be read or does not fit the model."""


def load_weights(model: nn.Module, path: Path, *, expect: str | None = None) -> str:
    """Fill a model from a file.

    Args:
        model: Its state dict's names and shapes are those the file must have, all of them and no others.
            Floating-point numbers are turned to the model's precision.
        path: .pth or .pt (a state dict, or one under "state_dict"), .safetensors or .npz.
        expect: sha256 that the file must have, checked before anything in it is looked at.

    Returns:
        sha256 of the file, hex.

    Raises:
        WeightsError: The file is missing, damaged, of another kind or another content than expected, holds
            anything but tensors, or does not fit. The model is then as it was.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise WeightsError(
            f"{path} is no file of weights that can be read: it must end in {', '.join(_READERS)}"
        )
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode) or before.st_size > MOST_BYTES:
            raise WeightsError(
                f"the weights {path} are no file, or one of more than {MOST_BYTES >> 30} GiB: name a file of weights"
            )
        with path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights {path} cannot be read ({error.strerror})") from None
    if expect is not None and digest != expect:
        raise WeightsError(
            f"the weights {path} have sha256 {digest[:16]}..., not {expect[:16]}...: it is another file than was asked "
            "for"
        )
    inner = model.module if isinstance(model, WrappedConvnet) else model
    wanted = inner.state_dict()
    try:
        found = reader(path, sum(each.numel() for each in wanted.values()))
        fitted = _fit(
            _named(found, inner, path), wanted, f"{path} does not fit {type(inner).__name__}"
        )
        after = path.stat()
    except WeightsError:
        raise
    except Exception as error:
        # Anything may come out of a parser that is fed garbage; to the user it is all the same.
        kind = f"{type(error).__name__}: {_first_line(error)}"
        raise WeightsError(
            f"{path} is damaged, or no {path.suffix} file of plain tensors ({kind}): copy it again from where it came"
        ) from error
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (
        after.st_ino, after.st_size, after.st_mtime_ns,
    ):  # fmt: skip
        raise WeightsError(f"{path} was written to while it was read: start again when it is whole")
    inner.load_state_dict(fitted, assign=any(each.is_meta for each in wanted.values()))
    return digest


def _named(found: Mapping[str, Tensor], model: nn.Module, path: Path) -> Mapping[str, Tensor]:
    """Caffe's names as ours."""
    if not isinstance(model, SqueezeNet) or found.keys().isdisjoint(SQUEEZENET_NAMES):
        return found
    if model.conv10_padding != 1:
        raise WeightsError(
            f"{path} has the weights of Caffe's SqueezeNet, which pads conv10 by 1: build it with conv10_padding=1"
        )
    return {SQUEEZENET_NAMES.get(name, name): value for name, value in found.items()}


def _fit(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], complaint: str
) -> dict[str, Tensor]:
    """Check names, shapes and values, and give the tensors in the model's precision."""
    problems = []
    for what, names in (
        ("missing", [name for name in wanted if name not in found]),
        ("unexpected", [name for name in found if name not in wanted]),
    ):
        if names:
            problems.append(f"{len(names)} of its keys are {what} ({_listed(names)})")
    if problems:
        way_out = (
            "its names have to be the model's own"
            if found.keys() & wanted.keys()
            else "it has the weights of another network, so name the right file"
        )
        raise WeightsError(f"{complaint}: {' and '.join(problems)}; {way_out}")
    other = [f"{name} {_strange(value)}" for name, value in found.items() if _strange(value)]
    if other:
        raise WeightsError(f"{complaint}: {_listed(other)}; save it as a plain tensor on the CPU")
    other = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if found[name].shape != value.shape
    ]
    if other:
        raise WeightsError(f"{complaint}: {_listed(other)}")
    other = [
        f"{name} is {found[name].dtype} instead of {value.dtype}"
        for name, value in wanted.items()
        if found[name].is_floating_point() != value.is_floating_point()
    ]
    if other:
        raise WeightsError(f"{complaint}: {_listed(other)}")
    other = [name for name, value in found.items() if value.is_meta]
    if other:
        raise WeightsError(f"{complaint}: there are no numbers in {_listed(other)}")
    other = [name for name, value in found.items() if not torch.isfinite(value).all()]
    if other:
        raise WeightsError(f"{complaint}: not every number is finite in {_listed(other)}")
    fitted: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in wanted.items():
        fitted[name] = _own(found[name], value.dtype, taken)
    other = [f"{name} in {value.dtype}" for name, value in fitted.items() if _overflows(found[name], value)]  # fmt: skip
    if other:
        raise WeightsError(f"{complaint}: not every number can be had of {_listed(other)}")
    return fitted


def _strange(value: Tensor) -> str:
    """What a tensor is that a file can hold and a model cannot take, and whose numbers nobody could look at."""
    if value.is_nested:
        return "is a nested tensor"
    if value.layout != torch.strided:
        return f"is a sparse tensor ({value.layout})"
    if value.is_quantized:
        return "is a quantised tensor"
    if value.device.type not in ("cpu", "meta"):
        return f"is a tensor on {value.device}"
    return "" if value.dtype in _DTYPES else f"is a tensor of {value.dtype}"


def _own(value: Tensor, dtype: torch.dtype, taken: set[int]) -> Tensor:
    """A plain tensor with numbers of its own: in a file two may share theirs, or be one number that is shown many times."""
    turned = value.detach().to(dtype)
    whole = turned.untyped_storage().nbytes() == turned.numel() * turned.element_size()
    if not whole or not turned.is_contiguous() or turned.data_ptr() in taken:
        turned = turned.clone(memory_format=torch.contiguous_format)
    taken.add(turned.data_ptr())
    return turned


def _overflows(value: Tensor, turned: Tensor) -> bool:
    """Whether numbers became others, more than floating-point numbers are rounded."""
    if value.dtype == turned.dtype:
        return False
    if turned.is_floating_point():
        return not bool(torch.isfinite(turned).all())
    return not torch.equal(turned.to(value.dtype), value)


def _listed(words: Sequence[str]) -> str:
    more = f", and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(map(_shown, words[:SHOWN])) + more


def _shown(word: str) -> str:
    """A word with a file's name of a tensor in it, which may be of any length and characters."""
    shown = word if word.isprintable() else repr(word)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return line.partition(". ")[0].rstrip(".")[:160]


def _read_torch(path: Path, limit: int) -> dict[str, Tensor]:
    with path.open("rb") as source:
        zipped = source.read(4) == b"PK\x03\x04"  # else of before torch 1.6, without checksums
    if zipped:
        _check_zip(path)
    # weights_only: an unpickler that knows tensors and plain containers, and calls nothing a file names.
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and type(value) in (Tensor, nn.Parameter)
        for name, value in content.items()
    ):
        raise WeightsError(f"{path} holds no state dict: a mapping from names to tensors is wanted")
    return dict(content)


def _check_zip(path: Path) -> None:
    """Hold all members against their checksums, which torch does not look at: a flipped bit would be another weight."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is packed, as torch packs nothing")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(
                f"the checksum of {damaged} differs; a file without checksums has to be saved again with "
                "torch.serialization.set_crc32_options(True)"
            )


def _read_safetensors(path: Path, limit: int) -> dict[str, Tensor]:
    from safetensors import safe_open

    with path.open("rb") as source:
        header = int.from_bytes(source.read(8), "little")
    if header > MOST_HEADER:
        raise ValueError(f"a header of {header} bytes")
    with safe_open(path, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping
        if (
            sum(map(math.prod, shapes.values())) > limit
        ):  # unread: what does not fit is told by names and shapes
            return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        # Copies: else they would be the file's own pages, and become other numbers when somebody writes over it.
        return {name: file.get_tensor(name).clone() for name in shapes}


def _read_npz(path: Path, limit: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    left = limit
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename} is packed in a way that NumPy does not pack")
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise ValueError(f"{name} is there twice")
            # The header first: a few bytes can claim, or be unpacked to, more than the machine's memory.
            with archive.open(member) as source:
                left -= math.prod(_npy_shape(source))
            if left < 0:
                raise WeightsError(
                    f"{path} does not fit: up to {_shown(member.filename)} it has {limit - left} numbers, the whole model {limit}"
                )
            with archive.open(member) as source:
                array = np.lib.format.read_array(source, allow_pickle=False)
                if source.read(1):  # at a member's end its checksum is looked at
                    raise ValueError(f"{name} goes on behind its numbers")
            found[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    return found


def _npy_shape(source: IO[bytes]) -> tuple[int, ...]:
    version = np.lib.format.read_magic(source)
    if version != (1, 0):  # of which a header has at most 64 KiB
        raise ValueError(f"npy version {version} is not read here")
    shape, _, dtype = np.lib.format.read_array_header_1_0(source)
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"an array of {dtype} where numbers are wanted")
    if any(size < 0 for size in shape):
        raise ValueError(f"an array of shape {shape}")
    return tuple(shape)


_READERS = {
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}
