"""Features in the layout of the paper's own code, to and from a store.

Three files: an HDF5 file with a dataset `hidden6` of shape (rows, 4096), all videos' frames in a row; labels.txt and
num_frames.txt, a number a line and a line a video. Three that only this code adds: names.txt, an id a line,
classes.txt, the name of a class a line, and made_of.json (`tasks.data.made_of`).

Shapes: T frames of a video, R rows of the dataset (frames of all videos), D numbers of a frame's feature.
"""

import hashlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Literal, cast

import numpy as np

from tasks.data import writing
from tasks.data.feature_plan import ITEM_BYTES, StorePlan, id_problem
from tasks.data.feature_shards import shard_path, shards_missing, write_shard
from tasks.data.features import FeatureStore
from tasks.data.hdf5_rows import Rows, opened
from tasks.data.labels import nfc
from tasks.data.made_of import FILE as MADE_OF
from tasks.data.made_of import told_of
from tasks.data.plain_json import JSON
from tasks.data.reading import at_most
from tasks.data.sheet import id_of

DATASET = "hidden6"
HDF5, LABELS, NUM_FRAMES, NAMES = "hidden6.h5", "labels.txt", "num_frames.txt", "names.txt"
CLASSES = "classes.txt"
MOST_CLASSES = 100_000
"""Several times those of any set; labels count from 0, so one larger label would stand for as many classes before it."""
MOST_TEXT_BYTES, MOST_LINES = 2**26, 2**22
"""Of a text file: a line for each of four million videos."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where features lie in the authors' layout."""

    hdf5: Path
    labels: Path
    """A class from 0 on each line."""
    num_frames: Path
    """A number of frames on each line."""
    names: Path | None
    """A video's name on each line, with or without its ending; None: they are called video-000000 and so on."""
    dataset: str = DATASET
    """The name of the dataset in the HDF5 file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What the text files say, a video a place."""

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    num_frames: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import made."""

    plan: StorePlan
    labels: Mapping[str, int]
    """By video id, in the files' order."""


def read_listing(source: Source) -> Listing:
    """Read the text files.

    Raises:
        ValueError: when one is no such file, a line is no such number, a name is there twice, or lengths differ.
    """
    labels = _numbers(source.labels, least=0, most=MOST_CLASSES - 1)
    frames = _numbers(source.num_frames, least=1, most=2**31 - 1)
    if source.names:
        ids = [id_of(nfc(line)) for line in lines_of(source.names)]
    else:
        ids = [f"video-{row:06d}" for row in range(len(frames))]
    for path, found in ((source.labels, labels), (source.names, ids)):
        if path and len(found) != len(frames):
            raise ValueError(
                f"{path} has {len(found)} lines and {source.num_frames} has {len(frames)}: both need one line a video"
            )
    first: dict[str, int] = {}
    for place, video in enumerate(ids, start=1):
        problem = id_problem(video)
        if problem:
            raise ValueError(f"{source.names}, line {place}: {problem}")
        if first.setdefault(video, place) != place:
            raise ValueError(
                f"{source.names}, line {place}: {video!r} is there twice, on line {first[video]} too: ids have to differ"
            )
    return Listing(ids=tuple(ids), labels=tuple(labels), num_frames=tuple(frames))


def plan_hidden6(
    source: Source,
    listing: Listing,
    *,
    dtype: Literal["float16", "float32"] | None = None,
    shard_bytes: int = 2**30,
    made_of: Mapping[str, JSON] | None = None,
) -> StorePlan:
    """The store of features in the authors' layout, before any is written; reads the HDF5 file once for its checksum.

    Args:
        source: the files.
        listing: what `read_listing` says of them.
        dtype: of the store; as in the file where that is float16 or float32.
        shard_bytes: about the size of a shard.
        made_of: what else is known of the features, such as the videos' identity.

    Raises:
        ValueError: when the files contradict each other or hold something else, naming file and line.
    """
    with opened(source.hdf5, source.dataset) as rows_RD:
        if sum(listing.num_frames) != rows_RD.shape[0]:
            raise ValueError(
                f"{source.num_frames} says {sum(listing.num_frames)} frames and {source.dataset} of {source.hdf5} has "
                f"{rows_RD.shape[0]} rows: both have to be of the same videos"
            )
        return StorePlan.cut(
            {**_made_of(source), **(made_of or {})},
            list(zip(listing.ids, listing.num_frames, strict=True)),
            rows_RD.shape[1],
            shard_bytes,
            dtype=dtype or _own_dtype(source.hdf5, rows_RD),
        )


