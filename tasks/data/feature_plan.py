"""What a store of features is to hold, before any is computed: the plan, its identity and store.json.

Writing and reading shards is in `tasks.data.feature_shards`, reading features in `tasks.data.features`.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self, TypeAlias, cast

from tasks.data import writing
from tasks.data.plain_json import JSON, dumps, first_difference, plain

FORMAT = 1
"""Of store.json and of the shards: another number is another layout."""

NAME = "store.json"
ItemType: TypeAlias = Literal["float16", "float32", "uint8"]
ITEM_BYTES: Mapping[str, int] = {"float16": 2, "float32": 4, "uint8": 1}
"""The types that numbers of a feature are stored in, always little-endian, and their bytes."""

MAX_VIDEOS_PER_SHARD = 20_000
MAX_ID_LENGTH = 255
"""With these two the header of a shard stays below the 100 MB that safetensors reads."""

MAX_STORE_JSON = 2**27
"""Bytes; a store of a million videos needs two fifths of this, and nothing larger is read."""
MAX_PARTS = 2**23
"""Values that are set apart by commas: two a video. More would take gigabytes of memory before they are looked at."""
MAX_FRAME_SIZE = 2**31

Clip: TypeAlias = tuple[str, int]
"""A video's id and its number of frames."""


class StoreError(ValueError):
    """A store of features cannot be used as it is."""


class StoreMismatch(StoreError):
    """A store holds other features than those asked for."""


class StoreIncomplete(StoreError):
    """A store, or some of its shards, is not there (yet)."""


class StoreDamaged(StoreError):
    """A file of a store is not what was written."""

    def __init__(self, sentence: str, shards: tuple[int, ...] = ()) -> None:
        """Say what is damaged, and which shards have to be written again."""
        super().__init__(sentence)
        self.shards = shards


