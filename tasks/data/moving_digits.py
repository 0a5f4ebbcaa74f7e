"""Moving MNIST as a dataset (sec. 3.2): training sequences of training glyphs, test sequences of test glyphs.

Test sequences are those of the official file where the user has it and it fits, otherwise drawn once and for all from a
fixed seed; the notes of the dataset say which. Shapes: T frames, B sequences, Y and X of a frame, D = Y X.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, ClassVar, Literal

from tasks.data.dataset import EVALUATION_SEED
from tasks.data.glyphs import Glyphs, Part, find_glyphs
from tasks.data.moving_mnist import FIXED_SPEED, SPEED_RANGE, Rules, draw, plan
from tasks.data.writing import write_whole

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

TEST_FILE = "mnist_test_seq.npy"
TEST_SHAPE = (20, 10_000, 64, 64)
TEST_SHA256 = "c2a3e8d3939c001ab77bf543f130157424efa486bb4d0974d2cebb773b13f8b3"
"""Of the official file, as one copy of it on the internet states; no second source was found."""
MNIST_TRAIN_SHA256 = "783b1c0807cfc66ca1ef125e96f8a41ab816d75b1d8d28920718b6428b08cb9e"
MNIST_TEST_SHA256 = "010c0c13f96d5658bae4c04d605aa85a9ac8bc6ce619f5cb5f05aeb402f41514"
"""Of the pixels of MNIST's training and test images, as `tasks.data.glyphs` takes them."""

MAGIC = b"\x93NUMPY"
"""What a file in NumPy's format begins with."""
_DAMAGED = (
    ValueError, EOFError, TypeError, SyntaxError, TokenError, ArithmeticError, MemoryError, RecursionError, LookupError,
)  # fmt: skip
"""What NumPy raises at a damaged header."""

