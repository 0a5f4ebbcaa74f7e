"""Images in the idx format of MNIST, plain or gzipped.

An idx file is: two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, each
dimension as a big-endian 32-bit number, then the bytes, last dimension first to change (LeCun's MNIST page).
"""

from __future__ import annotations

import gzip
import math
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNSIGNED_BYTES = 8
GZIP = b"\x1f\x8b"
MOST_BYTES = 2**30
"""More than any file of glyphs has; nothing larger is read, packed or not. A gzipped megabyte can unpack to so much."""
PIECE_BYTES = 2**22
"""Unpacked at once."""


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read a file of unsigned bytes.

    Args:
        path: the file, gzipped or not, whatever its name says.
        dimensions: how many the array must have: 3 for images (N, Y, X), 1 for labels (N,).

    Raises:
        ValueError: in one sentence that names the file: it cannot be read, is no idx file, is of another type or
            number of dimensions, is cut short, or goes on behind its end.
    """
    import numpy as np

    start = 4 + 4 * dimensions
    with _opened(path) as source:
        head = _read(path, source, start)
        if len(head) < 4 or head[:2] != b"\0\0":
            raise ValueError(
                f"{path} is no idx file: it begins with {head[:4].hex(' ') or 'nothing'} instead of 00 00 08 {dimensions:02x}"
            )
        kind, found = head[2], head[3]
        if kind != UNSIGNED_BYTES or found != dimensions:
            raise ValueError(
                f"{path} is an idx file of type {kind} with {found} dimensions: images are of type 8 (unsigned bytes) with 3, "
                f"labels with 1, and here {dimensions} are needed"
            )
        if len(head) < start:
            raise ValueError(
                f"{path} was cut short: its header ends after {len(head)} of {start} bytes"
            )
        shape = struct.unpack(f">{dimensions}I", head[4:])
        said = f"its header says {' x '.join(map(str, shape))}"
        wanted = math.prod(shape)
        if wanted > MOST_BYTES:
            raise ValueError(
                f"{path} would hold more than {MOST_BYTES:,} bytes, as {said}: no file of glyphs is so large"
            )
        content = _read(path, source, wanted)
        if len(content) < wanted:
            raise ValueError(
                f"{path} was cut short: {said}, that is {start + wanted} bytes, and there are {start + len(content)}"
            )
        if _read(path, source, 1):
            raise ValueError(
                f"{path} goes on behind its end: {said}, that is {start + wanted} bytes, and there are more"
            )
    if not wanted:
        raise ValueError(f"{path} is empty: {said}")
    array = np.frombuffer(content, dtype=np.uint8).reshape(shape)
    array.setflags(write=False)
    return array


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, unpacked where it is packed."""
    try:
        if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
            raise ValueError(f"{path} is no file, but a pipe or a device")
        source = path.open("rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    with source:
        packed = source.read(2) == GZIP
        source.seek(0)
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=source)) if packed else source


def _read(path: Path, source: IO[bytes], most: int) -> bytearray:
    """So many bytes, or those that there are: memory is taken for what is there, not for what a header says."""
    content = bytearray()
    try:
        while len(content) < most:
            piece = source.read(min(PIECE_BYTES, most - len(content)))
            if not piece:
                break
            content += piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path} was cut short or altered: it cannot be unpacked ({error})"
        ) from None
    except MemoryError:
        raise ValueError(
            f"{path} is larger than the memory that is free: {len(content):,} bytes of it were read"
        ) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    return content