@dataclass(frozen=True, kw_only=True, slots=True)
class StorePlan:
    """What a store holds: features of which videos, made of what, cut into which shards.

    Raises:
        ValueError: when a part of it could not be stored, found again or told apart.
    """

    made_of: Mapping[str, JSON]
    """All that can alter a feature: videos' identity, stream, weights, layer, crop, version of the code ..."""
    frame_size: int
    """Numbers of one frame's feature, D."""
    dtype: ItemType = "float16"
    shards: tuple[tuple[Clip, ...], ...]
    """Of each shard its videos in order; a shard is what one job writes."""
    identity: str = field(init=False)
    """sha256 of the canonical JSON of all fields above."""

    def __post_init__(self) -> None:
        if self.dtype not in ITEM_BYTES:
            raise ValueError(
                f"dtype {self.dtype!r} is not stored: choose from {', '.join(ITEM_BYTES)}"
            )
        if type(self.frame_size) is not int or not 1 <= self.frame_size <= MAX_FRAME_SIZE:
            raise ValueError(
                f"frame_size is {self.frame_size!r}, but a feature is a whole number of numbers: pass at least 1, and at most "
                f"{MAX_FRAME_SIZE}"
            )
        shards = tuple(tuple((video, frames) for video, frames in shard) for shard in self.shards)
        _check_shards(shards)
        object.__setattr__(self, "shards", shards)
        if not isinstance(self.made_of, Mapping):
            raise ValueError(  # noqa: TRY004 - one kind of error for whatever a plan cannot hold
                f"made_of is {self.made_of!r}: pass a mapping of names to plain JSON values"
            )
        # A copy, so that whoever passed the mapping cannot alter what the identity was made from.
        object.__setattr__(self, "made_of", plain(self.made_of, "made_of"))
        object.__setattr__(self, "identity", hashlib.sha256(self._canonical()).hexdigest())

    def __hash__(self) -> int:
        """Plans of one identity are equal."""
        return hash(self.identity)

    @classmethod
    def cut(
        cls,
        made_of: Mapping[str, JSON],
        videos: Sequence[Clip],
        frame_size: int,
        shard_bytes: int = 2**30,
        shards: int | None = None,
        dtype: ItemType = "float16",
        together: int = 1,
    ) -> Self:
        """Cut videos, in order, into shards.

        Args:
            made_of: all that can alter a feature.
            videos: ids and numbers of frames, in the order in which they are to be stored.
            frame_size: numbers of one frame's feature.
            shard_bytes: a shard holds at most this many bytes of features, or one video where that is longer.
            shards: this many shards of about equal size instead.
            dtype: of the numbers.
            together: so many neighbours, all of one length, are never cut apart: what is made of one file.

        Raises:
            ValueError: for more shards than videos, and whatever the plan itself refuses.
        """
        videos = tuple(videos)
        _check_shards((videos,), limit=len(videos))
        frame_bytes = frame_size * ITEM_BYTES.get(dtype, 1)
        if len(videos) % together:
            raise ValueError(f"{len(videos)} videos are no groups of {together}: pass whole groups")
        units = videos[::together]
        if shards is None:
            if shard_bytes < 1:
                raise ValueError(
                    f"shard_bytes is {shard_bytes}, but shards hold features: pass at least 1"
                )
            most = MAX_VIDEOS_PER_SHARD // together
            ends = _ends_by_bytes(units, together * frame_bytes, shard_bytes, most)
        elif 1 <= shards <= len(units):
            ends = _ends_by_count(units, shards)
        else:
            raise ValueError(
                f"{len(units)} videos cannot be cut into {shards} shards: pass 1 to {len(units)}"
            )
        cuts = tuple(
            videos[start:end] for start, end in pairwise([0, *(end * together for end in ends)])
        )
        return cls(made_of=made_of, frame_size=frame_size, dtype=dtype, shards=cuts)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame's feature."""
        return self.frame_size * ITEM_BYTES[self.dtype]

    @property
    def numpy_dtype(self) -> str:
        """The type as NumPy spells it, byte order included."""
        return "|u1" if self.dtype == "uint8" else f"<f{ITEM_BYTES[self.dtype]}"

    def encoded(self) -> bytes:
        """The content of store.json: JSON with sorted keys, one line a key and one line a shard."""
        shards = ",\n".join(dumps(shard) for shard in self.shards)
        return (
            f'{{\n"dtype": {dumps(self.dtype)},\n"format": {FORMAT},\n"frame_size": {self.frame_size},\n'
            f'"identity": "{self.identity}",\n"made_of": {dumps(self.made_of)},\n"shards": [\n{shards}\n]\n}}\n'
        ).encode()

    def write(self, folder: Path) -> None:
        """Write store.json, unless it is there already; every job of a store may do so at once.

        Raises:
            StoreMismatch: when the folder holds another store.
            StoreDamaged: when the store.json there is not what was written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / NAME
        if not path.exists():
            with beside(path) as temporary:
                with temporary.open("wb") as sink:
                    sink.write(self.encoded())
                    sink.flush()
                    os.fsync(sink.fileno())
                # A link cannot replace a file, so of two plans that come at once the first one stays.
                with suppress(FileExistsError):
                    writing.link(temporary, path)
        self.check(folder)

    def check(self, folder: Path) -> None:
        """Check that a folder's store.json is this plan.

        Raises:
            StoreMismatch: when it is another one, naming the first thing that differs.
            StoreIncomplete: when there is none.
            StoreDamaged: when it is not what was written.
        """
        there = read_plan(folder)
        if there.identity != self.identity:
            raise StoreMismatch(
                f"{folder} holds other features: {_difference(there, self)}; "
                "use another folder, or remove this one if nothing needs it"
            )

    def _canonical(self) -> bytes:
        content: JSON = {
            "format": FORMAT,
            "made_of": self.made_of,
            "frame_size": self.frame_size,
            "dtype": self.dtype,
            "shards": self.shards,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_plan(folder: Path) -> StorePlan:
    """The plan that a folder's store.json states.

    Raises:
        StoreIncomplete: when there is none.
        StoreDamaged: when the file is not, byte for byte, what a plan writes.
    """
    path = folder / NAME
    try:
        if path.exists() and not path.is_file():  # such as a pipe, which would never end
            raise StoreDamaged(f"{path} is no file: remove it and make the store again")
        with path.open("rb") as source:
            too_large = os.fstat(source.fileno()).st_size > MAX_STORE_JSON
            content = b"" if too_large else source.read()
            too_large = too_large or content.count(b",") > MAX_PARTS
    except FileNotFoundError:
        raise StoreIncomplete(
            f"{folder} holds no store of features: there is no {NAME}; extract them first, or name another folder"
        ) from None
    problem = "it is larger than any store's"
    if not too_large:
        try:
            plan = _plan_from(json.loads(content))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            problem = f"it states no plan ({str(error)[:300] or type(error).__name__})"
        else:
            if plan.encoded() == content:
                return plan
            problem = "its content does not add up to its identity"
    raise StoreDamaged(
        f"{path} was cut short or altered: {problem}; delete this file and make the store again"
    )


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name beside a path, to be renamed to it; whatever is left under it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _plan_from(content: dict[str, JSON]) -> StorePlan:
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']!r} and this code reads {FORMAT}")
    # The constructor checks every value, so the casts promise nothing that is not checked.
    return StorePlan(
        made_of=cast("Mapping[str, JSON]", content["made_of"]),
        frame_size=cast("int", content["frame_size"]),
        dtype=cast("ItemType", content["dtype"]),
        shards=cast("tuple[tuple[Clip, ...], ...]", content["shards"]),
    )


def _check_shards(shards: tuple[tuple[Clip, ...], ...], limit: int = MAX_VIDEOS_PER_SHARD) -> None:
    if not any(shards):
        raise ValueError("a store without videos was asked for: pass at least one")
    seen: set[str] = set()
    for number, shard in enumerate(shards):
        if not 1 <= len(shard) <= limit:
            raise ValueError(
                f"shard {number} has {len(shard)} videos: pass 1 to {limit} (smaller shards, if these are too many)"
            )
        for video, frames in shard:
            _check_clip(video, frames)
            if video in seen:
                raise ValueError(f"video {video!r} is there twice: ids have to differ")
            seen.add(video)


def id_problem(video: object) -> str:
    """Why something cannot be a video's id in a store; empty if it can."""
    if (
        isinstance(video, str)
        and 1 <= len(video) <= MAX_ID_LENGTH
        and video.isprintable()
        and video == video.strip()
        and video != "__metadata__"
    ):
        return ""
    shown = repr(video)
    shown = shown if len(shown) <= MAX_ID_LENGTH else f"{shown[:40]}..."
    return (
        f"{shown} cannot be a video's id: pass 1 to {MAX_ID_LENGTH} printable characters without "
        "spaces around them, and not safetensors' own __metadata__"
    )