TestSet = Literal["auto", "official", "generated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TestFile:
    """The official test sequences, found and checked."""

    __test__: ClassVar[bool] = False  # no test, whatever its name begins with

    sha256: str
    path: Path = field(metadata={"key": False}, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingDigits:
    """Digits (or any glyphs) that move in a frame; made by `moving_digits`. Frames are float32 in [0, 1]."""

    version: ClassVar[int] = 1
    stream: ClassVar[str] = "pixels"
    output: ClassVar[Literal["logistic", "linear"]] = "logistic"

    glyphs: Glyphs
    rules: Rules
    test_file: TestFile | None = None

    @property
    def name(self) -> str:
        """What reports call it: "mnist" for Moving MNIST itself, so that the paper's numbers stand beside it."""
        if self.is_mnist and self.rules == Rules(num_digits=2, canvas=64, speed="fixed"):
            return "mnist"
        speed = "" if self.rules.speed == "fixed" else f"_{self.rules.speed}"
        digits = "" if self.rules.num_digits == 2 else f"_{self.rules.num_digits}"
        canvas = "" if self.rules.canvas == usual_canvas(self.glyphs) else f"_{self.rules.canvas}px"
        return f"moving_{self.glyphs.name}{digits}{canvas}{speed}"

    @property
    def is_mnist(self) -> bool:
        """Whether the glyphs are MNIST's, by their pixels."""
        return (self.glyphs.train_sha256, self.glyphs.test_sha256) == (
            MNIST_TRAIN_SHA256,
            MNIST_TEST_SHA256,
        )

    @property
    def frame_size(self) -> int:
        """D."""
        return self.rules.canvas**2

    @property
    def notes(self) -> tuple[str, ...]:
        """Which digits, how they move, and what they are tested on."""
        side, canvas = self.glyphs.side, self.rules.canvas
        what = (
            "MNIST digits"
            if self.is_mnist
            else "of scikit-learn's digits"
            if self.glyphs.folder is None
            else f"glyphs of {self.glyphs.name}"
        )
        low, high = (each * (canvas - side) for each in SPEED_RANGE)
        speed = (
            f"{FIXED_SPEED * (canvas - side):.1f} pixels a frame, a tenth of the room that a digit has"
            if self.rules.speed == "fixed"
            else f"uniform in {low:.1f} to {high:.1f} pixels a frame (the paper gives no range)"
        )
        tested = (
            f"Tested on the official file {TEST_FILE} (sha256 {self.test_file.sha256[:12]})."
            if self.test_file
            else f"Tested on sequences drawn from {self.glyphs.num_test:,} test glyphs by a fixed seed, not on the official test file."
        )
        return (
            f"{self.name}: {self.rules.num_digits} {what} of {side} x {side} pixels in frames of {canvas} x {canvas}; speed {speed}.",
            f"{self.name}: {tested}",
        )

    @property
    def details(self) -> Mapping[str, str | int]:
        """How digits move, and what is tested on."""
        return {
            "num_digits": self.rules.num_digits,
            "speed": self.rules.speed,
            "tested_on": "the official file" if self.test_file else "drawn sequences",
        }

    def unlabelled_on(
        self, device: str, seed: int, indices: Sequence[int], num_frames: int
    ) -> torch.Tensor:
        """Training sequences by index, float32 (T, B, D), drawn on a device."""
        return self._drawn("train", device, seed, indices, num_frames)

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> np.ndarray:
        """Training sequences by index, float32 (T, B, D)."""
        return self.unlabelled_on("cpu", seed, indices, num_frames).numpy()

    def evaluation(self, indices: Sequence[int], num_frames: int) -> np.ndarray:
        """Test sequences by index, float32 (T, B, D).

        Raises:
            ValueError: when the official file has no such sequence, or not so many frames.
        """
        if self.test_file is None:
            return self._drawn("test", "cpu", EVALUATION_SEED, indices, num_frames).numpy()
        import numpy as np

        frames_TBYX = _opened(self.test_file)
        if num_frames > len(frames_TBYX) or max(indices, default=0) >= frames_TBYX.shape[1]:
            raise ValueError(
                f"{TEST_FILE} has {frames_TBYX.shape[1]:,} sequences of {len(frames_TBYX)} frames, and sequence "
                f"{max(indices, default=0)} with {num_frames} frames was asked for: set test_set=generated"
            )
        chosen = np.asarray(frames_TBYX[:num_frames, list(indices)], dtype=np.float32)
        return chosen.reshape(num_frames, len(indices), -1) / np.float32(255)

    def _drawn(
        self,
        part: Part,
        device: str,
        seed: int,
        indices: Sequence[int],
        num_frames: int,
    ) -> torch.Tensor:
        glyphs_GSS = _on(device, self.glyphs, part)
        planned = plan(
            self.rules,
            num_glyphs=len(glyphs_GSS),
            side=self.glyphs.side,
            seed=seed,
            indices=indices,
            num_frames=num_frames,
        )
        frames_TBYX = draw(self.rules, glyphs_GSS, planned)
        return frames_TBYX.flatten(2).float().div_(255)


def usual_canvas(glyphs: Glyphs) -> int:
    """Rows of a frame in which these glyphs have the room that MNIST's 28 pixels have in 64."""
    return round(glyphs.side * 64 / 28)


def moving_digits(
    glyphs: str = "digits",
    *,
    num_digits: int = 2,
    canvas: int | None = None,
    speed: Literal["fixed", "uniform"] = "fixed",
    test_set: TestSet = "auto",
) -> MovingDigits:
    """Moving digits by name.

    Args:
        glyphs: as for `tasks.data.glyphs.find_glyphs`.
        num_digits: of a sequence.
        canvas: rows and columns of a frame; None for 64/28 of a glyph's.
        speed: see `tasks.data.moving_mnist`.
        test_set: the official file, generated sequences, or the former where it lies beside the glyphs and fits.

    Raises:
        ValueError: when the glyphs or the file are not there or not what they should be, in one sentence.
    """
    found = find_glyphs(glyphs)
    rules = Rules(num_digits=num_digits, canvas=canvas or usual_canvas(found), speed=speed)
    made = MovingDigits(glyphs=found, rules=rules)
    if found.name == "mnist" and not made.is_mnist:
        raise ValueError(
            f"the images in {found.folder} are not MNIST's: get those with `harness data fetch mnist --again`, or give the folder "
            "another name if these are meant"
        )
    if test_set == "generated":
        return made
    path = found.folder / TEST_FILE if found.folder else None
    fits = made.name == "mnist"
    if path is None or not fits or not path.exists():
        if test_set == "official":
            why = (
                "it shows two MNIST digits in frames of 64 at fixed speed, and other sequences are asked for"
                if path is None or not fits
                else f"{path} is not there: `harness data fetch moving-mnist-test` gets it"
            )
            raise ValueError(f"test_set=official: the file {TEST_FILE} cannot be used, as {why}")
        return made
    return MovingDigits(glyphs=found, rules=rules, test_file=check_test_file(path))


def check_test_file(path: Path) -> TestFile:
    """See that a file is the official one; what was found is remembered beside it, as reading it takes seconds.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    import numpy as np

    way_out = "fetch it again with `harness data fetch moving-mnist-test --again`, or set test_set=generated"
    no_array = f"{path} is no array in NumPy's format, or was cut short: {way_out}"
    try:
        with path.open("rb") as source:
            magic = source.read(len(MAGIC))
        if magic != MAGIC:  # NumPy takes other files for archives or for pickles
            raise ValueError(no_array)
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): {way_out}") from None
    except _DAMAGED:  # whatever NumPy's words are: it reads a header as Python
        raise ValueError(no_array) from None
    if found.shape != TEST_SHAPE or found.dtype != np.uint8:
        raise ValueError(
            f"{path} is an array {found.shape} of {found.dtype}, and the official test file is {TEST_SHAPE} of uint8: {way_out}"
        )
    sha256 = _sha256(path)
    if sha256 != TEST_SHA256:
        raise ValueError(
            f"{path} has sha256 {sha256[:12]}..., and the official test file {TEST_SHA256[:12]}...: {way_out}"
        )
    return TestFile(sha256=sha256, path=path)


def _sha256(path: Path) -> str:
    """The file's sha256; remembered beside it by size and time of change."""
    found = path.stat()
    stamp = {"size": found.st_size, "changed_ns": found.st_mtime_ns}
    note = path.with_name(f".{path.name}.sha256.json")
    try:
        told = json.loads(note.read_bytes())
        if {name: told[name] for name in stamp} == stamp:
            return str(told["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing is remembered, or nothing that can be used
    with path.open("rb") as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    with suppress(OSError):  # a folder that cannot be written to: the file is read again next time
        write_whole(note, json.dumps({**stamp, "sha256": sha256}).encode())
    return sha256


def _opened(test_file: TestFile) -> NDArray[np.uint8]:
    """The official sequences, mapped into memory.

    Raises:
        ValueError: when the file is not the one that was asked for any more.
    """
    try:
        found = test_file.path.stat()
    except OSError:
        raise ValueError(
            f"{test_file.path} is gone: put it back, or set test_set=generated"
        ) from None
    return _mapped(test_file.path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=2)
def _mapped(path: Path, size: int, changed_ns: int) -> NDArray[np.uint8]:
    """The file, checked; looked at again only when its size or time of change is another."""
    import numpy as np

    del size, changed_ns
    check_test_file(path)
    frames_TBYX: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return frames_TBYX


@lru_cache(maxsize=4)
def _on(device: str, glyphs: Glyphs, part: Part) -> torch.Tensor:
    """Glyphs (G, S, S) on a device."""
    import torch

    # torch cannot hold arrays that are read-only, as these are.
    return torch.from_numpy(glyphs.images(part).copy()).to(device)
