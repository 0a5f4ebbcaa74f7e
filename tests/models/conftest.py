"""What the tests of the models share: a fixed seed, and parameters that are nowhere zero."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20150706)


@pytest.fixture
def randomised() -> Callable[[nn.Module], nn.Module]:
    """Give a function that fills every parameter, biases and peepholes too, and turns to float64."""

    def fill(module: nn.Module) -> nn.Module:
        module.double()
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.8, 0.8)
        return module

    return fill