def _check_clip(video: object, frames: object) -> None:
    problem = id_problem(video)
    if problem:
        raise ValueError(problem)
    if type(frames) is not int or not 1 <= frames < 2**31:
        raise ValueError(
            f"video {video} has {frames!r} frames: a number from 1 to 2^31 - 1 is needed; leave empty videos out"
        )


def _ends_by_bytes(videos: Sequence[Clip], frame_bytes: int, limit: int, most: int) -> list[int]:
    ends: list[int] = []
    size = 0
    for index, (_, frames) in enumerate(videos):
        fits = size + frames * frame_bytes <= limit
        begun = index - (ends[-1] if ends else 0)
        if begun and (not fits or begun == most):
            ends.append(index)
            size = 0
        size += frames * frame_bytes
    return [*ends, len(videos)]


def _ends_by_count(videos: Sequence[Clip], shards: int) -> list[int]:
    total, done = sum(frames for _, frames in videos), 0
    ends: list[int] = []
    for index, (_, frames) in enumerate(videos, start=1):
        done += frames
        left = shards - len(ends)
        # Cut at the shard's share of all frames, and where only as many videos are left as shards.
        if left > 1 and (done * shards >= total * (len(ends) + 1) or len(videos) - index < left):
            ends.append(index)
    return [*ends, len(videos)]


def _difference(there: StorePlan, here: StorePlan) -> str:
    """The first thing in which two plans differ, as half a sentence."""
    pairs: list[tuple[str, JSON, JSON]] = [
        ("frame_size", there.frame_size, here.frame_size),
        ("dtype", there.dtype, here.dtype),
        ("the number of shards", len(there.shards), len(here.shards)),
    ]
    found = first_difference(there.made_of, here.made_of)
    if found:
        pairs.insert(0, found)
    for number, both in enumerate(zip(there.shards, here.shards, strict=False)):
        pairs.append((f"the number of videos of shard {number}", len(both[0]), len(both[1])))
        pairs += [
            (f"video {index} of shard {number}", *clips)
            for index, clips in enumerate(zip(*both, strict=False))
        ]
    what, old, new = next(pair for pair in pairs if dumps(pair[1]) != dumps(pair[2]))
    return f"{what} is {dumps(old)} there and {dumps(new)} here"
