"""Small files of other people's, read whole: lists, tables, settings, indexes. None of them may be endless."""

import stat
from pathlib import Path
from typing import BinaryIO

SHOWN = 120
"""Characters of a line or value that a sentence about it repeats."""
LONGEST = 4096 + 64
"""Characters of a line of a list, or a value of a table: a path, and a number behind it."""
MOST_BYTES = 2**28
"""Of a file that is read whole: lists of a million videos have fewer."""
PIECE_BYTES = 2**20


def read_whole(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file, if it is one and not larger than it could reasonably be.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        ValueError: when it is larger, or a pipe or a device, which may have no end.
        OSError: when it cannot be read.
    """
    if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
        raise ValueError(f"{path} is no file, but a pipe or a device: save what it gives as a file")
    with path.open("rb") as source:
        content = at_most(source, most + 1)  # whatever its size was said to be
    if len(content) > most:
        raise ValueError(
            f"{path} has more than {most:,} bytes, which no file of its kind has: see whether it is the one that was meant"
        )
    return content


def at_most(source: BinaryIO, most: int) -> bytes:
    """The next bytes of a file, no more than so many, in memory for those that there are: one read makes room for all it may get."""
    content = bytearray()
    while piece := source.read(min(PIECE_BYTES, most - len(content))):
        content += piece
    return bytes(content)


def quoted(value: object) -> str:
    """A value of a file, as a sentence may repeat it: `shown`, in quotes where it is text."""
    return f"'{shown(value)}'" if isinstance(value, str) else shown(repr(value))


def shown(text: str) -> str:
    """Text of a file, as a sentence may repeat it: short, and with nothing that a terminal obeys."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 4 :]}"
