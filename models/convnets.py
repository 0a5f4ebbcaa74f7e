"""The convnets that turn frames into percepts: VGG-16, SqueezeNet 1.0 and CNN-M-2048.

VGG-16 (Simonyan & Zisserman 2014b, configuration D) and SqueezeNet 1.0 (Iandola et al. 2016) name their weights
as torchvision does, so that files for torchvision fit. CNN-M-2048 (Chatfield et al. 2014) is both streams of
Simonyan & Zisserman 2014a; its keys are conv1 .. conv5, fc6 .. fc8, each with .weight and .bias.

Letters: B images, C channels, Y rows, X columns, D numbers of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dropout import Dropout
from models.percepts import Convnet


def _divided(width: int, divisor: int) -> int:
    if divisor < 1 or width % divisor:
        raise ValueError(
            f"divisor={divisor}: it must divide every width of the net, such as {width}"
        )
    return width // divisor


class VGG16(Convnet):
    """VGG-16: 13 convolutions of 3x3 in five blocks, then fc6, fc7 and fc8 (138,357,544 parameters).

    The paper's percept is "fc6" after its ReLU (section 3.1); "fc7" is after its ReLU too, "pool5" is what the
    convolutions end in, row by row (512 x 7 x 7), and "prob" the softmax of the logits.
    """

    layers = ("pool5", "fc6", "fc7", "prob")
    BLOCKS: ClassVar[tuple[tuple[int, int], ...]] = (
        (2, 64),
        (2, 128),
        (3, 256),
        (3, 512),
        (3, 512),
    )
    """Convolutions of a block and their width; a pooling of 2 ends each block."""

    def __init__(self, num_classes: int = 1000, *, divisor: int = 1) -> None:
        """Make the net, with torch's initial weights.

        Args:
            num_classes: K.
            divisor: Every width but K is divided by it: a narrow copy with the same layers and keys.

        Raises:
            ValueError: For a divisor that does not divide the widths.
        """
        super().__init__()
        self.input_channels, self.input_size = 3, 224
        self.num_classes, self.hidden = num_classes, _divided(4096, divisor)
        parts: list[nn.Module] = []
        channels = 3
        for count, full in self.BLOCKS:
            width = _divided(full, divisor)
            for _ in range(count):
                parts += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            parts.append(nn.MaxPool2d(2))
        self.pooled = channels * 7 * 7
        self._keep_stack(nn.Sequential(*parts))
        self.classifier = nn.Sequential(
            nn.Linear(self.pooled, self.hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(self.hidden, num_classes),
        )

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """Give logits_BK of images (B, 3, 224, 224)."""
        self._check(images_BCYX)
        logits_BK: Tensor = self.classifier(self._stack(images_BCYX).flatten(1))
        return logits_BK

    def _feature(self, images_BCYX: Tensor, layer: str) -> Tensor:
        fc6, _, _, fc7, _, _, fc8 = self.classifier
        pool5_BD = self._stack(images_BCYX).flatten(1)
        return _head(pool5_BD, layer, fc6, fc7, fc8)

    def _sizes(self) -> Mapping[str, int]:
        return {
            "pool5": self.pooled,
            "fc6": self.hidden,
            "fc7": self.hidden,
            "prob": self.num_classes,
        }


def _head(pool5_BD: Tensor, layer: str, fc6: nn.Module, fc7: nn.Module, fc8: nn.Module) -> Tensor:
    """Go on from the last pooling to a layer of the classifier, without its dropout."""
    if layer == "pool5":
        return pool5_BD
    fc6_BD = functional.relu(fc6(pool5_BD))
    if layer == "fc6":
        return fc6_BD
    fc7_BD = functional.relu(fc7(fc6_BD))
    if layer == "fc7":
        return fc7_BD
    probabilities_BK: Tensor = fc8(fc7_BD).softmax(dim=1)
    return probabilities_BK


class Fire(nn.Module):
    """SqueezeNet's module: squeeze to few channels, expand by 1x1 and by 3x3, side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        """Make a module from `channels` to 2 x `expanded` channels."""
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, maps_BCYX: Tensor) -> Tensor:
        """Give maps of the same size, after the ReLU."""
        squeezed_BCYX = functional.relu(self.squeeze(maps_BCYX))
        return functional.relu(
            torch.cat([self.expand1x1(squeezed_BCYX), self.expand3x3(squeezed_BCYX)], dim=1)
        )


