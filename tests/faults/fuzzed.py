"""Files that are altered and then read: HDF5, weights and stores of features; one child process tries many.

Run as a module by `fuzz_files`, which says on standard input what to read, as JSON: a seed, a folder to work in, pairs of a
subject's name and an input's number, and whether HDF5 is read as in the program, by a process of its own. It answers with a line
before each input, and one with what came of it.
"""

import io
import json
import shutil
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tasks.data import hdf5_rows, hidden6
from tasks.data.feature_plan import StoreError, StorePlan
from tasks.data.features import FeatureStore
from tasks.data.hidden6 import Source, import_hidden6
from tasks.data.made_of import labels_carried
from tests.faults.mutations import Draw, another, damaged, rewritten
from tests.tasks.feature_sets import features_of, small_plan, write_all

FRAMES = (3, 9, 20, 8)
ROWS = np.random.default_rng(1).standard_normal((sum(FRAMES), 6)).astype("<f4")
MEMORY_BYTES, CPU_S = 2**30, 30


class Wrong(Exception):
    """What came of an input must not."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A kind of file."""

    make: Callable[[Draw, Path], None]
    """Puts an altered input into a folder."""
    attempt: Callable[[Path], bool]
    """Reads it: whether it holds the numbers of the file that it was made from."""
    refuses: Callable[[], tuple[type[Exception], ...]]
    """The errors that name a file."""
    told: bool
    """Whether checksums tell every altered number; else others are those of another file, with an identity of its own."""


# ---- HDF5


def hdf5(how: str) -> bytes:
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="latest" if how == "latest" else None) as file:
        more: dict[str, Any] = {}
        if how in ("packed", "latest"):
            more = {"chunks": (7, 6), "compression": 4, "shuffle": True, "fletcher32": True}
        if how == "chunked":
            more = {"chunks": (5, 4), "maxshape": (None, None)}
        rows_RD = file.create_dataset("group/hidden6", data=ROWS, **more)
        rows_RD.attrs["made by"] = "somebody"
        file.create_dataset("other", data=np.arange(9))
        file["group/soft"] = h5py.SoftLink("/other")
        file["group/away"] = h5py.ExternalLink("other.h5", "hidden6")
    return memory.getvalue()


def hdf5_input(how: str) -> Callable[[Draw, Path], None]:
    def make(draw: Draw, folder: Path) -> None:
        content = hdf5(how)
        (folder / "in.h5").write_bytes(damaged(draw, content, most=min(3000, len(content))))
        write_texts(folder)

    return make


def bomb_input(draw: Draw, folder: Path) -> None:
    """A chunk of 960 bytes whose packed form unpacks to a megabyte, or now and then to 8 GiB, of which libhdf5 would take all."""
    import h5py

    packer = zlib.compressobj(9)
    begin = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    times = 2**13 if draw.random() < 0.02 else int(draw.integers(1, 9))
    with h5py.File(folder / "in.h5", "w") as file:
        rows_RD = file.create_dataset(
            "group/hidden6", (sum(FRAMES), 6), "<f4", chunks=(40, 6), compression=9
        )
        rows_RD.id.write_direct_chunk((0, 0), begin + zeros * times + packer.flush())
    write_texts(folder)


def texts() -> dict[str, str]:
    return {
        "labels": "".join(f"{label}\n" for label in (1, 0, 2, 1)),
        "num_frames": "".join(f"{frames}\n" for frames in FRAMES),
        "names": "".join(f"{name}\n" for name in ("a", "b c", "ü", "d/e.avi")),
    }


def write_texts(folder: Path) -> None:
    for name, text in texts().items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


@contextmanager
def opened_here(path: Path, dataset: str) -> Iterator[Any]:
    """`hdf5_rows.opened` without a process of its own: this one is a child already."""
    import h5py

    with hdf5_rows.reading(path):
        file = h5py.File(path, "r")
    try:
        rows_RD = hdf5_rows.checked(path, file, dataset)

        def pieces(start: int, count: int) -> Iterator[Any]:
            yield hdf5_rows.read(path, rows_RD, start, count)

        yield SimpleNamespace(shape=rows_RD.shape, dtype=rows_RD.dtype.str, pieces=pieces)
    finally:
        with suppress(Exception):  # a damaged file may not close either
            file.close()


def imported(folder: Path) -> bool:
    source = Source(
        hdf5=folder / "in.h5", labels=folder / "labels.txt", num_frames=folder / "num_frames.txt",
        names=folder / "names.txt", dataset="group/hidden6",
    )  # fmt: skip
    store = folder / "store"
    plan = import_hidden6(source, store, shard_bytes=400).plan
    with FeatureStore.open(store, expect=plan.identity) as features:
        features.verify()
        found = [features.frames(video) for video in features.videos]
    if plan.made_of["hdf5_sha256"] != sha256(source.hdf5.read_bytes()).hexdigest():
        raise Wrong("the store has the digest of another file")
    return plan.dtype == "float32" and b"".join(each.tobytes() for each in found) == ROWS.tobytes()


