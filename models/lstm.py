"""The LSTM of the paper's section 2.1: one layer, and layers on top of one another.

The plain loop can be read against the equations; what usually runs in its place is fused_lstm.py, which gives the same to
rounding. Encoders and decoders are built from it in encoder.py and autoencoder.py.

Letters: T steps, B sequences, D inputs, H units of a layer, G = 4H pre-activations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import fused_lstm
from models.dropout import Dropout
from models.initial import uniform_fan_in_


class LSTMState(NamedTuple):
    """What a layer carries from one step to the next."""

    h_BH: Tensor
    """Output of the units."""
    c_BH: Tensor
    """Content of the memory cells."""


class PeepholeLSTM(nn.Module):
    """One layer of LSTM units whose gates also see their own cell (section 2.1).

        i_t = sigmoid(W_xi x_t + W_hi h_{t-1} + w_ci * c_{t-1} + b_i)
        f_t = sigmoid(W_xf x_t + W_hf h_{t-1} + w_cf * c_{t-1} + b_f)
        c_t = f_t * c_{t-1} + i_t * tanh(W_xc x_t + W_hc h_{t-1} + b_c)
        o_t = sigmoid(W_xo x_t + W_ho h_{t-1} + w_co * c_t + b_o)
        h_t = o_t * tanh(c_t)

    The paper's W_ci, W_cf, W_co are diagonal, hence vectors here. Blocks of G rows are ordered i, f,
    candidate, o, as in torch.nn.LSTM (which has two biases and no peepholes).

    Attributes:
        weight_x: (4H, D), or None for a layer that has no input.
        weight_h: (4H, H).
        bias: (4H,).
        peephole: (3, H), the rows w_ci, w_cf, w_co.
    """

    weight_x: nn.Parameter | None

    def __init__(self, input_size: int | None, hidden_size: int) -> None:
        """Make a layer.

        Args:
            input_size: D, or None for a layer without input weights (the first layer of an
                unconditioned decoder).
            hidden_size: H.
        """
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        gates_size = 4 * hidden_size
        if input_size is None:
            self.register_parameter("weight_x", None)
        else:
            self.weight_x = nn.Parameter(torch.empty(gates_size, input_size))
        self.weight_h = nn.Parameter(torch.empty(gates_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(gates_size))
        self.peephole = nn.Parameter(torch.empty(3, hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values of section 3.1; the forget gate gets no bias of its own."""
        # Fan-in of a matrix = its columns: D for weight_x, H for weight_h.
        if self.weight_x is not None:
            uniform_fan_in_(self.weight_x)
        uniform_fan_in_(self.weight_h)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.peephole)

    def forward(
        self, x_TBD: Tensor | None, state: LSTMState | None = None, *, steps: int | None = None
    ) -> tuple[Tensor, LSTMState]:
        """Run the layer over a sequence.

        Under torch.autocast only the products with the weight matrices are of lower precision: the
        cell, which adds up over the steps, and the gates that see it are of the parameters' dtype.

        Args:
            x_TBD: Inputs. None means a zero input at each of `steps` steps: the input weights then
                contribute nothing, the bias is added as ever.
            state: Where to start, (B, H) each; zeros when left out.
            steps: Needed when x_TBD is None.

        Returns:
            h_TBH at every step, and the state after the last, in the parameters' dtype.

        Raises:
            ValueError: The number of steps is unknown or contradictory, the layer has no input
                weights for the inputs given, or there is neither input nor state.
            RuntimeError: In the backward pass of the fused implementation, when a second derivative
                is asked for.
        """
        if x_TBD is None:
            if steps is None:
                raise ValueError("without inputs the number of steps is unknown: pass steps=")
            if state is None:
                raise ValueError("without inputs and without a state the batch size is unknown")
            return self._run(None, state, steps, len(state.h_BH))
        if steps not in (None, len(x_TBD)):
            raise ValueError(f"steps={steps} contradicts the {len(x_TBD)} inputs: leave steps out")
        return self.forward_from_product(self.input_product(x_TBD), state)

    def input_product(self, x: Tensor) -> Tensor:
        """Give W_x x, (..., 4H) for inputs (..., D), without bias: the part that knows nothing of earlier steps.

        Raises:
            ValueError: The layer has no input weights.
        """
        if self.weight_x is None:
            raise ValueError("this layer has no input weights: pass None instead of inputs")
        # One product for all steps and sequences.
        return functional.linear(x, self.weight_x)

    def forward_from_product(
        self, product_TBG: Tensor, state: LSTMState | None = None
    ) -> tuple[Tensor, LSTMState]:
        """Run the layer over inputs whose product is known already.

        Args:
            product_TBG: What `input_product` gave. It may be overwritten: hand over a tensor that nobody needs.
            state: Where to start; zeros when left out.

        Returns:
            As `forward`.
        """
        steps, batch, _ = product_TBG.shape
        return self._run(product_TBG, state, steps, batch)

    def _run(
        self, product_TBG: Tensor | None, state: LSTMState | None, steps: int, batch: int
    ) -> tuple[Tensor, LSTMState]:
        implementation = fused_lstm.chosen(self.weight_h)
        if implementation == "plain":
            return self._plainly(product_TBG, state, steps, batch)
        h_1TBH, h_1BH, c_1BH = fused_lstm.run(
            None if product_TBG is None else product_TBG.unsqueeze(0),
            self.weight_h.unsqueeze(0),
            self.bias.unsqueeze(0),
            self.peephole.unsqueeze(0),
            None if state is None else (state.h_BH.unsqueeze(0), state.c_BH.unsqueeze(0)),
            steps=steps,
            batch=batch,
            implementation=implementation,
        )
        return h_1TBH.squeeze(0), LSTMState(h_1BH.squeeze(0), c_1BH.squeeze(0))

    def _plainly(
        self, product_TBG: Tensor | None, state: LSTMState | None, steps: int, batch: int
    ) -> tuple[Tensor, LSTMState]:
        """Run `equations` over a sequence."""
        if state is None:
            zeros_BH = self.weight_h.new_zeros(batch, self.hidden_size)
            state = LSTMState(zeros_BH, zeros_BH)
        # unbind, because its gradient is one stack; indexing step by step would fill a (T, B, G) gradient
        # with zeros T times.
        outputs, last = equations(
            [None] * steps if product_TBG is None else product_TBG.unbind(0),
            state,
            self._lowered(self.weight_h).t(),
            self.bias,
            self.peephole.unbind(0),
            torch.addmm,
        )
        return torch.stack(outputs), last

    def _lowered(self, weight: Tensor) -> Tensor:
        """Give the weight in autocast's dtype, once for all steps; itself where there is no autocast.

        Autocast would do it anew at each step, since what it keeps are whole parameters, no views of them.
        """
        device = weight.device.type
        # Some devices know no autocast ("meta", where shapes are followed without numbers), and may not be asked.
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            return weight.to(torch.get_autocast_dtype(device))
        return weight


