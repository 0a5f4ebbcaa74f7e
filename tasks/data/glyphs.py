"""The pictures that move about in Moving MNIST: built-in digits, MNIST, or anyone's glyphs in idx files.

Training sequences show training glyphs only, test sequences test glyphs only (sec. 3.2). Shapes: G glyphs, S rows and columns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.data.idx import read_idx
from tasks.data.root import data_root

Part = Literal["train", "test"]

BUILT_IN = "digits"
BUILT_IN_SIDE = 14
"""Pixels of a built-in digit: in a frame of 32 it has about the room that MNIST's 28 have in 64."""
BUILT_IN_TEST = 382
"""The last of scikit-learn's 1,797 digits are for testing. Writers come one after the other, and each block of one begins with 0 to 9
three times over; one begins at 1,415, so no writer is on both sides."""
MOST_SIDE = 1024
"""Pixels: frames are made in proportion, dozens of a sequence at a time, and a gzipped megabyte can hold a glyph of 30,000."""
FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
"""Names of the two files in a folder, with or without .gz behind them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Glyphs:
    """Training and test glyphs; made by `find_glyphs`."""

    name: str = field(metadata={"key": False}, compare=False)
    """What reports call them."""
    side: int
    """S."""
    num_train: int
    num_test: int
    train_sha256: str
    """Of the pixels: the same glyphs are the same wherever they lie and however they are packed."""
    test_sha256: str
    folder: Path | None = field(default=None, metadata={"key": False}, compare=False)
    """Where the files are; None for the built-in digits."""

    def images(self, part: Part) -> NDArray[np.uint8]:
        """The glyphs (G, S, S), read-only.

        Raises:
            ValueError: when the files are not there any more, or hold others.
        """
        found = _images(self.folder, part)
        if _sha256(found) != (self.train_sha256 if part == "train" else self.test_sha256):
            raise ValueError(
                f"the {part} glyphs of {self.name} in {self.folder} are not those that were asked for: run the command again"
            )
        return found


def find_glyphs(name: str) -> Glyphs:
    """Glyphs by name.

    Args:
        name: "digits", which are built in; the name of a folder below the data root, such as mnist; or the path of a folder. It
            holds train-images-idx3-ubyte and t10k-images-idx3-ubyte, gzipped or not, of any square glyphs.

    Raises:
        ValueError: when there are none, or they are no square glyphs of one size, at most MOST_SIDE.
    """
    folder = None if name == BUILT_IN else _folder(name)
    train, test = _images(folder, "train"), _images(folder, "test")
    for part in (train, test):
        if part.shape[1] != part.shape[2] or part.shape[1] != train.shape[1]:
            raise ValueError(
                f"glyphs of {name} are {train.shape[1]} x {train.shape[2]} to train and {test.shape[1]} x {test.shape[2]} to test: "
                "they must be square and of one size"
            )
        if train.shape[1] > MOST_SIDE:
            raise ValueError(
                f"glyphs of {name} have {train.shape[1]:,} rows of pixels: at most {MOST_SIDE:,} can move in a frame"
            )
    return Glyphs(
        name=name if folder is None else folder.name,
        side=train.shape[1],
        num_train=len(train),
        num_test=len(test),
        train_sha256=_sha256(train),
        test_sha256=_sha256(test),
        folder=folder,
    )


def _folder(name: str) -> Path:
    places = dict.fromkeys((data_root() / name, Path(name).expanduser()))
    for folder in places:
        if folder.is_dir():
            return folder.resolve()
    looked = " nor ".join(map(str, places))
    raise ValueError(
        f"there are no glyphs {name!r}: {'neither ' if len(places) > 1 else ''}{looked} is {'' if len(places) > 1 else 'not '}a folder; "
        f"{BUILT_IN} are built in, and "
        "`harness data fetch mnist` fetches MNIST"
    )


@lru_cache(maxsize=4)
def _images(folder: Path | None, part: Part) -> NDArray[np.uint8]:
    if folder is None:
        return _built_in()[part]
    for name in (FILES[part], f"{FILES[part]}.gz"):
        if (folder / name).exists():
            return read_idx(folder / name, dimensions=3)
    raise ValueError(
        f"{folder} has no {FILES[part]}, with or without .gz (`harness data fetch mnist` fetches MNIST)"
    )


@lru_cache(maxsize=1)
def _built_in() -> dict[Part, NDArray[np.uint8]]:
    """Scikit-learn's 8 x 8 digits, enlarged: a pixel is the weighted mean of the four around its place."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    source_G88 = load_digits().images
    place_S = (np.arange(BUILT_IN_SIDE) + 0.5) * 8 / BUILT_IN_SIDE - 0.5
    low_S = np.clip(np.floor(place_S), 0, 6).astype(np.int64)
    share_S = np.clip(place_S - low_S, 0, 1)
    rows_GS8 = (
        source_G88[:, low_S] * (1 - share_S[:, None]) + source_G88[:, low_S + 1] * share_S[:, None]
    )
    glyphs_GSS = rows_GS8[:, :, low_S] * (1 - share_S) + rows_GS8[:, :, low_S + 1] * share_S
    bytes_GSS = np.round(glyphs_GSS * (255 / 16)).astype(np.uint8)
    bytes_GSS.setflags(write=False)
    return {"train": bytes_GSS[:-BUILT_IN_TEST], "test": bytes_GSS[-BUILT_IN_TEST:]}


def _sha256(images_GSS: NDArray[np.uint8]) -> str:
    said = f"{images_GSS.shape}".encode()
    return hashlib.sha256(said + np.ascontiguousarray(images_GSS).tobytes()).hexdigest()
