"""The feature store: frames' features of all videos of a set, in a few large files, for random windows.

A store is a folder. `store.json` says what the features are made of and which videos each shard holds; it follows from
the plan alone, so the first shard that is written writes it, and all others find it. `shard-00000.safetensors` ... are
plain safetensors files, one tensor (T, D) a video, each with its crc32 in the header. Where a video's numbers lie
follows from the plan too, so a window is one `preadv`, and nothing is read to find it (docs/decisions/0008).

Shapes: T frames of a video, W frames of a window, B windows, D numbers of a frame.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.data.writing import write_whole

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
FILE = "store.json"
SHARD_BYTES = 2**30
"""Bytes of a shard, about: few enough to write again after a crash, many enough to keep files few."""
BYTES_OF = {"float16": 2, "float32": 4}
NAME_OF = {"float16": "F16", "float32": "F32"}
"""How safetensors calls them."""
_NO_CRC = "00000000"

DType = Literal["float16", "float32"]


class StoreMismatch(ValueError):
    """A store holds other features than those that are wanted."""


class StoreIncomplete(ValueError):
    """A store lacks shards."""


class StoreDamaged(ValueError):
    """A file of a store cannot be believed."""


class BadFeatures(ValueError):
    """Features that no store takes: other videos, frames or numbers than planned, or numbers that are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StorePlan:
    """What a store will hold, before anything is computed.

    Raises:
        ValueError: for no videos, a video twice or without frames, or a size below 1.
    """

    made_of: Mapping[str, Any]
    """Everything that can alter a feature, as plain JSON: videos, stream, convnet, weights, layer, crop, code version."""
    frame_size: int
    """D."""
    shards: tuple[tuple[tuple[str, int], ...], ...]
    """(video id, frames) of each shard."""
    dtype: DType = "float16"

    def __post_init__(self) -> None:
        if self.frame_size < 1:
            raise ValueError(f"frame_size={self.frame_size}: a frame has at least 1 number")
        if self.dtype not in BYTES_OF:
            raise ValueError(f"dtype={self.dtype!r}: choose from {', '.join(BYTES_OF)}")
        if not self.shards or not all(self.shards):
            raise ValueError("a store without videos, or with an empty shard, cannot be planned")
        seen: set[str] = set()
        for video, frames in (each for shard in self.shards for each in shard):
            if video in seen:
                raise ValueError(f"video {video!r} is in the store twice")
            if video == "__metadata__":
                raise ValueError(
                    "no video can be called '__metadata__': safetensors keeps that name"
                )
            if frames < 1:
                raise ValueError(f"video {video!r} has {frames} frames: it needs at least 1")
            seen.add(video)

    @classmethod
    def cut(
        cls,
        made_of: Mapping[str, Any],
        videos: Sequence[tuple[str, int]],
        frame_size: int,
        *,
        dtype: DType = "float16",
        shard_bytes: int = SHARD_BYTES,
    ) -> StorePlan:
        """Cut videos, in their order, into shards of at most about `shard_bytes`; a longer video has one of its own."""
        shards: list[list[tuple[str, int]]] = []
        size = 0
        for video, frames in videos:
            each = frames * frame_size * BYTES_OF[dtype]
            if not shards or size + each > shard_bytes:
                shards.append([])
                size = 0
            shards[-1].append((video, frames))
            size += each
        return cls(
            made_of=made_of, frame_size=frame_size, dtype=dtype, shards=tuple(map(tuple, shards))
        )

    @property
    def identity(self) -> str:
        """Hex sha256 of all of it: part of the key of every cell that reads these features."""
        return hashlib.sha256(_canonical(self._content())).hexdigest()

    def row_bytes(self) -> int:
        """Bytes of one frame's features."""
        return self.frame_size * BYTES_OF[self.dtype]

    def header(self, shard: int, crcs: Sequence[str]) -> bytes:
        """The head of a shard's file; its length does not depend on the checksums.

        Args:
            shard: its number.
            crcs: crc32 of every video's bytes, 8 hex digits each.
        """
        tensors: dict[str, Any] = {
            "__metadata__": {"store": self.identity, "shard": str(shard), "crc32": " ".join(crcs)}
        }
        place = 0
        for video, frames in self.shards[shard]:
            end = place + frames * self.row_bytes()
            tensors[video] = {
                "dtype": NAME_OF[self.dtype],
                "shape": [frames, self.frame_size],
                "data_offsets": [place, end],
            }
            place = end
        text = json.dumps(tensors, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def empty_header(self, shard: int) -> bytes:
        """The head with checksums still to come."""
        return self.header(shard, [_NO_CRC] * len(self.shards[shard]))

    def shard_bytes(self, shard: int) -> int:
        """Bytes of a whole shard's file."""
        frames = sum(frames for _, frames in self.shards[shard])
        return len(self.empty_header(shard)) + frames * self.row_bytes()

    def write(self, folder: Path) -> None:
        """Write store.json, unless it is there.

        Raises:
            StoreMismatch: when the folder is another store's.
        """
        if (folder / FILE).exists():
            there = read_plan(folder)
            if there.identity != self.identity:
                raise StoreMismatch(
                    f"{folder} is a store of other features: {_difference(there, self)}"
                )
            return
        folder.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "identity": self.identity, **self._content()}
        write_whole(folder / FILE, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")

    def _content(self) -> dict[str, Any]:
        return {
            "made_of": dict(self.made_of),
            "frame_size": self.frame_size,
            "dtype": self.dtype,
            "shards": [[list(each) for each in shard] for shard in self.shards],
        }


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_plan(folder: Path) -> StorePlan:
    """What a store's store.json says.

    Raises:
        StoreIncomplete: when there is none.
        StoreDamaged: when it cannot be believed.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreIncomplete(f"{folder} is no feature store: it has no {FILE}") from None
    except (OSError, ValueError) as error:
        raise StoreDamaged(f"{path} cannot be read ({error})") from None
    try:
        if content["format"] != FORMAT:
            raise StoreDamaged(f"{path} is of format {content['format']}, and this version reads {FORMAT}")  # fmt: skip
        plan = StorePlan(
            made_of=dict(content["made_of"]),
            frame_size=int(content["frame_size"]),
            dtype=content["dtype"],
            shards=tuple(
                tuple((str(video), int(frames)) for video, frames in shard)
                for shard in content["shards"]
            ),
        )
        intact = plan.identity == content["identity"]
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreDamaged(f"{path} is no description of a store ({error})") from None
    except ValueError as error:
        raise StoreDamaged(str(error) if isinstance(error, StoreDamaged) else f"{path}: {error}") from None  # fmt: skip
    if not intact:
        raise StoreDamaged(f"{path} was altered: it does not match its own identity")
    return plan


def shard_file(folder: Path, shard: int) -> Path:
    """Where a shard lies."""
    return folder / f"shard-{shard:05d}.safetensors"


def missing_shards(folder: Path, plan: StorePlan) -> list[int]:
    """Numbers of the shards that are not there."""
    return [each for each in range(len(plan.shards)) if not shard_file(folder, each).exists()]


def write_shard(
    folder: Path, plan: StorePlan, shard: int, features: Iterable[tuple[str, np.ndarray]]
) -> str:
    """Write one shard, a video at a time; it is there whole or not at all, and its bytes depend on the features alone.

    Args:
        folder: the store's.
        plan: what the store holds.
        shard: the number of the shard.
        features: (video id, (T, D) of any float type) in the plan's order.

    Returns:
        Hex sha256 of the file.

    Raises:
        BadFeatures: for other videos, frames or numbers than planned, for NaN, and for what float16 cannot hold.
        StoreMismatch: when the folder is another store's.
        OSError: when the disk is full or gone; nothing is left behind.
    """
    plan.write(folder)
    path = shard_file(folder, shard)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    expected = iter(plan.shards[shard])
    crcs: list[str] = []
    try:
        with beside.open("w+b") as sink:
            sink.write(plan.empty_header(shard))
            for video, values_TD in features:
                wanted = next(expected, None)
                if wanted is None or wanted[0] != video:
                    raise BadFeatures(f"shard {shard} expects {wanted[0] if wanted else 'no more videos'}, not {video}")  # fmt: skip
                content = _checked(video, values_TD, wanted[1], plan)
                crcs.append(f"{zlib.crc32(content):08x}")
                sink.write(content)
            rest = next(expected, None)
            if rest is not None:
                raise BadFeatures(f"shard {shard} lacks {rest[0]}")
            sink.seek(0)
            sink.write(plan.header(shard, crcs))
            sink.flush()
            os.fsync(sink.fileno())
            sink.seek(0)
            digest = hashlib.file_digest(sink, "sha256").hexdigest()
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return digest


def _checked(video: str, values_TD: np.ndarray, frames: int, plan: StorePlan) -> bytes:
    import numpy as np

    if values_TD.shape != (frames, plan.frame_size):
        raise BadFeatures(
            f"features of {video} are {values_TD.shape}, and its index says {(frames, plan.frame_size)}: index the videos "
            "again if they have changed"
        )
    most = float(np.finfo(plan.dtype).max)
    bad_T = ~(np.abs(values_TD) <= most).all(axis=1)
    if bad_T.any():
        frame = int(bad_T.argmax())
        row = values_TD[frame]
        worst = row[~(np.abs(row) <= most)][0]
        raise BadFeatures(f"feature {worst} of {video}, frame {frame}: a number of at most {most:g} is needed, for {plan.dtype}")  # fmt: skip
    return np.ascontiguousarray(values_TD, dtype=np.dtype(plan.dtype).newbyteorder("<")).tobytes()


@dataclass(frozen=True)
class FeatureStore:
    """A complete store, open for reading. Threads and forked processes may share it.

    Opening looks at the sizes of files, not into them; `verify` reads everything.
    """

    folder: Path
    plan: StorePlan
    _handles: dict[int, int] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path, *, expect: str = "") -> FeatureStore:
        """Open a store.

        Args:
            folder: where it lies.
            expect: the identity that it must have; empty for any.

        Raises:
            StoreIncomplete: when there is none, or shards are missing.
            StoreDamaged: when a file is cut short or its description altered.
            StoreMismatch: when it is another store.
        """
        plan = read_plan(folder)
        if expect and plan.identity != expect:
            raise StoreMismatch(f"{folder} holds features {plan.identity[:16]}, and {expect[:16]} are wanted")  # fmt: skip
        missing = missing_shards(folder, plan)
        if missing:
            raise StoreIncomplete(
                f"{folder} lacks {len(missing)} of {len(plan.shards)} shards (the first: {missing[0]}): run the "
                "extraction again, it makes what is missing"
            )
        for shard in range(len(plan.shards)):
            path, wanted = shard_file(folder, shard), plan.shard_bytes(shard)
            size = path.stat().st_size
            if size != wanted:
                raise StoreDamaged(f"{path} has {size} bytes instead of {wanted}: remove it and run the extraction again")  # fmt: skip
        return cls(folder, plan)

    @cached_property
    def videos(self) -> dict[str, int]:
        """Frames of every video, by id."""
        return {video: frames for shard in self.plan.shards for video, frames in shard}

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """(shard, first byte) of every video."""
        places = {}
        for number, shard in enumerate(self.plan.shards):
            place = len(self.plan.empty_header(number))
            for video, frames in shard:
                places[video] = number, place
                place += frames * self.plan.row_bytes()
        return places

    def frames(self, video: str) -> np.ndarray:
        """All frames of a video, (T, D)."""
        return self.window(video, 0, self.videos[video])

    def window(self, video: str, start: int, count: int) -> np.ndarray:
        """Frames start .. start + count of a video, (count, D).

        Raises:
            IndexError: when the video has not so many frames.
            KeyError: when the store has no such video.
        """
        import numpy as np

        out = np.empty((count, self.plan.frame_size), dtype=self.plan.dtype)
        self._read(video, start, out)
        return out

    def windows(self, places: Sequence[tuple[str, int]], count: int) -> np.ndarray:
        """Windows (W, B, D) of `count` frames from (video, start) places."""
        import numpy as np

        out_BWD = np.empty((len(places), count, self.plan.frame_size), dtype=self.plan.dtype)
        for row_WD, (video, start) in zip(out_BWD, places, strict=True):
            self._read(video, start, row_WD)
        return np.ascontiguousarray(out_BWD.swapaxes(0, 1))

    def verify(self, on_video: Callable[[str], None] = lambda video: None) -> None:
        """Read everything and hold it against its checksums.

        Raises:
            StoreDamaged: naming the first video or shard that differs.
        """
        for number, shard in enumerate(self.plan.shards):
            with shard_file(self.folder, number).open("rb") as source:
                length = len(self.plan.empty_header(number))
                head = source.read(length)
                crcs = []
                for video, frames in shard:
                    content = source.read(frames * self.plan.row_bytes())
                    crcs.append(f"{zlib.crc32(content):08x}")
                    marked = head.find(b'"crc32":"') + len(b'"crc32":"') + 9 * (len(crcs) - 1)
                    if head[marked : marked + 8] != crcs[-1].encode():
                        raise StoreDamaged(f"features of {video} in {source.name} were altered: remove that file and extract again")  # fmt: skip
                    on_video(video)
                if head != self.plan.header(number, crcs):
                    raise StoreDamaged(f"the head of {source.name} was altered: remove that file and extract again")  # fmt: skip

    def close(self) -> None:
        """Close the files; they are opened again when needed."""
        with self._lock:
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()

    def _read(self, video: str, start: int, out_WD: np.ndarray) -> None:
        if video not in self._places:
            raise KeyError(f"{self.folder} has no video {video!r}")
        count, there = len(out_WD), self.videos[video]
        if start < 0 or start + count > there:
            raise IndexError(f"frames {start} to {start + count} of {video}: it has {there}")
        shard, place = self._places[video]
        view = memoryview(out_WD.data).cast("B")
        at = place + start * self.plan.row_bytes()
        while view:  # a read may be cut short, by a signal or at 2 GiB
            got = os.preadv(self._handle(shard), [view], at)
            if got == 0:
                raise StoreDamaged(
                    f"{shard_file(self.folder, shard)} ends before {video}: it was cut short"
                )
            view, at = view[got:], at + got

    def _handle(self, shard: int) -> int:
        with self._lock:
            if shard not in self._handles:
                self._handles[shard] = os.open(shard_file(self.folder, shard), os.O_RDONLY)
            return self._handles[shard]


def _difference(there: StorePlan, here: StorePlan) -> str:
    for name in sorted(there.made_of.keys() | here.made_of.keys()):
        before, now = there.made_of.get(name), here.made_of.get(name)
        if before != now:
            return f"{name} is {json.dumps(before)[:80]} there and {json.dumps(now)[:80]} here"
    return "its frames or shards are others"