def text_input(draw: Draw, folder: Path) -> None:
    write_texts(folder)
    (folder / "in.h5").write_bytes(hdf5("plain"))
    name = ["labels", "num_frames", "names"][draw.integers(3)]
    path = folder / f"{name}.txt"
    if draw.random() < 0.5:
        path.write_bytes(damaged(draw, path.read_bytes()))
        return
    lines = texts()[name].splitlines()
    odd = [
        "",
        "9" * 18,
        "9" * 5000,
        "-1",
        "1e3",
        "0x1",
        "1.0",
        "٣",
        "\0",
        "a" * 300,
        "../x",
        "a\tb",
        "nan",
        "1 2",
    ]
    lines[draw.integers(len(lines))] = odd[draw.integers(len(odd))]
    path.write_text("\n".join(lines), encoding="utf-8")


def made_of_input(draw: Draw, folder: Path) -> None:
    seen = {"set_name": "ucf101", "index": "0" * 64, "videos": "1" * 64, "split": 1}
    text = json.dumps(
        {
            "format": 1,
            "set_name": "ucf101",
            "percepts": "2" * 64,
            "made_of": {"convnet": {"name": "vgg16", "trained_on": seen}, "videos": "3" * 64},
        }
    ).encode()
    altered = rewritten(draw, text) if draw.random() < 0.6 else damaged(draw, text)
    (folder / "made_of.json").write_bytes(altered)


def carried(folder: Path) -> bool:
    seen = labels_carried(folder / "in.h5", "4" * 64)
    StorePlan.cut(seen, [("a", 1)], 4)  # where it goes
    return True


# ---- stores


def store_input(draw: Draw, folder: Path) -> None:
    plan = small_plan()
    write_all(folder / "store", plan, features_of(plan))
    names = ["store.json", "shard-00000.safetensors", "shard-00001.safetensors"]
    path = folder / "store" / names[draw.integers(3)]
    path.write_bytes(damaged(draw, path.read_bytes(), most=1200))


def claims_input(draw: Draw, folder: Path) -> None:
    """A store.json that adds up, of a store that does not."""
    plan = small_plan()
    write_all(folder / "store", plan, features_of(plan))
    path = folder / "store" / "store.json"
    fields = json.loads(path.read_bytes())
    del fields["identity"]
    for _ in range(int(draw.integers(1, 3))):
        found = another(draw, fields)
        fields = found if isinstance(found, dict) else fields
    try:
        made = StorePlan(**{name: value for name, value in fields.items() if name != "format"})
        path.write_bytes(made.encoded())
    except (TypeError, ValueError, LookupError):
        path.write_bytes(json.dumps({**fields, "identity": plan.identity}).encode())


def stored(folder: Path) -> bool:
    plan = small_plan()
    with FeatureStore.open(folder / "store") as store:
        store.verify()
        return all(
            store.frames(video).tobytes() == each.tobytes()
            for video, each in features_of(plan).items()
        )


# ---- weights


def model() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.second = nn.BatchNorm1d(4)

    return Small()


def weights(kind: str) -> bytes:
    import torch
    from safetensors.torch import save

    tensors = model().state_dict()
    sink = io.BytesIO()
    if kind == "safetensors":
        return save(tensors, {"task": json.dumps({"class": "TemporalStream", "split": 1})})
    if kind == "npz":
        np.savez(sink, **{name: each.numpy() for name, each in tensors.items()})
    elif kind == "packed.npz":
        np.savez_compressed(sink, **{name: each.numpy() for name, each in tensors.items()})
    else:
        torch.save(tensors, sink, _use_new_zipfile_serialization=kind != "old.pth")
    return sink.getvalue()


def weights_input(kind: str) -> Callable[[Draw, Path], None]:
    def make(draw: Draw, folder: Path) -> None:
        path = folder / f"in.{kind.rpartition('.')[2]}"
        path.write_bytes(damaged(draw, weights(kind)))

    return make


def members_input(kind: str) -> Callable[[Draw, Path], None]:
    """A member of a zip file altered, and the zip file made right again."""

    def make(draw: Draw, folder: Path) -> None:
        with (
            zipfile.ZipFile(io.BytesIO(weights(kind))) as old,
            zipfile.ZipFile(folder / f"in.{kind}", "w") as new,
        ):
            members = old.infolist()
            # The pickle more often than not.
            chosen = 0 if draw.random() < 0.6 else int(draw.integers(len(members)))
            for number, member in enumerate(members):
                content = old.read(member)
                new.writestr(
                    member.filename, damaged(draw, content) if number == chosen else content
                )

    return make


