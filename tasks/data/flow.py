"""Optical flow of a video: by which method, how it is stored, what the temporal stream is fed.

After "two-stream" work (Simonyan & Zisserman 2014a, section 3), whose temporal ConvNet makes the paper's flow percepts:
flow of Brox et al. (2004) between consecutive frames, kept as 8-bit images, ten of them stacked to
one input of 2 x 10 channels. The method itself is models/brox.py; OpenCV's stand beside it for comparison.

Letters: T frames, Y rows, X columns, C channels, 2 = (u, v): u to the right and v down, in pixels.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from models.brox import Brox

_ZERO = 128  # the byte of no motion


def flow_of(
    frames_TYXC: np.ndarray,
    method: str = "brox",
    *,
    settings: Brox | None = None,
    device: str = "cpu",
    batch_size: int = 16,
) -> np.ndarray:
    """Return the flow from each frame to the next, float32 (T-1, 2, Y, X), u then v, in pixels.

    frame[t + 1](x + u, y + v) matches frame[t](x, y). Every method sees the same luma (ITU-R BT.601).

    Args:
        frames_TYXC: uint8, grey (C = 1) or RGB (C = 3).
        method: One of METHODS. "brox" is the paper's and the default; "tvl1" (Zach et al. 2007),
            "dis" (Kroeger et al. 2016, preset medium) and "farneback" (Farneback 2003) are OpenCV's.
        settings: Parameters of "brox"; None: the defaults of models.brox.Brox.
        device: Where "brox" computes, such as "cuda". OpenCV's methods know the CPU only.
        batch_size: Pairs that "brox" computes at once; results do not depend on it.

    Raises:
        ValueError: The frames are not uint8 (T, Y, X, 1 or 3) with T >= 1, the method is unknown, a setting
            would have no effect, or the frames are too small for the method.
    """
    import numpy as np

    if method not in METHODS:
        meant = difflib.get_close_matches(method, METHODS, n=1)
        hint = f", did you mean {meant[0]!r}?" if meant else ""
        raise ValueError(f"no flow method {method!r}: choose from {', '.join(METHODS)}{hint}")
    shape = frames_TYXC.shape
    if frames_TYXC.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise ValueError(
            f"frames are {frames_TYXC.dtype} of shape {shape}: give uint8 (T, Y, X, C) with C = 1 or 3 and "
            "at least one frame"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be at least 1")
    if method != "brox" and (settings is not None or device != "cpu"):
        raise ValueError(f"settings and device are for 'brox' and have no effect on {method!r}")
    luma_TYX = _luma(frames_TYXC)
    if method == "brox":
        return _brox(luma_TYX, settings, device, batch_size)
    return _opencv(np.rint(luma_TYX).astype(np.uint8), method)


def _luma(frames_TYXC: np.ndarray) -> np.ndarray:
    """Return 0.299 R + 0.587 G + 0.114 B as float32 (T, Y, X), or the grey values themselves."""
    import numpy as np

    if frames_TYXC.shape[3] == 1:
        return frames_TYXC[..., 0].astype(np.float32)
    red, green, blue = (frames_TYXC[..., channel].astype(np.float32) for channel in range(3))
    luma_TYX: np.ndarray = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma_TYX


def _brox(luma_TYX: np.ndarray, settings: Brox | None, device: str, batch_size: int) -> np.ndarray:
    import numpy as np
    import torch

    from models.brox import Brox, brox_flow

    T, Y, X = luma_TYX.shape
    flow_T2YX = np.empty((T - 1, 2, Y, X), dtype=np.float32)
    for start in range(0, T - 1, batch_size):
        stop = min(start + batch_size, T - 1)
        luma = torch.from_numpy(luma_TYX[start : stop + 1]).to(device)[:, None]
        flow = brox_flow(luma[:-1], luma[1:], settings if settings is not None else Brox())
        flow_T2YX[start:stop] = flow.cpu().numpy()
    return flow_T2YX


def _opencv(luma_TYX: np.ndarray, method: str) -> np.ndarray:
    import cv2
    import numpy as np

    T, Y, X = luma_TYX.shape
    flow_T2YX = np.empty((T - 1, 2, Y, X), dtype=np.float32)
    for t in range(T - 1):
        still_YX2 = np.zeros((Y, X, 2), dtype=np.float32)
        try:
            flow_YX2 = _OPENCV[method](luma_TYX[t], luma_TYX[t + 1], still_YX2)
        except cv2.error as error:
            raise ValueError(
                f"OpenCV's {method!r} takes no frames of {Y} x {X} pixels ({error.err}): use larger ones, "
                "or 'brox', which takes any size"
            ) from error
        flow_T2YX[t] = np.moveaxis(flow_YX2, 2, 0)
    return flow_T2YX


def _tvl1(first_YX: np.ndarray, second_YX: np.ndarray, still_YX2: np.ndarray) -> np.ndarray:
    import cv2
    import numpy as np

    solver = cv2.optflow.createOptFlow_DualTVL1()
    return np.asarray(solver.calc(first_YX, second_YX, still_YX2))


def _dis(first_YX: np.ndarray, second_YX: np.ndarray, still_YX2: np.ndarray) -> np.ndarray:
    import cv2
    import numpy as np

    solver = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    # An empty array, since it would take still_YX2 for a flow to start from.
    return np.asarray(solver.calc(first_YX, second_YX, still_YX2[:0]))


def _farneback(first_YX: np.ndarray, second_YX: np.ndarray, still_YX2: np.ndarray) -> np.ndarray:
    import cv2
    import numpy as np

    # Five levels; the rest are the values of OpenCV's own tutorial, whose three levels see less far.
    flow_YX2 = cv2.calcOpticalFlowFarneback(
        first_YX,
        second_YX,
        still_YX2,
        pyr_scale=0.5,
        levels=5,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
    return np.asarray(flow_YX2)


_OPENCV = {"tvl1": _tvl1, "dis": _dis, "farneback": _farneback}
METHODS = ("brox", *_OPENCV)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantised:
    """Flow as bytes: the linear rescaling to [0, 255] of two-stream work, with an exact zero.

    Byte 128 is no motion, exactly; 1 is -bound and 255 is +bound pixels, one level is bound / 127. A
    displacement within the bound comes back within half a level (0.079 pixels at the default bound); beyond
    the bound it is clipped, and clipped_share() tells how often. Byte 0 is never written; should a lossy
    image format bring one about, it reads as one level below -bound.

    The paper of 2014 names neither bound nor rounding. 20 pixels is what later two-stream code uses;
    its 255 / 2 for no motion falls between two bytes, which puts a drift of half a level into still videos.
    """

    bound: float = 20.0
    """Largest displacement that is kept, pixels a frame."""

    def __post_init__(self) -> None:
        """Check the bound.

        Raises:
            ValueError: It is not a positive number.
        """
        if not 0 < self.bound < math.inf:
            raise ValueError(f"bound {self.bound} must be a number of pixels above 0, such as 20")

    @property
    def level(self) -> float:
        """Pixels between neighbouring bytes."""
        return self.bound / (_ZERO - 1)

    def quantise(self, flow: np.ndarray) -> np.ndarray:
        """Return flow of any shape as uint8 of that shape, clipped to the bound.

        Raises:
            ValueError: A displacement is not finite.
        """
        import numpy as np

        _check_finite(flow)
        clipped = np.clip(np.asarray(flow, dtype=np.float64), -self.bound, self.bound)
        return (np.rint(clipped / self.level) + _ZERO).astype(np.uint8)

    def dequantise(self, levels: np.ndarray) -> np.ndarray:
        """Return bytes of any shape as float32 pixels of that shape.

        Raises:
            ValueError: They are not uint8.
        """
        import numpy as np

        if levels.dtype != np.uint8:
            raise ValueError(f"stored flow is uint8, not {levels.dtype}: is this flow in pixels?")
        return ((levels.astype(np.float64) - _ZERO) * self.level).astype(np.float32)

    def clipped_share(self, flow: np.ndarray) -> float:
        """Share of displacements beyond the bound, u and v counted each; 0 for no displacements.

        Raises:
            ValueError: A displacement is not finite.
        """
        import numpy as np

        _check_finite(flow)
        return float((np.abs(flow) > self.bound).mean()) if flow.size else 0.0


def stack(
    flow_T2YX: np.ndarray, length: int = 10, start: int = 0, *, subtract_mean: bool = False
) -> np.ndarray:
    """Return the temporal stream's input (2 * length, Y, X), float32: u1, v1, u2, v2, ...

    Optical flow stacking, eq. (1) of Simonyan & Zisserman 2014a: channels 2k and 2k + 1, counted from 0,
    are u and v of flow start + k.

    Args:
        flow_T2YX: Flow in pixels, as flow_of or Quantised.dequantise returns it.
        length: Flows of one input, the L of that paper.
        start: The first of them.
        subtract_mean: Take its mean over the image from every channel, which removes most of a camera's
            motion ("mean flow subtraction" there: per displacement field).

    Raises:
        ValueError: The shape is not (T, 2, Y, X), or the video has no such flows.
    """
    import numpy as np

    if flow_T2YX.ndim != 4 or flow_T2YX.shape[1] != 2:
        raise ValueError(f"flow has shape {flow_T2YX.shape}: give (T, 2, Y, X)")
    if flow_T2YX.dtype.kind != "f":
        raise ValueError(f"flow is {flow_T2YX.dtype}: dequantise it to pixels first")
    there_are = flow_T2YX.shape[0]
    if length < 1 or start < 0 or start + length > there_are:
        raise ValueError(
            f"flows {start} to {start + length - 1} of {there_are}: choose length >= 1 and "
            f"0 <= start <= {there_are} - length"
        )
    _, _, Y, X = flow_T2YX.shape
    taken = flow_T2YX[start : start + length].reshape(2 * length, Y, X).astype(np.float32)
    if subtract_mean:
        taken -= taken.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    return taken


def _check_finite(flow: np.ndarray) -> None:
    import numpy as np

    if not np.isfinite(flow).all():
        raise ValueError(
            "flow has values that are not finite: mask or fill them before it is stored"
        )
