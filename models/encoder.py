"""Encoders: what reads the frames, and what the decoders and the classifier read from it.

`LSTMEncoder` is the paper's. `WrappedEncoder` lets any module take its place.

Letters: T steps, B sequences, D numbers in a frame, H units of the encoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain

import torch
from torch import Tensor, nn

from models.dropout import Dropout
from models.initial import uniform_linear
from models.lstm import LSTMState, StackedLSTM


class Encoder(nn.Module, ABC):
    """Reads a sequence of frames.

    Attributes:
        hidden_size: H, the width of `forward`'s states.
        state_sizes: Units of each layer of `represent`'s answer, lowest layer first: the decoders
            must have the same.
    """

    hidden_size: int
    state_sizes: tuple[int, ...]

    @abstractmethod
    def forward(self, frames_TBD: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Give states_TBH at every step; the classifier reads these."""

    @abstractmethod
    def represent(self, frames_TBD: Tensor) -> tuple[LSTMState, ...]:
        """Give what the decoders start from, one state a decoder layer, lowest first."""

    def frame_products(self, frames_ND: Tensor) -> Tensor:
        """Give what is computed of each frame alone, products_NG, so that sequences that overlap share it.

        Nothing, if an encoder does not say otherwise: the frames themselves.
        """
        return frames_ND

    def forward_from_products(self, products_TBG: Tensor) -> Tensor:
        """Give `forward`'s states_TBH, to rounding, of sequences of what `frame_products` gave; it may be written over."""
        states_TBH: Tensor = self(products_TBG)
        return states_TBH


class LSTMEncoder(Encoder):
    """The paper's encoder: stacked LSTM layers, started at zero (section 2.2)."""

    def __init__(self, frame_size: int, hidden_size: int, num_layers: int) -> None:
        """Make `num_layers` layers of `hidden_size` units for frames of `frame_size` numbers."""
        super().__init__()
        self.hidden_size = hidden_size
        self.state_sizes = (hidden_size,) * num_layers
        self.lstm = StackedLSTM(frame_size, hidden_size, num_layers)

    def forward(self, frames_TBD: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Give the top layer's h, states_TBH, at every step."""
        states_TBH: Tensor
        states_TBH, _ = self.lstm(frames_TBD, dropout=dropout)
        return states_TBH

    def frame_products(self, frames_ND: Tensor) -> Tensor:
        """Give the lowest layer's product with every frame, (N, 4H): the same wherever in a sequence the frame stands."""
        return self.lstm.input_product(frames_ND)

    def forward_from_products(self, products_TBG: Tensor) -> Tensor:
        """Give what `forward` gives without dropout, from frames' products; these may be overwritten."""
        states_TBH: Tensor
        states_TBH, _ = self.lstm.forward_from_product(products_TBG)
        return states_TBH

    def represent(self, frames_TBD: Tensor) -> tuple[LSTMState, ...]:
        """Give (h, c) of every layer after the last frame: the paper's representation."""
        last: tuple[LSTMState, ...]
        _, last = self.lstm(frames_TBD)
        return last


class WrappedEncoder(Encoder):
    """Any module that maps (T, B, D) frames to (T, B, H) states.

    Its last state s starts each decoder layer through two linear bridges,

        h_0 = tanh(W_h s + b_h),    c_0 = W_c s + b_c,

    tanh because an LSTM's h lies in (-1, 1) while its c is unbounded. Only pretraining needs the
    bridges; in a classifier they are carried along and get no gradient.
    """

    def __init__(
        self,
        module: nn.Module,
        frame_size: int,
        hidden_size: int | None = None,
        *,
        decoder_size: int,
        decoder_layers: int,
    ) -> None:
        """Wrap a module.

        Args:
            module: Maps (T, B, D) frames to (T, B, H) states.
            frame_size: D.
            hidden_size: H. Left out, it is found by running the module on two zero frames.
            decoder_size: Units of a decoder layer.
            decoder_layers: Layers of a decoder.

        Raises:
            ValueError: The module, when run, did not return (T, B, H) states.
        """
        super().__init__()
        self.module = module
        self.hidden_size = _probe(module, frame_size) if hidden_size is None else hidden_size
        self.state_sizes = (decoder_size,) * decoder_layers
        width = self.hidden_size
        self.bridges_h = nn.ModuleList(uniform_linear(width, size) for size in self.state_sizes)
        self.bridges_c = nn.ModuleList(uniform_linear(width, size) for size in self.state_sizes)

    def forward(self, frames_TBD: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Give the module's states_TBH; dropout falls on the frames, its inside is its own affair.

        Raises:
            ValueError: The module did not return (T, B, H) states.
        """
        if dropout is not None:
            frames_TBD = dropout(frames_TBD)
        return _checked(self.module, frames_TBD, self.module(frames_TBD), self.hidden_size)

    def represent(self, frames_TBD: Tensor) -> tuple[LSTMState, ...]:
        """Give each decoder layer's (h, c), computed from the last state."""
        last_BH = self(frames_TBD)[-1]
        return tuple(
            LSTMState(torch.tanh(bridge_h(last_BH)), bridge_c(last_BH))
            for bridge_h, bridge_c in zip(self.bridges_h, self.bridges_c, strict=True)
        )


def _probe(module: nn.Module, frame_size: int) -> int:
    """Find H by running the module, in eval mode, on (2, 1, D) zeros; leave its modes as they were.

    Two steps of one sequence, so that a batch-first module shows itself.
    """
    tensors = chain(module.parameters(), module.buffers())
    like = next((t for t in tensors if t.is_floating_point()), torch.zeros(()))
    frames_TBD = torch.zeros(2, 1, frame_size, dtype=like.dtype, device=like.device)
    # Part by part, since a module may keep some of its parts in eval mode.
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            states = module(frames_TBD)
    finally:
        for part, training in modes.items():
            part.training = training
    return _checked(module, frames_TBD, states, None).shape[2]


def _checked(
    module: nn.Module, frames_TBD: Tensor, states: object, hidden_size: int | None
) -> Tensor:
    """Return `states` if they are (T, B, H), with H = hidden_size where that is known."""
    name, frames_shape = type(module).__name__, tuple(frames_TBD.shape)
    rule = "an encoder maps (T, B, D) frames to (T, B, H) states"
    if not isinstance(states, Tensor):
        raise ValueError(  # noqa: TRY004 - what a user gave is wrong, not how we called it
            f"{name} returned a {type(states).__name__} for frames of shape {frames_shape}: "
            f"{rule}; return the states alone"
        )
    if states.dim() != 3 or states.shape[:2] != frames_TBD.shape[:2]:
        raise ValueError(
            f"{name} returned a tensor of shape {tuple(states.shape)} for frames of shape "
            f"{frames_shape}: {rule}"
        )
    if hidden_size not in (None, states.shape[2]):
        raise ValueError(
            f"{name} returned a tensor of shape {tuple(states.shape)} for frames of shape "
            f"{frames_shape}: {rule}, and H was given as {hidden_size}"
        )
    return states
