"""Rows of a dataset in an HDF5 file that others wrote, read by a process of its own.

libhdf5 trusts what it reads: a damaged file can end its process, keep it busy for ever or have it ask for any amount of memory.
So a process with limits reads, and whoever asked is told in one sentence what came of it. All numbers are those of this very
file: links, external storage and virtual datasets, which lead out of it, are refused, and so is what was never written.

Shapes: R rows of the dataset, N of them in a piece, D numbers of a row.
"""

import json
import math
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from h5py import Dataset, File

PIECE_BYTES = 2**26
"""Of rows that are read at once."""
MOST_ROW_BYTES = 2**26
MOST_CHUNK_BYTES = 2**30
"""A chunk is read whole, and unpacked."""
MEMORY_BYTES = 2**32
"""That the process may ask for beyond what it has when it begins."""
CPU_S = 120
"""Seconds that it may compute on one answer."""
PATIENCE_S = 300
"""Seconds that it may take for one answer."""
COPY_AGAIN = "copy it again from where it came"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A dataset whose file is open in another process."""

    path: Path
    dataset: str
    shape: tuple[int, int]
    """R, D."""
    dtype: str
    """As NumPy spells it, byte order included."""
    lane: Connection
    reader: SpawnProcess

    def pieces(self, start: int, count: int) -> Iterator[NDArray[np.floating]]:
        """Rows from `start` on, in pieces (N, D) of PIECE_BYTES at most, or of one row.

        Raises:
            ValueError: when they cannot be read, naming the file.
        """
        at_once = rows_at_once(self.shape[1], self.dtype)
        for first in range(start, start + count, at_once):
            rows = min(at_once, start + count - first)
            with suppress(BrokenPipeError):  # it has ended: its answer says how
                self.lane.send_bytes(json.dumps([first, rows]).encode())
            _answer(self.path, self.lane, self.reader)
            content = self.lane.recv_bytes()
            yield np.frombuffer(content, self.dtype).reshape(rows, self.shape[1])


def rows_at_once(width: int, dtype: str) -> int:
    """Rows of a piece."""
    return max(1, PIECE_BYTES // (width * np.dtype(dtype).itemsize))


@contextmanager
def opened(path: Path, dataset: str) -> Iterator[Rows]:
    """Have a process open a file and look at a dataset.

    Args:
        path: of the HDF5 file.
        dataset: its name, with the groups that it lies in.

    Raises:
        ValueError: when there is no such file or dataset, it is none of rows of floating-point numbers, it leads out of the
            file, not all of it was ever written, or libhdf5 crashes, hangs or asks for too much memory over it.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file: name the HDF5 file with the dataset {dataset}")
    # Not forked: this process may have threads, and libraries in any state.
    context = get_context("spawn")
    lane, theirs = context.Pipe()
    reader = context.Process(
        target=_serve, args=(path, dataset, theirs), name="HDF5 reader", daemon=True
    )
    try:
        reader.start()
        # With the only other end in the reader, its death is the end of the pipe.
        theirs.close()
        told = _answer(path, lane, reader)
        yield Rows(
            path=path, dataset=dataset, shape=(int(told["rows"]), int(told["width"])), dtype=str(told["dtype"]), lane=lane,
            reader=reader,
        )  # fmt: skip
    finally:
        lane.close()
        if reader.pid is not None:
            reader.kill()
            reader.join()


def _answer(path: Path, lane: Connection, reader: SpawnProcess) -> dict[str, int | str]:
    """What the reader says next.

    Raises:
        ValueError: when it refuses the file, or ends or hangs over it.
    """
    if not lane.poll(PATIENCE_S):
        raise ValueError(
            f"{path} was not read within {PATIENCE_S} s: libhdf5 hangs over it, or its disk does; {COPY_AGAIN}"
        )
    try:
        told = cast("dict[str, int | str]", json.loads(lane.recv_bytes()))
    except (EOFError, OSError):
        reader.join()
        raise ValueError(
            f"{path} ended the process that read it ({_ending(reader.exitcode)}): it is damaged in a way that libhdf5 does not "
            f"get over; {COPY_AGAIN}"
        ) from None
    if "refused" in told:
        raise ValueError(str(told["refused"]))
    return told


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


# ---- in the process that reads


def _serve(path: Path, dataset: str, lane: Connection) -> None:
    """Describe the dataset, then answer questions for rows until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's to answer
    import h5py  # before there are limits: a library takes as much as it takes

    limited()
    try:
        with reading(path):
            file = h5py.File(path, "r")
        rows_RD = checked(path, file, dataset)
        (rows, width), dtype = rows_RD.shape, rows_RD.dtype.str
        lane.send_bytes(json.dumps({"rows": rows, "width": width, "dtype": dtype}).encode())
        while True:
            first, count = json.loads(lane.recv_bytes())
            more_time()
            piece_ND = read(path, rows_RD, first, count)
            lane.send_bytes(b"{}")
            lane.send_bytes(piece_ND.data.cast("B"))
    except ValueError as error:
        lane.send_bytes(json.dumps({"refused": str(error)}).encode())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    # Not through libhdf5, which would tidy up what a damaged file has left of it.
    os._exit(0)


def limited() -> None:
    """Limit this process's memory and time, and have it leave no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    more_time()