def header_input(draw: Draw, folder: Path) -> None:
    content = weights("safetensors")
    length = int.from_bytes(content[:8], "little")
    header = rewritten(draw, content[8 : 8 + length])
    if draw.random() < 0.5:  # whatever the header is about, the numbers begin where it ends
        header += b" " * (-len(header) % 8)
    told = len(header) + (0 if draw.random() < 0.8 else int(draw.integers(-9, 10)))
    begins = (max(0, told) % 2**64).to_bytes(8, "little")
    (folder / "in.safetensors").write_bytes(begins + header + content[8 + length :])


def loaded(folder: Path) -> bool:
    import torch

    from models.weights import load_weights
    from tasks.weights_told import told_by

    (path,) = folder.glob("in.*")
    told_by(path)
    wanted, filled = model().state_dict(), model()
    with torch.no_grad():
        for each in filled.state_dict().values():
            each.zero_()
    load_weights(filled, path)
    found = filled.state_dict()
    for name, value in found.items():
        if not torch.isfinite(value).all():
            raise Wrong(f"{name} is not finite")
    return all(torch.equal(found[name], value) for name, value in wanted.items())


def weights_error() -> tuple[type[Exception], ...]:
    from models.weights import WeightsError

    return (WeightsError,)


def value_error() -> tuple[type[Exception], ...]:
    return (ValueError,)


def store_error() -> tuple[type[Exception], ...]:
    return (StoreError,)


SUBJECTS = {
    **{
        f"HDF5, {how}": Subject(
            make=hdf5_input(how), attempt=imported, refuses=value_error, told=False
        )
        for how in ("plain", "chunked", "packed", "latest")
    },
    "HDF5, unpacking": Subject(
        make=bomb_input, attempt=imported, refuses=value_error, told=False
    ),
    "lists": Subject(make=text_input, attempt=imported, refuses=value_error, told=False),
    "made_of.json": Subject(
        make=made_of_input, attempt=carried, refuses=value_error, told=False
    ),
    "store": Subject(make=store_input, attempt=stored, refuses=store_error, told=True),
    "store that lies": Subject(
        make=claims_input, attempt=stored, refuses=store_error, told=False
    ),
    ".pth": Subject(make=weights_input("pth"), attempt=loaded, refuses=weights_error, told=True),
    ".pth, old": Subject(
        make=weights_input("old.pth"), attempt=loaded, refuses=weights_error, told=False
    ),
    ".pth, its members": Subject(
        make=members_input("pth"), attempt=loaded, refuses=weights_error, told=False
    ),
    ".npz": Subject(make=weights_input("npz"), attempt=loaded, refuses=weights_error, told=True),
    ".npz, packed": Subject(
        make=weights_input("packed.npz"), attempt=loaded, refuses=weights_error, told=True
    ),
    ".npz, its members": Subject(
        make=members_input("npz"), attempt=loaded, refuses=weights_error, told=False
    ),
    ".safetensors": Subject(
        make=weights_input("safetensors"), attempt=loaded, refuses=weights_error, told=False
    ),
    ".safetensors, its header": Subject(
        make=header_input, attempt=loaded, refuses=weights_error, told=False
    ),
}  # fmt: skip


def outcome(subject: Subject, folder: Path) -> str:
    """What came of an input: refused, same, other; or, at fault, a sentence that begins otherwise."""
    try:
        same = subject.attempt(folder)
    except subject.refuses() as error:
        sentence = str(error)
        if "\n" in sentence or len(sentence) > 2000:
            return f"no sentence: {sentence[:300]!r}"
        return "refused" if str(folder) in sentence or "video " in sentence else f"names no file: {sentence}"  # fmt: skip
    except BaseException as error:  # noqa: BLE001 - which is what is looked for
        return f"{type(error).__name__}: {error}"
    if same:
        return "same"
    return "wrong: other numbers in spite of checksums" if subject.told else "other"


def draw_of(name: str, seed: int, number: int) -> Draw:
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])


def run(
    seed: int,
    folder: Path,
    inputs: Sequence[tuple[str, int]],
    tell: Callable[[str], None],
    *,
    whole: bool,
) -> None:
    """Make and read inputs, one after the other."""
    import h5py  # noqa: F401 - before memory is limited

    if any(name.startswith(".") for name, _ in inputs):
        import torch

        torch.set_num_threads(1)
    warnings.simplefilter("error")
    hdf5_rows.MEMORY_BYTES, hdf5_rows.CPU_S = MEMORY_BYTES, CPU_S
    if not whole:
        hidden6.opened = opened_here
        hdf5_rows.limited()
    for name, number in inputs:
        folder.mkdir()
        SUBJECTS[name].make(draw_of(name, seed, number), folder)
        tell("begun")
        if not whole:
            hdf5_rows.more_time()
        tell(json.dumps(outcome(SUBJECTS[name], folder)))
        shutil.rmtree(folder)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    run(
        asked["seed"],
        Path(asked["folder"]) / "in",
        asked["inputs"],
        partial(print, flush=True),
        whole=asked["whole"],
    )
