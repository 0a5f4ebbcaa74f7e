"""One shard of a store of features: a safetensors file that is written as a stream and read at any offset.

Layout, after https://huggingface.co/docs/safetensors: 8 bytes, the header's length as little-endian uint64; the header, JSON
padded with spaces so that the tensors begin at a page of memory; the tensors without gaps. Here one tensor a video, (T, D),
in the plan's order. The header's __metadata__ says where the features come from, and ends with `crc32`: eight hexadecimal
digits a video, in the same order, over the bytes of its tensor. All of the header but these digits is known from the plan.

Shapes: T frames of a video, D numbers of a frame's feature.
"""

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data import signs, writing
from tasks.data.feature_pieces import Features, in_order
from tasks.data.feature_plan import (
    FORMAT,
    Clip,
    StoreDamaged,
    StoreIncomplete,
    StorePlan,
    beside,
)

PAGE = 4096
"""Bytes. The first tensor of a shard begins at a multiple."""
CRC_DIGITS = 8
SAFETENSORS_DTYPE = {"float16": "F16", "float32": "F32", "uint8": "U8"}
CHUNK_BYTES = 2**23
"""Read at a time where a whole shard is read."""
MOST_BUFFERS = os.sysconf("SC_IOV_MAX")
"""That one read fills: 1024 on Linux."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardWritten:
    """A shard that is on disk, whole."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardLayout:
    """Where everything is in a shard's file, known from the plan alone."""

    path: Path
    number: int
    clips: tuple[Clip, ...]
    before_crcs: bytes
    """The file's beginning, length included, up to the first checksum."""
    after_crcs: bytes
    """From the last checksum to the first tensor."""
    starts: tuple[int, ...]
    """Bytes from the file's beginning to each tensor, and to the file's end."""
    again: str
    """The way out where the shard is damaged, as the end of a sentence."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.starts[-1]

    def head(self, crcs: Sequence[int]) -> bytes:
        """All that comes before the first tensor, for these checksums."""
        digits = "".join(f"{crc:0{CRC_DIGITS}x}" for crc in crcs)
        return self.before_crcs + digits.encode() + self.after_crcs

    def open(self) -> int:
        """A file descriptor of the shard, after a quick look: its size, and its header up to the checksums.

        Raises:
            StoreIncomplete: when it is not there.
            StoreDamaged: when it is cut short or has another header, as a shard of other features does.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise StoreIncomplete(
                f"{self.path} is missing: {self.again.removesuffix(' again')}"
            ) from None
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
            raise StoreDamaged(
                f"{self.path} has {found.st_size} bytes, but this shard has {self.size}: {self.again}",
                (self.number,),
            )
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            begins = os.pread(handle, len(self.before_crcs), 0)
        except BaseException:
            os.close(handle)
            raise
        if begins != self.before_crcs:
            os.close(handle)
            raise StoreDamaged(
                f"{self.path} has not the header that this store gives it (altered, or a shard of other features): "
                f"{self.again}",
                (self.number,),
            )
        return handle


def shard_path(folder: Path, number: int) -> Path:
    """Where a store's shard lies."""
    return folder / f"shard-{number:05d}.safetensors"


def layout_of(folder: Path, plan: StorePlan, number: int) -> ShardLayout:
    """The layout of a plan's shard in a folder.

    Raises:
        ValueError: when the plan has no such shard.
    """
    if not 0 <= number < len(plan.shards):
        raise ValueError(
            f"shard {number} does not exist: the plan has shards 0 to {len(plan.shards) - 1}"
        )
    clips = plan.shards[number]
    ends = list(accumulate(frames * plan.frame_bytes for _, frames in clips))
    dtype, size = SAFETENSORS_DTYPE[plan.dtype], plan.frame_size
    tensors = "".join(
        f',{json.dumps(video)}:{{"dtype":"{dtype}","shape":[{frames},{size}],"data_offsets":[{start},{end}]}}'
        for (video, frames), start, end in zip(clips, [0, *ends], ends, strict=False)
    )
    metadata = {
        "format": f"features {FORMAT}",
        "identity": plan.identity,
        "made_of": json.dumps(plan.made_of, sort_keys=True),
        "shard": f"{number} of {len(plan.shards)}",
        "crc32": "",
    }
    opening = '{"__metadata__":' + json.dumps(metadata)[: -len('"}')]
    closing = '"}' + tensors + "}"
    length = len(opening) + CRC_DIGITS * len(clips) + len(closing)

    def padded(begin_at: int) -> ShardLayout:
        padding = -(8 + length) % begin_at
        first = 8 + length + padding
        return ShardLayout(
            path=shard_path(folder, number),
            number=number,
            clips=clips,
            before_crcs=(length + padding).to_bytes(8, "little") + opening.encode(),
            after_crcs=closing.encode() + b" " * padding,
            starts=(first, *(first + end for end in ends)),
            again=_again(plan, number),
        )

    # Rows that lie as memory's pages do are copied in fewer pieces: a tenth to a quarter less time for a window. Shards of
    # before begin anywhere; they hold the same numbers, and are told by their size.
    layout, of_before = padded(PAGE), padded(8)
    try:
        there = layout.path.stat().st_size
    except OSError:
        return layout
    return of_before if there == of_before.size else layout


def _again(plan: StorePlan, number: int) -> str:
    stream = plan.made_of.get("stream")
    if stream in ("flow", "patches"):
        return f"make shard {number} with `harness run {stream} --set dataset={plan.made_of.get('set_name')}` again"
    return f"extract shard {number} again"