def more_time() -> None:
    """Let this process compute for CPU_S from now on; then SIGXCPU ends it, even where nobody waits for it any more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used.ru_utime + used.ru_stime) + CPU_S
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Whatever libhdf5 and h5py raise over a file as one sentence."""
    try:
        yield
    except MemoryError:
        raise ValueError(
            f"{path} claims what would take more than {MEMORY_BYTES >> 30} GiB of memory to read: it is damaged, so {COPY_AGAIN}"
        ) from None
    except Exception as error:
        # A damaged header comes out as nearly any exception; to the user they are all the same.
        said = (str(error).strip("'\" \n") or type(error).__name__).splitlines()[0][:200]
        raise ValueError(
            f"{what} of {path} cannot be read ({said}): {COPY_AGAIN}"
            if what
            else f"{path} is no whole HDF5 file ({said}): {COPY_AGAIN}"
        ) from error


def read(path: Path, rows_RD: "Dataset", first: int, count: int) -> NDArray[np.floating]:
    """Rows of a checked dataset, (`count`, D).

    Raises:
        ValueError: when they cannot be read.
    """
    with reading(path, f"rows {first} to {first + count - 1}"):
        return np.ascontiguousarray(rows_RD[first : first + count])


def checked(path: Path, file: "File", dataset: str) -> "Dataset":
    """A dataset of a file, if it is one of rows of floating-point numbers, and all of it lies in the file.

    Raises:
        ValueError: saying what it is instead.
    """
    with reading(path, f"the dataset {dataset!r}"):
        found = _found(file, dataset)
        problem = "" if isinstance(found, str) else _problem(path, found)
    if isinstance(found, str):
        raise ValueError(f"{path} {found}")  # noqa: TRY004 - a file's content, not an argument's type
    if problem:
        raise ValueError(f"{dataset} of {path} {problem}")
    return found


def _found(file: "File", dataset: str) -> "Dataset | str":
    """The dataset of a name, or why there is none. Each step to it has to be a hard link: no other leads out of a file."""
    import h5py

    place: h5py.Group | h5py.Dataset = file
    for step in dataset.split("/"):
        if not step:
            continue
        if not isinstance(place, h5py.Group) or not place.id.links.exists(step.encode()):
            place = file
            break
        kind = place.id.links.get_info(step.encode()).type
        if kind == h5py.h5l.TYPE_EXTERNAL:
            other = place.get(step, getlink=True).filename
            return f"has {dataset!r} in another file ({other!r}), which is not read: name that file"
        if kind != h5py.h5l.TYPE_HARD:
            return f"has {dataset!r} by a link ({step!r}), which is not followed: name the dataset itself"
        place = place[step]
    if isinstance(place, h5py.Dataset):
        return place
    return f"has no dataset {dataset!r}: it has {', '.join(list(file)[:20]) or 'nothing'}"


def _problem(path: Path, rows_RD: "Dataset") -> str:
    """Why a dataset is not read; empty if it can be."""
    return _no_rows(rows_RD) or _elsewhere(rows_RD) or _unwritten(path, rows_RD)


def _no_rows(rows_RD: "Dataset") -> str:
    """Why a dataset holds no rows of floating-point numbers as processors have them; empty if it does."""
    from h5py import h5t

    dtype = rows_RD.dtype
    if rows_RD.shape is None or rows_RD.ndim != 2 or rows_RD.shape[1] < 1 or dtype.kind != "f":
        return f"is {dtype} {rows_RD.shape}: rows of floating-point features are needed"
    kinds = (
        h5t.IEEE_F16LE, h5t.IEEE_F16BE, h5t.IEEE_F32LE, h5t.IEEE_F32BE, h5t.IEEE_F64LE, h5t.IEEE_F64BE,
    )  # fmt: skip
    stored = rows_RD.id.get_type()
    if not any(stored.equal(kind) for kind in kinds):
        # libhdf5 would turn its bits into other numbers: a float of this size has another exponent or sign than all others.
        return (
            "is of a floating-point type of its own: rows of float16, float32 or float64 are needed"
        )
    if rows_RD.shape[1] * dtype.itemsize > MOST_ROW_BYTES:
        return f"claims {rows_RD.shape[1]} numbers a row: more than any feature has"
    return ""


def _elsewhere(rows_RD: "Dataset") -> str:
    """Where else than in this file numbers of a dataset lie; empty if nowhere."""
    from h5py import h5d

    made = rows_RD.id.get_create_plist()
    if made.get_external_count():
        return "has its numbers in another file (external storage), which is not read: copy it with h5repack"
    if made.get_layout() not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        return "is a virtual dataset, whose numbers lie elsewhere and are not read: copy them into one dataset"
    return ""


def _unwritten(path: Path, rows_RD: "Dataset") -> str:
    """Which part of a dataset was never written, and would be read as zeros; empty if none."""
    from h5py import h5d

    layout, claimed = rows_RD.id.get_create_plist().get_layout(), rows_RD.size * rows_RD.dtype.itemsize  # fmt: skip
    if layout == h5d.CHUNKED:
        chunk = rows_RD.chunks
        if math.prod(chunk) * rows_RD.dtype.itemsize > MOST_CHUNK_BYTES:
            return f"has chunks of {chunk} numbers, more than are read at once: write it in smaller ones"
        chunks = math.prod(
            -(-size // part) for size, part in zip(rows_RD.shape, chunk, strict=True)
        )
        there = rows_RD.id.get_num_chunks()
        if there < chunks:
            return f"has {there} of its {chunks} chunks: whoever wrote it did not finish, so write it again"
    elif layout == h5d.CONTIGUOUS and claimed:
        offset = rows_RD.id.get_offset()
        if offset is None:
            return "was never written: whoever made it did not finish, so write it again"
        if offset + claimed > path.stat().st_size:
            return f"claims {claimed} bytes, and the file ends before them: {COPY_AGAIN}"
    return ""