class SqueezeNet(Convnet):
    """SqueezeNet 1.0, without bypass (1,248,424 parameters).

    "fire9" is the mean over all places of fire9's 512 maps; "prob" is the softmax of the logits, which are the
    means of conv10's maps after their ReLU. The authors' Caffe net pads conv10 by 1, although it is 1 x 1, so that
    a border of biases enters these means; torchvision's does not. "fire9" is the same for both.
    """

    layers = ("fire9", "prob")
    smallest = 32

    def __init__(self, num_classes: int = 1000, *, conv10_padding: int = 0) -> None:
        """Make the net, with torch's initial weights.

        Args:
            num_classes: K.
            conv10_padding: 0 for weights of torchvision, 1 for those from Caffe.

        Raises:
            ValueError: For any other padding.
        """
        super().__init__()
        if conv10_padding not in (0, 1):
            raise ValueError(
                f"conv10_padding={conv10_padding}: it is 0 for weights of torchvision, 1 for those from Caffe"
            )
        self.input_channels, self.input_size = 3, None
        self.num_classes, self.conv10_padding = num_classes, conv10_padding
        self._keep_stack(
            nn.Sequential(
                nn.Conv2d(3, 96, 7, stride=2),
                nn.ReLU(inplace=True),
                _pool(),
                Fire(96, 16, 64),
                Fire(128, 16, 64),
                Fire(128, 32, 128),
                _pool(),
                Fire(256, 32, 128),
                Fire(256, 48, 192),
                Fire(384, 48, 192),
                Fire(384, 64, 256),
                _pool(),
                Fire(512, 64, 256),
            )
        )
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(512, num_classes, 1, padding=conv10_padding), nn.ReLU()
        )

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """Give logits_BK of images (B, 3, Y, X)."""
        self._check(images_BCYX)
        logits_BK: Tensor = self.classifier(self._stack(images_BCYX)).mean(dim=(2, 3))
        return logits_BK

    def _feature(self, images_BCYX: Tensor, layer: str) -> Tensor:
        fire9_BCYX = self._stack(images_BCYX)
        if layer == "fire9":
            return fire9_BCYX.mean(dim=(2, 3))
        _, conv10, relu = self.classifier
        probabilities_BK: Tensor = relu(conv10(fire9_BCYX)).mean(dim=(2, 3)).softmax(dim=1)
        return probabilities_BK

    def _sizes(self) -> Mapping[str, int]:
        return {"fire9": 512, "prob": self.num_classes}


