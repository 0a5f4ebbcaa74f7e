"""From frames to what a convnet reads: a central crop, an order of channels, a scale, a mean and a deviation.

Which ones belongs to a convnet's weights, and no file of weights states it: so it is a value here, and part of
every key. Shapes: T frames, Y rows, X columns, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Central crop, order of channels, then (x * scale - mean) / std.

    Raises:
        ValueError: for a value outside its range.
    """

    order: Literal["RGB", "BGR", "as given"]
    """RGB and BGR take RGB frames; "as given" takes any channels, such as stacked flow."""
    scale: float
    mean: tuple[float, ...]
    """In the order that the convnet reads, after scaling; one number serves all channels."""
    std: tuple[float, ...] = (1.0,)
    crop: int = 224
    """Rows and columns in the middle of a frame."""

    def __post_init__(self) -> None:
        if self.order not in ("RGB", "BGR", "as given"):
            raise ValueError(f"order={self.order!r}: choose from RGB, BGR, as given")
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale}: it must be above 0")
        if self.crop < 1:
            raise ValueError(f"crop={self.crop}: it must be at least 1")
        if not all(each > 0 for each in self.std):
            raise ValueError(f"std={self.std}: every channel's must be above 0")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not values or (self.order != "as given" and len(values) not in (1, 3)):
                raise ValueError(f"{name}={values}: give one number, or one for each channel")

    @property
    def title(self) -> str:
        """Its name in PREPROCESSINGS with the crop, or what it does."""
        known = next(
            (
                name
                for name, each in PREPROCESSINGS.items()
                if replace(each, crop=self.crop) == self
            ),
            f"{self.order}, x {self.scale:g}, mean {','.join(f'{m:g}' for m in self.mean)}",
        )
        return f"{known}, central {self.crop} x {self.crop}"

    def prepare(self, frames_TYXC: np.ndarray) -> np.ndarray:
        """Crop, order and scale frames; see `prepare_on`."""
        return self.prepare_on(frames_TYXC, "cpu").numpy()

    def prepare_on(self, frames_TYXC: np.ndarray, device: str | torch.device) -> torch.Tensor:
        """Crop frames, send them to a device as they are, a byte a number, and order and scale them there.

        Args:
            frames_TYXC: RGB frames, uint8 (T, Y, X, 3); "as given" takes any C, and float32 too. Of 240 x 320
                pixels a crop of 224 keeps rows 8 to 231 and columns 48 to 271 (sec. 3.1); where a margin is odd,
                the upper or left one is the smaller.
            device: where the result is to be.

        Returns:
            float32 (T, C, crop, crop), contiguous.

        Raises:
            ValueError: for frames of another shape or type, or smaller than the crop.
        """
        import torch

        colour = self.order != "as given"
        kinds = ("uint8",) if colour else ("uint8", "float32")
        shape, kind = frames_TYXC.shape, frames_TYXC.dtype.name
        if len(shape) != 4 or kind not in kinds or (colour and shape[3] != 3):
            rule = f"(T, Y, X, {3 if colour else 'C'}) of {' or '.join(kinds)}"
            raise ValueError(f"frames are {shape} of {kind}: order={self.order!r} takes {rule}")
        rows, columns, channels = shape[1:]
        if min(rows, columns) < self.crop:
            raise ValueError(
                f"frames of {rows} x {columns} pixels have no central {self.crop} x {self.crop}: resize them first "
                "(the paper's are 240 x 320)"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"frames have {channels} channels, but {name} is of {len(values)}: give one number, or one for "
                    "each channel"
                )
        top, left = (rows - self.crop) // 2, (columns - self.crop) // 2
        cut_TYXC = frames_TYXC[:, top : top + self.crop, left : left + self.crop]
        cut_TCYX = torch.from_numpy(np.ascontiguousarray(cut_TYXC)).to(device).permute(0, 3, 1, 2)
        if self.order == "BGR":
            cut_TCYX = cut_TCYX.flip(1)
        ready_TCYX = cut_TCYX.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        ready_TCYX *= self.scale
        for values, change in ((self.mean, ready_TCYX.sub_), (self.std, ready_TCYX.div_)):
            change(torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1))
        return ready_TCYX


PREPROCESSINGS: Mapping[str, Preprocessing] = {
    "torchvision": Preprocessing(
        order="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "caffe": Preprocessing(order="BGR", scale=1.0, mean=(103.939, 116.779, 123.68)),
    "squeezenet_dc": Preprocessing(order="BGR", scale=1.0, mean=(104.0, 117.0, 123.0), crop=227),
    "pixels": Preprocessing(order="RGB", scale=1 / 255, mean=(0.0,)),
    "flow": Preprocessing(order="as given", scale=1.0, mean=(0.0,)),
}
"""Preprocessings by name: they belong to weights, not to architectures."""
