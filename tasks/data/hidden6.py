"""Features in the layout of the paper's own code, to and from a store.

Three files, and a fourth that only this code adds: an HDF5 file with a dataset `hidden6` of shape (rows, 4096), all
videos' frames in a row; labels.txt and num_frames.txt, a number a line and a line a video; names.txt, an id a line.

Shapes: T frames of a video, R rows of the dataset (frames of all videos), D numbers of a frame's feature.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from tasks.data.feature_plan import ITEM_BYTES, Clip, StorePlan
from tasks.data.feature_shards import Features, shards_missing, write_shard
from tasks.data.features import FeatureStore
from tasks.data.plain_json import JSON

if TYPE_CHECKING:
    from h5py import Dataset

DATASET = "hidden6"
HDF5, LABELS, NUM_FRAMES, NAMES = "hidden6.h5", "labels.txt", "num_frames.txt", "names.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import made."""

    plan: StorePlan
    labels: Mapping[str, int]
    """By video id, in the files' order."""


def import_hidden6(
    hdf5: Path,
    labels: Path,
    num_frames: Path,
    names: Path | None,
    folder: Path,
    *,
    dataset: str = DATASET,
    dtype: Literal["float16", "float32"] | None = None,
    shard_bytes: int = 2**30,
) -> Imported:
    """Make a store of features in the authors' layout, one video in memory at a time.

    Started again after it was killed, it goes on with the shards that are missing. In the dataset's own type every number
    stays as it is, bit by bit (-0.0 too).

    Args:
        hdf5: the file with the features.
        labels: a class from 0 on each line.
        num_frames: a number of frames on each line.
        names: a video's id on each line; without it they are called video-000000 and so on.
        folder: of the store.
        dataset: the name of the dataset in the HDF5 file.
        dtype: of the store; as in the file where that is float16 or float32.
        shard_bytes: about the size of a shard.

    Raises:
        ValueError: when the files contradict each other or hold something else, naming file and line; and what
            `tasks.data.feature_shards.write_shard` refuses, such as NaN.
        StoreMismatch: when the folder holds another store.
    """
    label_of = _numbers(labels, least=0)
    frames_of = _numbers(num_frames, least=1)
    ids = _lines(names) if names else [f"video-{row:06d}" for row in range(len(frames_of))]
    for path, found in ((labels, label_of), (names, ids)):
        if path and len(found) != len(frames_of):
            raise ValueError(
                f"{path} has {len(found)} lines and {num_frames} has {len(frames_of)}: both need one line a video"
            )
    with _opened(hdf5, dataset) as rows_RD:
        if sum(frames_of) != rows_RD.shape[0]:
            raise ValueError(
                f"{num_frames} says {sum(frames_of)} frames and {dataset} of {hdf5} has {rows_RD.shape[0]} rows: "
                "both have to be of the same videos"
            )
        plan = StorePlan.cut(
            _made_of(hdf5, labels, num_frames, names, dataset),
            list(zip(ids, frames_of, strict=True)),
            int(rows_RD.shape[1]),
            shard_bytes,
            dtype=dtype or _own_dtype(hdf5, rows_RD),
        )
        ends = list(accumulate(frames_of))
        starts = dict(zip(ids, [0, *ends], strict=False))
        for number in shards_missing(folder, plan):
            write_shard(folder, plan, number, _rows(hdf5, rows_RD, starts, plan.shards[number]))
    return Imported(plan=plan, labels=dict(zip(ids, label_of, strict=True)))


def export_hidden6(
    store: FeatureStore, folder: Path, videos: Sequence[tuple[str, int]], *, dataset: str = DATASET
) -> None:
    """Write videos of a store in the authors' layout, one in memory at a time, numbers as they are stored.

    Args:
        store: where they come from.
        folder: where the four files are to be; it must not exist, and appears when all are written.
        videos: ids and labels (from 0), in the order of the rows.
        dataset: the name of the dataset in the HDF5 file.

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
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
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
        for path in beside.iterdir():
            _flush(path)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _opened(path: Path, dataset: str) -> Iterator["Dataset"]:
    import h5py

    if not path.is_file():
        raise ValueError(f"{path} is no file: name the HDF5 file with the dataset {dataset}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path} is no whole HDF5 file ({error}): copy it again from where it came"
        ) from None
    with file:
        rows_RD = file.get(dataset)
        if not isinstance(rows_RD, h5py.Dataset):
            raise ValueError(  # noqa: TRY004 - a file's content, not an argument's type
                f"{path} has no dataset {dataset!r}: it has {', '.join(file) or 'nothing'}"
            )
        if rows_RD.ndim != 2 or rows_RD.shape[1] < 1 or rows_RD.dtype.kind != "f":
            raise ValueError(
                f"{dataset} of {path} is {rows_RD.dtype} {rows_RD.shape}: rows of floating-point features are needed"
            )
        yield rows_RD


def _rows(
    path: Path, rows_RD: "Dataset", starts: Mapping[str, int], clips: Sequence[Clip]
) -> Iterator[tuple[str, Features]]:
    for video, frames in clips:
        start = starts[video]
        try:
            features_TD = rows_RD[start : start + frames]
        except OSError as error:
            raise ValueError(
                f"rows {start} to {start + frames - 1} of {path} cannot be read ({error}): copy it again"
            ) from None
        yield video, features_TD


def _own_dtype(path: Path, rows_RD: "Dataset") -> Literal["float16", "float32"]:
    name = rows_RD.dtype.newbyteorder("=").name
    if name not in ITEM_BYTES:
        raise ValueError(
            f"the features of {path} are {name}, which a store has not: pass dtype float16 or float32"
        )
    return cast('Literal["float16", "float32"]', name)


def _made_of(
    hdf5: Path, labels: Path, num_frames: Path, names: Path | None, dataset: str
) -> dict[str, JSON]:
    digests: dict[str, JSON] = {
        "hdf5_sha256": _sha256(hdf5),
        "labels_sha256": _sha256(labels),
        "num_frames_sha256": _sha256(num_frames),
        "names_sha256": _sha256(names) if names else None,
    }
    return {"imported": "hidden6", "dataset": dataset, **digests}


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: name a file with a line for each video") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8: one line a video is needed") from None
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _numbers(path: Path, *, least: int) -> list[int]:
    numbers = []
    for place, line in enumerate(_lines(path), start=1):
        # Eighteen digits: more are a mistake, and no int of ours.
        if not (line.isascii() and line.isdecimal() and len(line) <= 18 and int(line) >= least):
            raise ValueError(
                f"{path}, line {place} is {line!r}: a whole number from {least} on is needed, one a video"
            )
        numbers.append(int(line))
    return numbers


def _write_lines(path: Path, lines: Sequence[object]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _flush(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())