def _pool() -> nn.MaxPool2d:
    """Pooling of 3 at stride 2 that keeps a cut window at the border, as Caffe has it."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class CNNM2048(Convnet):
    """CNN-M-2048, a stream of the two-stream net (90.7 million parameters at 20 channels and 101 classes).

    With 3 input channels it is the spatial stream, with 2L the temporal one, on L flow fields. They differ in one
    thing more: the temporal stream has no normalisation after conv2 (Simonyan & Zisserman 2014a, section 5).
    """

    layers = ("pool5", "fc6", "fc7", "prob")

    def __init__(
        self, input_channels: int = 20, num_classes: int = 101, *, divisor: int = 1
    ) -> None:
        """Make the net, with torch's initial weights.

        Args:
            input_channels: 3, or 2L.
            num_classes: K.
            divisor: Every width but C and K is divided by it: a narrow copy with the same layers and keys.

        Raises:
            ValueError: For any other number of channels, or a divisor that does not divide the widths.
        """
        super().__init__()
        if input_channels != 3 and (input_channels < 2 or input_channels % 2):
            raise ValueError(
                f"input_channels={input_channels}: the spatial stream has 3, the temporal one an even number, "
                "two for each flow field"
            )
        self.input_channels, self.input_size = input_channels, 224
        self.num_classes = num_classes
        self.hidden = (_divided(4096, divisor), _divided(2048, divisor))
        first, second, third = (_divided(width, divisor) for width in (96, 256, 512))
        self.pooled = third * 6 * 6
        self.conv1 = nn.Conv2d(input_channels, first, 7, stride=2)
        self.conv2 = nn.Conv2d(first, second, 5, stride=2, padding=1)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.conv4 = nn.Conv2d(third, third, 3, padding=1)
        self.conv5 = nn.Conv2d(third, third, 3, padding=1)
        self.fc6 = nn.Linear(self.pooled, self.hidden[0])
        self.fc7 = nn.Linear(*self.hidden)
        self.fc8 = nn.Linear(self.hidden[1], num_classes)
        self.pool = _pool()
        # torch, like Caffe, divides alpha by the number of channels it sums over.
        self.normalise = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    def forward(self, images_BCYX: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Give logits_BK of images (B, C, 224, 224).

        Args:
            images_BCYX: The images.
            dropout: Drops units of fc6 and fc7, in any mode; None: half of them in training mode, from torch's own generator.
        """
        self._check(images_BCYX)
        hidden_BD = self._convolve(images_BCYX)
        for layer in (self.fc6, self.fc7):
            hidden_BD = functional.relu(layer(hidden_BD))
            if dropout is None:
                hidden_BD = functional.dropout(hidden_BD, 0.5, self.training)
            else:
                hidden_BD = dropout(hidden_BD.unsqueeze(0)).squeeze(0)
        logits_BK: Tensor = self.fc8(hidden_BD)
        return logits_BK

    def _convolve(self, images_BCYX: Tensor) -> Tensor:
        maps_BCYX = self.pool(self._normalised(functional.relu(self.conv1(images_BCYX))))
        maps_BCYX = functional.relu(self.conv2(maps_BCYX))
        if self.input_channels == 3:
            maps_BCYX = self._normalised(maps_BCYX)
        maps_BCYX = self.pool(maps_BCYX)
        for conv in (self.conv3, self.conv4, self.conv5):
            maps_BCYX = functional.relu(conv(maps_BCYX))
        pooled_BCYX: Tensor = self.pool(maps_BCYX)
        return pooled_BCYX.flatten(1)

    def _normalised(self, maps_BCYX: Tensor) -> Tensor:
        if not self.training:
            normalised_BCYX: Tensor = self.normalise(maps_BCYX)
            return normalised_BCYX
        # torch averages over channels by a pooling whose gradient has no deterministic form on GPUs: sums of slices have.
        size, channels = self.normalise.size, maps_BCYX.shape[1]
        before, after = size // 2, (size - 1) // 2
        squares_BCYX = functional.pad(maps_BCYX.square(), (0, 0, 0, 0, before, after))
        mean_BCYX = squares_BCYX[:, :channels]
        for shift in range(1, size):
            mean_BCYX = mean_BCYX + squares_BCYX[:, shift : shift + channels]
        mean_BCYX = mean_BCYX / size
        scale_BCYX = (mean_BCYX * self.normalise.alpha + self.normalise.k) ** self.normalise.beta
        return maps_BCYX / scale_BCYX

    def _feature(self, images_BCYX: Tensor, layer: str) -> Tensor:
        return _head(self._convolve(images_BCYX), layer, self.fc6, self.fc7, self.fc8)

    def _sizes(self) -> Mapping[str, int]:
        fc6, fc7 = self.hidden
        return {"pool5": self.pooled, "fc6": fc6, "fc7": fc7, "prob": self.num_classes}
