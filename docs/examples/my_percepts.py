"""A convnet of your own as percepts: images (B, C, Y, X) in, features (B, D) out."""

from pathlib import Path

from torch import nn

from configs.percepts import percepts
from tasks.convnets import own_convnet


class Small(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )

    def forward(self, images_BCYX):
        return self.layers(images_BCYX)


def my_percepts(*, dataset: str, weights: str = "", width: int = 16):
    net = own_convnet(
        Small,
        feature_size=4 * width,
        preprocessing="torchvision",  # the one it was trained with
        weights=Path(weights)
        if weights
        else None,  # a state dict; without one, weights drawn with seed 0
        width=width,
    )
    return percepts(dataset=dataset, net=net)
