"""Images in the idx format of MNIST, plain or gzipped.

An idx file is: two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, each
dimension as a big-endian 32-bit number, then the bytes, last dimension first to change (LeCun's MNIST page).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNSIGNED_BYTES = 8
GZIP = b"\x1f\x8b"
MOST_BYTES = 2**31
"""More than any file of glyphs has; nothing larger is read, packed or not."""


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

    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(
            f"{path} is no idx file: it begins with {content[:4].hex(' ') or 'nothing'} instead of 00 00 08 {dimensions:02x}"
        )
    kind, found = content[2], content[3]
    if kind != UNSIGNED_BYTES or found != dimensions:
        raise ValueError(
            f"{path} is an idx file of type {kind} with {found} dimensions: images are of type 8 (unsigned bytes) with 3, "
            f"labels with 1, and here {dimensions} are needed"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(
            f"{path} was cut short: its header ends after {len(content)} of {start} bytes"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    wanted = start + math.prod(shape)
    if len(content) != wanted:
        what = "was cut short" if len(content) < wanted else "goes on behind its end"
        raise ValueError(
            f"{path} {what}: its header says {' x '.join(map(str, shape))}, that is {wanted} bytes, and there are {len(content)}"
        )
    if not math.prod(shape):
        raise ValueError(f"{path} is empty: its header says {' x '.join(map(str, shape))}")
    array = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
    array.setflags(write=False)
    return array


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            packed = source.read(2) == GZIP
            source.seek(0)
            content = (gzip.GzipFile(fileobj=source) if packed else source).read(MOST_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path} was cut short or altered: it cannot be unpacked ({error})"
        ) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"{path} holds more than {MOST_BYTES:,} bytes: no file of glyphs is so large"
        )
    return content
