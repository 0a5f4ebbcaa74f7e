"""What everything offers that turns frames into percepts; pixels as they are; the wrapper of a user's own module.

The convnets themselves are in models/convnets.py.

Letters: B images, C channels, Y rows, X columns, D numbers of a feature, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convnet(nn.Module, ABC):
    """Maps images to class scores, and to features on the way there.

    Attributes:
        layers: Names that `features` knows.
        input_channels: C; None where any number will do.
        input_size: Rows and columns of an image; None where any size from `smallest` will do.
        smallest: Rows and columns that an image has at least.
    """

    layers: ClassVar[tuple[str, ...]]
    smallest: ClassVar[int] = 1
    input_channels: int | None
    input_size: int | None

    @abstractmethod
    def forward(self, images_BCYX: Tensor) -> Tensor:
        """Give logits_BK; dropout is active in training mode."""

    @abstractmethod
    def _feature(self, images_BCYX: Tensor, layer: str) -> Tensor:
        """Give the feature, its axes after B not yet flattened."""

    @abstractmethod
    def _sizes(self) -> Mapping[str, int]:
        """D of every layer."""

    def features(self, images_BCYX: Tensor, layer: str) -> Tensor:
        """Give features_BD of a layer, without dropout in any mode.

        Raises:
            ValueError: There is no such layer, or the images do not have the shape that the net takes.
        """
        self.feature_size(layer)
        self._check(images_BCYX)
        return self._feature(images_BCYX, layer).flatten(1)

    def feature_size(self, layer: str) -> int:
        """D of a layer.

        Raises:
            ValueError: There is no such layer.
        """
        if layer not in self.layers:
            raise ValueError(
                f"{type(self).__name__} has no layer {layer!r}: choose from {', '.join(self.layers)}"
            )
        return self._sizes()[layer]

    def _keep_stack(self, stack: nn.Sequential) -> None:
        """Register the convolutions under torchvision's name for them."""
        # Not as an attribute: `features` is a method here, and only state dicts have to say "features.0.weight".
        self._modules["features"] = stack

    def _stack(self, images_BCYX: Tensor) -> Tensor:
        """Run the convolutions that `_keep_stack` took."""
        stack = self._modules["features"]
        assert stack is not None
        maps_BCYX: Tensor = stack(images_BCYX)
        return maps_BCYX

    def _check(self, images_BCYX: Tensor) -> None:
        shape = tuple(images_BCYX.shape)
        channels = "C" if self.input_channels is None else str(self.input_channels)
        if self.input_size is None:
            rule = f"(B, {channels}, Y, X), Y and X at least {self.smallest}"
            fits = len(shape) == 4 and min(shape[2:]) >= self.smallest
        else:
            rule = f"(B, {channels}, {self.input_size}, {self.input_size})"
            fits = len(shape) == 4 and shape[2:] == (self.input_size, self.input_size)
        if not fits or self.input_channels not in (None, shape[1]):
            raise ValueError(
                f"{type(self).__name__} takes images of shape {rule}, not {shape}: crop or resize them"
            )


class RawPixels(Convnet):
    """No convnet: pixels themselves, averaged down to `side` x `side`, row by row, channel after channel.

    Grey is 0.299 R + 0.587 G + 0.114 B (Rec. 601) of channels in this order.
    """

    layers = ("pixels",)

    def __init__(self, side: int = 32, *, grey: bool = True, channels: int = 3) -> None:
        """Make it.

        Args:
            side: Rows and columns of what is left of an image.
            grey: One grey channel instead of three colours.
            channels: Channels of an image; others than three have no grey.

        Raises:
            ValueError: For a side or a number of channels below 1, or grey of other than three channels.
        """
        super().__init__()
        if side < 1:
            raise ValueError(f"side={side}: an image has at least 1 row and column")
        if channels < 1 or (grey and channels != 3):
            raise ValueError(f"channels={channels}: at least 1, and 3 where grey is made of them")
        self.input_channels, self.input_size = channels, None
        self.side, self.grey = side, grey
        self.register_buffer("luma_C", torch.tensor([0.299, 0.587, 0.114]), persistent=False)

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """Give pixels_BD: there are no classes to have logits of."""
        return self.features(images_BCYX, "pixels")

    def _feature(self, images_BCYX: Tensor, layer: str) -> Tensor:
        if min(images_BCYX.shape[2:]) < self.side:
            raise ValueError(
                f"an image of {tuple(images_BCYX.shape[2:])} pixels cannot be averaged down to {self.side} x "
                f"{self.side}: take a smaller side"
            )
        if self.grey:
            luma_C = self.get_buffer("luma_C").to(images_BCYX.dtype)
            images_BCYX = torch.einsum("bcyx,c->byx", images_BCYX, luma_C).unsqueeze(1)
        return functional.adaptive_avg_pool2d(images_BCYX, self.side)

    def _sizes(self) -> Mapping[str, int]:
        return {"pixels": self.side**2 * (1 if self.grey else self.input_channels or 0)}


class WrappedConvnet(Convnet):
    """Any module that maps images (B, C, Y, X) to features, (B, D) or more axes to be flattened.

    Its state dict is the module's own.
    """

    layers = ("output",)

    def __init__(self, module: nn.Module, feature_size: int) -> None:
        """Wrap a module whose features have `feature_size` numbers."""
        super().__init__()
        self.module = module
        self.input_channels = self.input_size = None
        self.output_size = feature_size

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """Give the module's output, (B, D)."""
        return self.features(images_BCYX, "output")

    def _feature(self, images_BCYX: Tensor, layer: str) -> Tensor:
        name, given = type(self.module).__name__, self.module(images_BCYX)
        rule = f"a convnet gives {self.output_size} numbers an image, as its feature_size says"
        if not isinstance(given, Tensor):
            raise ValueError(f"{name} returned a {type(given).__name__}: {rule}")  # noqa: TRY004 - a user's mistake
        wanted = len(images_BCYX) * self.output_size
        if given.dim() < 2 or len(given) != len(images_BCYX) or given.numel() != wanted:
            raise ValueError(
                f"{name} returned a tensor of shape {tuple(given.shape)} for images of shape "
                f"{tuple(images_BCYX.shape)}: {rule}"
            )
        return given

    def _sizes(self) -> Mapping[str, int]:
        return {"output": self.output_size}
