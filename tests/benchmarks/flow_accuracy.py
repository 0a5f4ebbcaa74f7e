"""`python -m tests.benchmarks.flow_accuracy`: end-point errors of all flow methods, a Markdown table.

Pairs with ground truth are looked for in the folder HARNESS_TEST_DATA names, else in ../shared/data
beside the repository's root.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.flow import METHODS, flow_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two frames and the true flow between them, NaN where it is unknown."""

    frames_TYXC: np.ndarray
    truth_2YX: np.ndarray


def folder() -> Path:
    """Where the pairs should be; it need not exist."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    return Path(os.environ.get("HARNESS_TEST_DATA", beside)) / "flow"


def chairs() -> Pair:
    """FlyingChairs, a crop of 50 x 50."""
    where = folder() / "chairs_crop50"
    raw = (where / "00001_flow.flo").read_bytes()
    width, height = np.frombuffer(raw, "<i4", count=2, offset=4)
    truth_YX2 = np.frombuffer(raw, "<f4", offset=12).reshape(height, width, 2)
    return Pair(
        frames_TYXC=_frames(where / "00001_img1.ppm", where / "00001_img2.ppm"),
        truth_2YX=np.moveaxis(truth_YX2, 2, 0),
    )


def motorcycle(size: tuple[int, int] = (500, 741)) -> Pair:
    """Middlebury 2014 motorcycle, a stereo pair: u is minus the disparity, v is 0.

    A smaller size (Y, X) averages the images over areas, takes the nearest disparity and scales it.
    """
    import cv2

    where = folder() / "middlebury2014_motorcycle"
    frames_TYXC = _frames(where / "motorcycle_left.png", where / "motorcycle_right.png")
    with np.load(where / "motorcycle_disp.npz") as file:
        disparity_YX = file["arr_0"]
    Y, X = size
    if disparity_YX.shape != size:
        shrunk = [cv2.resize(frame, (X, Y), interpolation=cv2.INTER_AREA) for frame in frames_TYXC]
        frames_TYXC = np.stack(shrunk)
        scale = X / disparity_YX.shape[1]
        disparity_YX = scale * cv2.resize(
            disparity_YX, (X, Y), interpolation=cv2.INTER_NEAREST_EXACT
        )
    known = np.isfinite(disparity_YX)
    truth_2YX = np.stack([np.where(known, -disparity_YX, np.nan), np.where(known, 0, np.nan)])
    return Pair(frames_TYXC=frames_TYXC, truth_2YX=truth_2YX)


def end_point_error(flow_2YX: np.ndarray, truth_2YX: np.ndarray) -> float:
    """Mean length in pixels of flow minus truth, over the pixels whose truth is known."""
    return float(np.nanmean(np.hypot(*(flow_2YX.astype(np.float64) - truth_2YX))))


def _frames(*files: Path) -> np.ndarray:
    """Read images as uint8 RGB, (T, Y, X, 3)."""
    import cv2

    read = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files]
    for file, image in zip(files, read, strict=True):
        if image is None:
            raise FileNotFoundError(f"{file} is no image that can be read")
    return np.ascontiguousarray(np.stack(read)[..., ::-1])


PAIRS: Mapping[str, Callable[[], Pair]] = {
    "chairs 50 x 50": chairs,
    "motorcycle 125 x 185": lambda: motorcycle((125, 185)),
    "motorcycle 250 x 370": lambda: motorcycle((250, 370)),
    "motorcycle 500 x 741": motorcycle,
}


def main() -> None:
    """Print the table."""
    print(f"| pair | no motion | {' | '.join(METHODS)} |")  # noqa: T201
    print(f"|---|{'---|' * (1 + len(METHODS))}")  # noqa: T201
    for name, load in PAIRS.items():
        pair = load()
        still = end_point_error(np.zeros_like(pair.truth_2YX), pair.truth_2YX)
        found = [
            end_point_error(flow_of(pair.frames_TYXC, method)[0], pair.truth_2YX)
            for method in METHODS
        ]
        print(f"| {name} | {' | '.join(f'{error:.2f}' for error in (still, *found))} |")  # noqa: T201


if __name__ == "__main__":
    main()