def is_whole(layout: ShardLayout) -> bool:
    """Whether a shard is there and passes the quick look."""
    try:
        os.close(layout.open())
    except (StoreIncomplete, StoreDamaged):
        return False
    return True


def shards_missing(folder: Path, plan: StorePlan) -> list[int]:
    """The shards of a plan that have still to be written, by a look at sizes and headers.

    Raises:
        StoreMismatch: when the folder holds another store.
        StoreDamaged: when its store.json is not what was written.
    """
    try:
        plan.check(folder)
    except StoreIncomplete:
        return list(range(len(plan.shards)))
    numbers = range(len(plan.shards))
    return [number for number in numbers if not is_whole(layout_of(folder, plan, number))]


def write_shard(
    folder: Path,
    plan: StorePlan,
    number: int,
    features: Iterable[tuple[str, Features | Iterable[Features]]],
) -> ShardWritten:
    """Write one shard, holding one video or one piece of it at a time; the same features give the same bytes.

    A shard that is there is replaced. What an earlier attempt left behind when it was killed is removed.

    Args:
        folder: the store's; store.json is written there too, unless it is there.
        plan: of the whole store.
        number: of the shard.
        features: of each of its videos, in the plan's order, the id and the features (T, D) as float16, float32 or float64;
            as uint8 where the plan says so. Instead of one array, a video may come as pieces (N, D), its frames in order: how
            it is cut does not alter the bytes.

    Raises:
        ValueError: when videos are not those of the plan, a shape is wrong, or a number is NaN, infinite or
            beyond the range of the plan's type; nothing is left on disk then.
        StoreMismatch: when the folder holds another store.
        OSError: when the disk is full, read-only or gone.
    """
    layout = layout_of(folder, plan, number)
    plan.write(folder)
    with beside(layout.path) as temporary:
        with temporary.open("w+b") as sink:
            sink.write(layout.head([0] * len(layout.clips)))
            crcs = []
            for pieces in in_order(number, plan, features):
                crc = 0
                for piece in pieces:
                    signs.going_on()  # a shard may take hours
                    crc = zlib.crc32(piece.data, crc)
                    sink.write(piece.data)
                crcs.append(crc)
            writing.reached("half", layout.path)
            sink.seek(0)
            sink.write(layout.head(crcs))
            sink.flush()
            writing.reached("written", layout.path)
            os.fsync(sink.fileno())
            sink.seek(0)
            digest = hashlib.file_digest(sink, "sha256").hexdigest()
        try:
            writing.rename(temporary, layout.path)
        except FileNotFoundError:
            # Another job wrote this shard at the same time, was through first and tidied up.
            if not is_whole(layout):
                raise
            with layout.path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
    for left_behind in folder.glob(f".{layout.path.name}.*"):
        left_behind.unlink(missing_ok=True)
    return ShardWritten(bytes=layout.size, sha256=digest)


def fill(handle: int, buffer_N: NDArray[np.uint8], offset: int) -> None:
    """Read into a buffer what a file holds from an offset on.

    Raises:
        EOFError: when the file ends before the buffer is full.
    """
    fill_rows(handle, buffer_N[None], offset)


def fill_rows(handle: int, rows_TN: NDArray[np.uint8], offset: int) -> None:
    """Read into rows, one after the other, what a file holds from an offset on.

    Args:
        handle: of the file.
        rows_TN: each row in one piece, wherever it lies.
        offset: of the first byte.

    Raises:
        EOFError: when the file ends before they are full.
    """
    for first in range(0, len(rows_TN), MOST_BUFFERS):
        some_TN = rows_TN[first : first + MOST_BUFFERS]
        done = os.preadv(handle, list(some_TN), offset)
        # A signal may cut a read short, and Linux reads at most 2 GiB at a time.
        while done < some_TN.size:
            whole, part = divmod(done, some_TN.shape[1])
            left = [some_TN[whole, part:].data, *some_TN[whole + 1 :]]
            got = os.preadv(handle, left, offset + done)
            if got == 0:
                raise EOFError
            done += got
        offset += done


def damaged_clips(layout: ShardLayout) -> list[str]:
    """Read a whole shard and find the videos whose bytes are not those that were written.

    Raises:
        StoreIncomplete: when the shard is not there.
        StoreDamaged: when the header is altered, apart from checksums.
    """
    handle = layout.open()
    try:
        head = os.pread(handle, layout.starts[0], 0)
        start = len(layout.before_crcs)
        digits = head[start : start + CRC_DIGITS * len(layout.clips)]
        if head != layout.before_crcs + digits + layout.after_crcs:
            raise StoreDamaged(
                f"the header of {layout.path} was altered: delete the file and {layout.again}",
                (layout.number,),
            )
        return [
            video
            for index, (video, _) in enumerate(layout.clips)
            if not is_as_written(layout, handle, index)
        ]
    finally:
        os.close(handle)


def is_as_written(layout: ShardLayout, handle: int, index: int) -> bool:
    """Whether the bytes of one video of a shard have the checksum that its header states.

    Raises:
        EOFError: when the file ends before they do.
    """
    place = len(layout.before_crcs) + CRC_DIGITS * index
    said = os.pread(handle, CRC_DIGITS, place)
    crc = 0
    end = layout.starts[index + 1]
    buffer = np.empty(min(CHUNK_BYTES, end - layout.starts[index]), np.uint8)
    for offset in range(layout.starts[index], end, len(buffer)):
        part = buffer[: min(len(buffer), end - offset)]
        fill(handle, part, offset)
        crc = zlib.crc32(part.data, crc)
    return f"{crc:0{CRC_DIGITS}x}".encode() == said
