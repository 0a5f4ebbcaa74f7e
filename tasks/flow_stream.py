"""The flow stream of a video: from frames to stacks of optical flow, one for every frame, as the video is decoded.

Flow is taken between neighbouring frames, kept in 8 bits as two-stream work keeps it (Simonyan and Zisserman 2014a), and
stacked: what the temporal stream sees at frame t are the L fields from t on. At the end of a video the last field is
repeated, so that the flow stream has as many steps as the RGB stream; a video of one frame stands still.

Shapes: T frames, Y and X pixels, N stacks of a piece, L fields of a stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tasks.data.flow import METHODS, Quantised, flow_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSpec:
    """How the flow stream is made.

    Raises:
        ValueError: for an unknown method, a bound that is not above 0, or less than one field.
    """

    version: ClassVar[int] = 1
    """Raised whenever the same values would give other flow."""

    method: str = "brox"
    bound: float = 20.0
    """Displacement in pixels that the largest byte stands for; more is clipped to it."""
    length: int = 1
    """L, fields of a stack (paper: 1 and 10)."""
    subtract_mean: bool = False
    """Whether each field's mean over the image is taken from it."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"flow method {self.method!r}: choose from {', '.join(METHODS)}")
        if self.length < 1:
            raise ValueError(f"{self.length} fields of flow: a stack has at least 1")
        Quantised(bound=self.bound)

    @property
    def channels(self) -> int:
        """Channels of a stack: u and v of every field."""
        return 2 * self.length


def stacks(
    pieces_TYX3: Iterable[np.ndarray], spec: FlowSpec, *, device: str = "cpu"
) -> Iterator[np.ndarray]:
    """Turn a video's frames into its flow stream.

    Args:
        pieces_TYX3: the frames in order, uint8 RGB (T, Y, X, 3), in pieces of any length of at least 1.
        spec: how.
        device: where Brox's method computes.

    Yields:
        float32 (N, Y, X, 2L) in pixels: u1, v1, u2, v2, ...; over all pieces as many as there are frames.
    """
    import numpy as np

    quantised = Quantised(bound=spec.bound)
    last_frame_1YX3: np.ndarray | None = None
    waiting: list[np.ndarray] = []  # fields (2, Y, X) from the next stack's first on
    newest_2YX: np.ndarray | None = None
    behind = 0  # frames that have no stack yet
    for piece_TYX3 in pieces_TYX3:
        behind += len(piece_TYX3)
        known = [] if last_frame_1YX3 is None else [last_frame_1YX3]
        frames_TYX3 = np.concatenate([*known, piece_TYX3])
        last_frame_1YX3 = piece_TYX3[-1:]
        if len(frames_TYX3) < 2:
            continue
        on = device if spec.method == "brox" else "cpu"
        flow_T2YX = flow_of(frames_TYX3, spec.method, device=on)
        flow_T2YX = quantised.dequantise(quantised.quantise(flow_T2YX))
        if spec.subtract_mean:
            flow_T2YX = flow_T2YX - flow_T2YX.mean(axis=(2, 3), keepdims=True)
        waiting += list(flow_T2YX)
        newest_2YX = flow_T2YX[-1]
        ready = len(waiting) - spec.length + 1
        if ready > 0:
            yield _stacked(waiting, ready, spec.length)
            waiting = waiting[ready:]
            behind -= ready
    if last_frame_1YX3 is None:
        return
    if newest_2YX is None:
        newest_2YX = np.zeros((2, *last_frame_1YX3.shape[1:3]), dtype=np.float32)
    waiting += [newest_2YX] * (behind + spec.length - 1 - len(waiting))
    yield _stacked(waiting, behind, spec.length)


def _stacked(fields: list[np.ndarray], number: int, length: int) -> np.ndarray:
    """The first stacks of some fields (2, Y, X): (number, Y, X, 2 length)."""
    import numpy as np

    stacks_NCYX = np.stack(
        [np.concatenate(fields[start : start + length]) for start in range(number)]
    )
    return stacks_NCYX.transpose(0, 2, 3, 1)