def write_hidden6(
    source: Source,
    plan: StorePlan,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the shards of a planned store that are missing, one video in memory at a time.

    In the dataset's own type every number stays as it is, bit by bit (-0.0 too).

    Args:
        source: the files that `plan_hidden6` planned it from.
        plan: its answer.
        folder: of the store.
        progress: told after each shard how many of all shards are there.

    Raises:
        ValueError: what `tasks.data.feature_shards.write_shard` refuses, such as NaN; or when the HDF5 file is another one
            than that of the plan by now.
        StoreMismatch: when the folder holds another store.
    """
    clips = [clip for shard in plan.shards for clip in shard]
    ends = accumulate(frames for _, frames in clips)
    starts = dict(zip((video for video, _ in clips), [0, *ends], strict=False))
    with opened(source.hdf5, source.dataset) as rows_RD:
        missing = shards_missing(folder, plan)
        for done, number in enumerate(missing, start=len(plan.shards) - len(missing) + 1):
            write_shard(
                folder,
                plan,
                number,
                (
                    (video, rows_RD.pieces(starts[video], frames))
                    for video, frames in plan.shards[number]
                ),
            )
            if progress:
                progress(done, len(plan.shards))
    if missing and _sha256(source.hdf5) != plan.made_of["hdf5_sha256"]:
        for number in missing:  # of numbers that the plan is not made of
            writing.remove(shard_path(folder, number))
        raise ValueError(
            f"{source.hdf5} was written to while it was read: import it when it is whole"
        )


def import_hidden6(
    source: Source,
    folder: Path,
    *,
    dtype: Literal["float16", "float32"] | None = None,
    shard_bytes: int = 2**30,
) -> Imported:
    """Make a store of features in the authors' layout: `read_listing`, `plan_hidden6` and `write_hidden6` in one.

    Started again after it was killed, it goes on with the shards that are missing.

    Raises:
        ValueError: as these do.
        StoreMismatch: when the folder holds another store.
    """
    listing = read_listing(source)
    plan = plan_hidden6(source, listing, dtype=dtype, shard_bytes=shard_bytes)
    write_hidden6(source, plan, folder)
    return Imported(plan=plan, labels=dict(zip(listing.ids, listing.labels, strict=True)))


def export_hidden6(
    store: FeatureStore,
    folder: Path,
    videos: Sequence[tuple[str, int]],
    *,
    dataset: str = DATASET,
    classes: Sequence[str] = (),
    set_name: str = "",
) -> None:
    """Write videos of a store in the authors' layout, one in memory at a time, numbers as they are stored.

    Args:
        store: where they come from.
        folder: where the files are to be; it must not exist, and appears when all are written.
        videos: ids and labels (from 0), in the order of the rows.
        dataset: the name of the dataset in the HDF5 file.
        classes: names by label, for the file classes.txt; none, no such file.
        set_name: of the set that the store is of, for made_of.json.

    Raises:
        ValueError: when there is no video or the folder exists.
        LookupError: when the store has not such a video.
    """
    import h5py

    if not videos:
        raise ValueError("no video was named: pass at least one")
    if folder.exists():
        raise ValueError(
            f"{folder} exists: name a folder that does not, so that nothing is overwritten"
        )
    clips = [(video, store.num_frames(video)) for video, _ in videos]
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.export-tmp")
    beside.mkdir()
    try:
        with h5py.File(beside / HDF5, "w") as file:
            shape = (sum(frames for _, frames in clips), store.plan.frame_size)
            rows_RD = file.create_dataset(dataset, shape, store.plan.numpy_dtype)
            row = 0
            for video, frames in clips:
                rows_RD[row : row + frames] = store.frames(video)
                row += frames
        _write_lines(beside / LABELS, [label for _, label in videos])
        _write_lines(beside / NUM_FRAMES, [frames for _, frames in clips])
        _write_lines(beside / NAMES, [video for video, _ in clips])
        if classes:
            _write_lines(beside / CLASSES, classes)
        (beside / MADE_OF).write_text(told_of(set_name, store.plan), encoding="utf-8")
        for path in beside.iterdir():
            _flush(path)
        writing.rename(beside, folder)
        # Names that no one else gives, matched whole: other hidden folders here are not ours.
        ours = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.export-tmp")
        for left_behind in folder.parent.iterdir():
            if ours.fullmatch(left_behind.name):
                shutil.rmtree(left_behind, ignore_errors=True)  # by an export that was killed
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _own_dtype(path: Path, rows_RD: Rows) -> Literal["float16", "float32"]:
    name = np.dtype(rows_RD.dtype).name
    if name not in ITEM_BYTES:
        raise ValueError(
            f"the features of {path} are {name}, which a store has not: pass dtype float16 or float32"
        )
    return cast('Literal["float16", "float32"]', name)


def _made_of(source: Source) -> dict[str, JSON]:
    digests: dict[str, JSON] = {
        f"{name}_sha256": _sha256(path) if path else None
        for name, path in (
            ("hdf5", source.hdf5),
            ("labels", source.labels),
            ("num_frames", source.num_frames),
            ("names", source.names),
        )
    }
    return {"imported": "hidden6", "dataset": source.dataset, **digests}


def _sha256(path: Path) -> str:
    found = path.stat()
    return _sha256_of(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256_of(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    del inode, size, mtime_ns  # with another of these it is another file
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def lines_of(path: Path) -> list[str]:
    """The lines of a text file without spaces around them.

    Raises:
        ValueError: when there is no such file, it cannot be read, it is no text, or longer than any list of videos.
    """
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise ValueError(f"{path} is no regular file: name a file with a line for each video")
        with path.open("rb") as source:
            content = at_most(source, MOST_TEXT_BYTES + 1)
        if len(content) > MOST_TEXT_BYTES or content.count(b"\n") > MOST_LINES:
            raise ValueError(
                f"{path} is longer than {MOST_TEXT_BYTES >> 20} MiB or {MOST_LINES} lines: name a file with a line for each video"
            )
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: name a file with a line for each video") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8: one line a video is needed") from None
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): name a file with a line for each video"
        ) from None
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _numbers(path: Path, *, least: int, most: int) -> list[int]:
    numbers = []
    for place, line in enumerate(lines_of(path), start=1):
        # Eighteen digits: more are a mistake, and no int of ours.
        if not (
            line.isascii() and line.isdecimal() and len(line) <= 18 and least <= int(line) <= most
        ):
            shown = line if len(line) <= 40 else f"{line[:40]}..."
            raise ValueError(
                f"{path}, line {place} is {shown!r}: a whole number from {least} to {most} is needed, one a video"
            )
        numbers.append(int(line))
    return numbers


def _write_lines(path: Path, lines: Sequence[object]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _flush(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())