def equations(
    products: Sequence[Tensor | None],
    state: LSTMState,
    weight_HG: Tensor,
    bias_G: Tensor,
    peepholes_H: Sequence[Tensor],
    add_product: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> tuple[list[Tensor], LSTMState]:
    """Section 2.1, one operation after the other: what every other implementation is tested against.

    All tensors may have an axis of replicas in front, where they broadcast.

    Args:
        products: W_x x of every step, (B, G), without bias; None for a zero input.
        state: Where to start, (B, H) each.
        weight_HG: Recurrent weights, in the dtype that products are made in.
        bias_G: Biases; its dtype is that of the cells.
        peepholes_H: w_ci, w_cf, w_co.
        add_product: torch.addmm, or torch.baddbmm with replicas.

    Returns:
        h_BH of every step, and the state after the last.
    """
    full = bias_G.dtype
    h_BH, c_BH = state.h_BH, state.c_BH.to(full)
    peep_i_H, peep_f_H, peep_o_H = peepholes_H
    outputs = []
    for from_input_BG in products:
        gates_BG = h_BH @ weight_HG if from_input_BG is None else add_product(from_input_BG, h_BH, weight_HG)  # fmt: skip
        i_BH, f_BH, candidate_BH, o_BH = (gates_BG.to(full) + bias_G).chunk(4, dim=-1)
        i_BH = torch.sigmoid(i_BH + peep_i_H * c_BH)
        f_BH = torch.sigmoid(f_BH + peep_f_H * c_BH)
        c_BH = f_BH * c_BH + i_BH * torch.tanh(candidate_BH)
        o_BH = torch.sigmoid(o_BH + peep_o_H * c_BH)  # alone in seeing the new cell
        h_BH = o_BH * torch.tanh(c_BH)
        outputs.append(h_BH)
    return outputs, LSTMState(h_BH, c_BH)


class StackedLSTM(nn.Module):
    """Layers of equal size, each reading the h of the layer below.

    Attributes:
        layers: The `PeepholeLSTM`s, lowest first.
    """

    def __init__(self, input_size: int | None, hidden_size: int, num_layers: int) -> None:
        """Make the layers; `input_size` is that of the lowest, None where it has no input."""
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers}: a stack has at least one layer")
        self.hidden_size = hidden_size
        self.layers = nn.ModuleList(
            PeepholeLSTM(input_size if layer == 0 else hidden_size, hidden_size)
            for layer in range(num_layers)
        )

    def zero_state(self, batch_size: int, like: Tensor) -> tuple[LSTMState, ...]:
        """Give every layer a zero state, (B, H) each, of the dtype and on the device of `like`."""
        zeros_BH = like.new_zeros(batch_size, self.hidden_size)
        return tuple(LSTMState(zeros_BH, zeros_BH) for _ in self.layers)

    def forward(
        self,
        x_TBD: Tensor | None,
        state: Sequence[LSTMState] | None = None,
        *,
        steps: int | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[Tensor, tuple[LSTMState, ...]]:
        """Run all layers over a sequence.

        Args:
            x_TBD: Inputs of the lowest layer, or None as in `PeepholeLSTM.forward`.
            state: One a layer, lowest first; zeros when left out.
            steps: Needed when x_TBD is None.
            dropout: Applied to every layer's input, the lowest layer's included. Never between
                steps, and not to the output returned: whoever reads it decides (section 3.3 drops
                what goes from layer to layer, "not through time within the same LSTM").

        Returns:
            The top layer's h_TBH, and the state of every layer after the last step.

        Raises:
            ValueError: There is neither input nor state, or not one state for every layer.
        """
        states = self._states(state)
        if dropout is not None and x_TBD is not None:
            x_TBD = dropout(x_TBD)
        h_TBH, lowest = self._layer(0)(x_TBD, states[0], steps=steps)
        return self._above(h_TBH, lowest, states, dropout)

    def forward_from_product(
        self, product_TBG: Tensor, state: Sequence[LSTMState] | None = None
    ) -> tuple[Tensor, tuple[LSTMState, ...]]:
        """Run all layers over inputs whose product with the lowest layer's weights is known (`input_product`).

        Arguments as in `PeepholeLSTM.forward_from_product`, answer as in `forward`.
        """
        states = self._states(state)
        h_TBH, lowest = self._layer(0).forward_from_product(product_TBG, states[0])
        return self._above(h_TBH, lowest, states, None)

    def input_product(self, x: Tensor) -> Tensor:
        """Give the lowest layer's product with inputs, (..., D) to (..., 4H)."""
        return self._layer(0).input_product(x)

    def _layer(self, index: int) -> PeepholeLSTM:
        layer = self.layers[index]
        assert isinstance(layer, PeepholeLSTM)  # a ModuleList forgets the type
        return layer

    def _states(self, state: Sequence[LSTMState] | None) -> Sequence[LSTMState | None]:
        if state is None:
            return [None] * len(self.layers)
        if len(state) != len(self.layers):
            raise ValueError(f"{len(state)} states for {len(self.layers)} layers: give one a layer")
        return state

    def _above(
        self,
        x_TBD: Tensor,
        lowest: LSTMState,
        states: Sequence[LSTMState | None],
        dropout: Dropout | None,
    ) -> tuple[Tensor, tuple[LSTMState, ...]]:
        """Run the layers above the lowest."""
        last = [lowest]
        for index in range(1, len(self.layers)):
            if dropout is not None:
                x_TBD = dropout(x_TBD)
            x_TBD, layer_last = self._layer(index)(x_TBD, states[index])
            last.append(layer_last)
        return x_TBD, tuple(last)
