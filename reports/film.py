"""What runs kept as pictures, as pixels: sequences of frames, and what a model made of them.

Shapes: T frames read, F frames ahead, B sequences, Y and X pixels, C = 1 (grey) or 3 (colours), D numbers of a frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.evidence import Evidence, Value

FILE = "pictures"
"""Name of the file that a run kept pictures in, without its ending."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """Pictures of one run, all on one scale from black to white and in the order of time."""

    input_TBYXC: Pixels
    future_FBYXC: Pixels
    reconstruction_TBYXC: Pixels | None
    """None where the model does not reconstruct."""
    prediction_FBYXC: Pixels | None
    """None where the model does not predict."""

    @property
    def num_sequences(self) -> int:
        """B."""
        return int(self.input_TBYXC.shape[1])

    @property
    def side(self) -> int:
        """Y, which is X."""
        return int(self.input_TBYXC.shape[2])


def film(evidence: Evidence, cell: Mapping[str, Value]) -> Film | None:
    """The pictures that a cell's accepted run kept; None when it has none.

    Args:
        evidence: of the experiment.
        cell: one of its expected cells, with `side` and `channels` of a picture.

    Raises:
        ValueError: when the run kept no pictures, or others than the cell says.
    """
    key, side, channels = str(cell["cell"]), cell["side"], cell["channels"]
    if not isinstance(side, int) or not isinstance(channels, int):
        raise ValueError(f"cell {key[:16]} does not say the side and the channels of its pictures")  # noqa: TRY004
    kept = evidence.arrays(key, FILE)
    if not kept:
        return None
    try:
        low, high = (float(end) for end in kept["display_range"])

        def pixels(name: str) -> Pixels:
            frames_TBD = kept[name].astype(np.float32)
            shown_TBD = np.clip((frames_TBD - low) / max(high - low, 1e-9), 0, 1)
            levels_TBD = np.round(255 * shown_TBD).astype(np.uint8)
            levels_TBYXC: Pixels = levels_TBD.reshape(*frames_TBD.shape[:2], side, side, channels)
            return levels_TBYXC

        return Film(
            input_TBYXC=pixels("input_TBD"),
            future_FBYXC=pixels("future_FBD"),
            reconstruction_TBYXC=pixels("reconstruction_TBD")
            if "reconstruction_TBD" in kept
            else None,
            prediction_FBYXC=pixels("prediction_FBD") if "prediction_FBD" in kept else None,
        )
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"the pictures of cell {key[:16]} are not what it says ({error}): run it again"
        ) from error


def enlarged(frame_YXC: Pixels, times: int) -> Pixels:
    """A frame in three colours with every pixel as a square of `times` x `times`: (times Y, times X, 3)."""
    rgb_YX3 = np.repeat(frame_YXC, 3 // frame_YXC.shape[-1], axis=-1)
    return rgb_YX3.repeat(times, axis=0).repeat(times, axis=1)


def zoom(side: int, wanted: int) -> int:
    """Pixels for each pixel of a frame of `side`, so that it is about `wanted` wide."""
    return max(1, round(wanted / side))
