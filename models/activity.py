"""What goes on inside an LSTM decoder while it runs: all six quantities of section 2.1 at every step (Fig. 7).

`models.lstm` computes the same and keeps only h; a test holds the two together.

Letters: T steps, B sequences, D numbers of a frame, H units of a layer, U units of it that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.autoencoder import Decoder, EncoderDecoder
from models.lstm import LSTMState, PeepholeLSTM


class Activity(NamedTuple):
    """One layer's activity, each (T, B, H)."""

    input_TBH: Tensor
    """tanh(W_xc x_t + W_hc h_{t-1} + b_c), in (-1, 1): before the input gate multiplies it."""
    input_gate_TBH: Tensor
    """i_t, in (0, 1)."""
    forget_gate_TBH: Tensor
    """f_t, in (0, 1)."""
    output_gate_TBH: Tensor
    """o_t, in (0, 1)."""
    cell_TBH: Tensor
    """c_t, unbounded."""
    output_TBH: Tensor
    """h_t, in (-1, 1): after the output gate has multiplied it."""


def record_step(layer: PeepholeLSTM, x_BD: Tensor | None, state: LSTMState) -> Activity:
    """Take one step of a layer and keep everything.

    Args:
        layer: the layer.
        x_BD: its input; None for a zero input.
        state: h and c before the step, (B, H) each.

    Returns:
        The activity of this one step: T = 1.

    Raises:
        ValueError: when there is an input and the layer has no weights for it.
    """
    if x_BD is not None and layer.weight_x is None:
        raise ValueError("this layer has no input weights: pass None instead of an input")
    from_h_BG = functional.linear(state.h_BH, layer.weight_h, layer.bias)
    if x_BD is not None and layer.weight_x is not None:
        from_h_BG = from_h_BG + functional.linear(x_BD, layer.weight_x)
    i_BH, f_BH, candidate_BH, o_BH = from_h_BG.chunk(4, dim=1)
    peep_i_H, peep_f_H, peep_o_H = layer.peephole.unbind(0)
    i_BH = torch.sigmoid(i_BH + peep_i_H * state.c_BH)
    f_BH = torch.sigmoid(f_BH + peep_f_H * state.c_BH)
    candidate_BH = torch.tanh(candidate_BH)
    c_BH = f_BH * state.c_BH + i_BH * candidate_BH
    o_BH = torch.sigmoid(o_BH + peep_o_H * c_BH)  # sees the new cell
    h_BH = o_BH * torch.tanh(c_BH)
    return Activity(*(each[None] for each in (candidate_BH, i_BH, f_BH, o_BH, c_BH, h_BH)))


def record(
    decoder: Decoder, state: Sequence[LSTMState], steps: int, *, layer: int
) -> tuple[Activity, Tensor]:
    """Let a decoder run freely and keep the activity of one of its layers.

    A conditional decoder is fed its own previous output, as in `models.autoencoder.Decoder`.

    Args:
        decoder: of any number of layers.
        state: what it starts from, one a layer, lowest first.
        steps: T.
        layer: whose activity, counted from 0, lowest first.

    Returns:
        The layer's activity, and the decoder's raw outputs y_TBD.

    Raises:
        ValueError: when there is no such layer, or no step.
    """
    layers = list(decoder.lstm.layers)
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer={layer}: this decoder has {len(layers)}, counted from 0")
    if steps < 1:
        raise ValueError(f"steps={steps}: a decoder runs at least 1")
    now = list(state)
    kept: list[Activity] = []
    outputs: list[Tensor] = []
    previous_BD: Tensor | None = None
    for _ in range(steps):
        x_BD = previous_BD
        for place, each in enumerate(layers):
            if place == layer:
                activity = record_step(_checked(each), x_BD, now[place])
                kept.append(activity)
                now[place] = LSTMState(activity.output_TBH[0], activity.cell_TBH[0])
            else:
                given_1BD = None if x_BD is None else x_BD[None]
                _, now[place] = each(given_1BD, now[place], steps=1)
            x_BD = now[place].h_BH
        raw_BD: Tensor = decoder.readout(x_BD)
        outputs.append(raw_BD)
        if decoder.conditional:
            previous_BD = torch.sigmoid(raw_BD) if decoder.output == "logistic" else raw_BD
    whole = Activity(*(torch.cat(parts) for parts in zip(*kept, strict=True)))
    return whole, torch.stack(outputs)


class WatchedPredictor(nn.Module):
    """A model whose future predictor is watched while it runs.

    Attributes:
        model: the encoder and its decoders.
        units_U: which units of a layer are shown, int64.
    """

    units_U: Tensor

    def __init__(self, model: EncoderDecoder, units_U: Tensor) -> None:
        """Wrap a model.

        Args:
            model: with a future predictor.
            units_U: which units of a layer are shown, int64.

        Raises:
            ValueError: when the model predicts no future.
        """
        super().__init__()
        if model.predictor is None:
            raise ValueError("this model has no future predictor: there is nothing to watch")
        self.model = model
        self.predictor = model.predictor
        self.register_buffer("units_U", units_U)

    def forward(self, frames_TBD: Tensor, steps: int, *, layer: int) -> tuple[Activity, Tensor]:
        """Read the frames, then predict `steps` frames; what is returned is as for `record`."""
        return record(self.predictor, self.model.encoder.represent(frames_TBD), steps, layer=layer)


def _checked(layer: nn.Module) -> PeepholeLSTM:
    assert isinstance(layer, PeepholeLSTM)  # a ModuleList forgets the type
    return layer
