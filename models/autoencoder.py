"""Encoder-decoders: the LSTM Autoencoder, the Future Predictor, the Composite (sections 2.2-2.4).

One family: an encoder, a decoder for the frames read, a decoder for the frames to come, or both;
each decoder unconditioned or conditional.

Letters: T steps, B sequences, D numbers in a frame, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoder import Encoder
from models.initial import uniform_linear
from models.lstm import LSTMState, StackedLSTM

Decoding = Literal["unconditioned", "conditional"]
"""Whether a decoder is shown the previous frame."""

Output = Literal["logistic", "linear"]
"""What a decoder's raw outputs mean: logits of pixels in [0, 1], or the values themselves."""


class Decoder(nn.Module):
    """LSTM layers started from a copied state, and an output layer on the top h alone.

    The first output follows one step without a frame: nothing has been generated yet.
    """

    def __init__(
        self,
        frame_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        conditional: bool,
        output: Output,
    ) -> None:
        """Make a decoder.

        Args:
            frame_size: D.
            hidden_size: H, as in the state it will start from.
            num_layers: Layers, as in that state.
            conditional: Show it the previous frame. Otherwise its lowest layer has no input weights.
            output: "logistic" feeds sigmoid(y) back, "linear" feeds y back.

        Raises:
            ValueError: There is no such output.
        """
        super().__init__()
        _check_choice("output", output, get_args(Output))
        self.conditional = conditional
        self.output = output
        self.lstm = StackedLSTM(frame_size if conditional else None, hidden_size, num_layers)
        self.readout = uniform_linear(hidden_size, frame_size)

    def forward(
        self, state: Sequence[LSTMState], steps: int, targets_TBD: Tensor | None = None
    ) -> Tensor:
        """Decode `steps` frames.

        Args:
            state: One a layer, lowest first.
            steps: T.
            targets_TBD: True frames in decoding order. A conditional decoder reads target t-1 at
                step t (teacher forcing); without them it reads its own previous output, real-valued
                and after the non-linearity (free-running). An unconditioned one ignores them.

        Returns:
            Raw outputs y_TBD: logits when the output is logistic.

        Raises:
            ValueError: There are not `steps` targets.
        """
        if self.conditional and targets_TBD is None:
            return self._free_running(state, steps)
        previous_TBD = None
        if self.conditional and targets_TBD is not None:
            if len(targets_TBD) != steps:
                raise ValueError(f"{len(targets_TBD)} targets for {steps} steps: give one a step")
            # The first step's input is zero, which adds exactly nothing.
            previous_TBD = torch.cat([torch.zeros_like(targets_TBD[:1]), targets_TBD[:-1]])
        h_TBH, _ = self.lstm(previous_TBD, state, steps=steps)
        raw_TBD: Tensor = self.readout(h_TBH)
        return raw_TBD

    def _free_running(self, state: Sequence[LSTMState], steps: int) -> Tensor:
        """Decode with the decoder's own previous output as input: y_TBD."""
        outputs = []
        previous_1BD = None
        for _ in range(steps):
            h_1BH, state = self.lstm(previous_1BD, state, steps=1)
            raw_1BD = self.readout(h_1BH)
            outputs.append(raw_1BD)
            previous_1BD = torch.sigmoid(raw_1BD) if self.output == "logistic" else raw_1BD
        return torch.cat(outputs)


class Decoded(NamedTuple):
    """Raw outputs of both decoders; None where the model has no such decoder."""

    reconstruction_TBD: Tensor | None
    """In decoding order vT..v1, to be compared with `reversed_targets(frames_TBD)`."""
    future_TBD: Tensor | None
    """In the order of time."""


class EncoderDecoder(nn.Module):
    """One encoder and one or two decoders.

    Attributes:
        encoder: The part a classifier starts from.
        reconstructor: Decodes the frames read, last one first; or None.
        predictor: Decodes the frames to come; or None.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        frame_size: int,
        hidden_size: int,
        num_layers: int,
        reconstruct: Decoding | None,
        predict: Decoding | None,
        output: Output,
    ) -> None:
        """Make an Autoencoder (`reconstruct`), a Future Predictor (`predict`) or a Composite (both).

        Args:
            encoder: Whose representation has `num_layers` layers of `hidden_size` units.
            frame_size: D.
            hidden_size: Units of a decoder layer.
            num_layers: Layers of a decoder.
            reconstruct: How to decode the frames read, or None not to.
            predict: How to decode the frames to come, or None not to.
            output: What the decoders' raw outputs mean.

        Raises:
            ValueError: There is no decoder, no such kind of one, or the encoder's representation
                has another shape.
        """
        super().__init__()
        if reconstruct is None and predict is None:
            raise ValueError("nothing to decode: set reconstruct, predict, or both")
        if encoder.state_sizes != (hidden_size,) * num_layers:
            raise ValueError(
                f"the encoder gives states of {encoder.state_sizes} units, but the decoders are "
                f"{num_layers} layers of {hidden_size}: make them equal"
            )

        def decoder(kind: Decoding | None) -> Decoder | None:
            if kind is None:
                return None
            _check_choice("decoding", kind, get_args(Decoding))
            shown = kind == "conditional"
            return Decoder(frame_size, hidden_size, num_layers, conditional=shown, output=output)

        self.encoder = encoder
        self.reconstructor = decoder(reconstruct)
        self.predictor = decoder(predict)

    def forward(
        self,
        frames_TBD: Tensor,
        future_TBD: Tensor | None = None,
        *,
        future_steps: int | None = None,
        teacher_forced: bool,
    ) -> Decoded:
        """Read the frames, then decode.

        Args:
            frames_TBD: What the encoder reads, and what is reconstructed.
            future_TBD: True frames to come.
            future_steps: How many frames to predict; as many as in future_TBD when left out.
            teacher_forced: Show conditional decoders their true previous frames. False makes them
                run freely.

        Returns:
            Raw outputs: T reconstructed frames in decoding order, and the future in order.

        Raises:
            ValueError: The number of future steps is unknown, or a conditional predictor lacks the
                true future to be shown.
        """
        state = self.encoder.represent(frames_TBD)
        reconstruction_TBD = prediction_TBD = None
        # Both decoders start from the same state, so their gradients add up in the encoder.
        if self.reconstructor is not None:
            targets_TBD = reversed_targets(frames_TBD) if teacher_forced else None
            reconstruction_TBD = self.reconstructor(state, len(frames_TBD), targets_TBD)
        if self.predictor is not None:
            if future_steps is None:
                if future_TBD is None:
                    raise ValueError("how many frames to predict? pass future_TBD or future_steps")
                future_steps = len(future_TBD)
            if teacher_forced and self.predictor.conditional and future_TBD is None:
                raise ValueError(
                    "teacher forcing needs the true frames: pass future_TBD or teacher_forced=False"
                )
            targets_TBD = future_TBD if teacher_forced else None
            prediction_TBD = self.predictor(state, future_steps, targets_TBD)
        return Decoded(reconstruction_TBD, prediction_TBD)


def reversed_targets(frames_TBD: Tensor) -> Tensor:
    """Give v_T..v_1, (T, B, D): what a reconstruction is compared with (section 2.2)."""
    return frames_TBD.flip(0)


def frame_loss(raw_TBD: Tensor, target_TBD: Tensor, output: Output) -> Tensor:
    """Give the loss of every frame, (T, B), summed over its D numbers and averaged over nothing.

    Args:
        raw_TBD: A decoder's raw outputs; of another dtype than the targets', they are first turned to
            theirs, so that a loss of 16-bit outputs is computed in float32.
        target_TBD: True frames in the same order; in [0, 1] when the output is logistic.
        output: "logistic": Bernoulli cross entropy in nats, -sum_d z log p + (1 - z) log(1 - p)
            with p = sigmoid(raw). "linear": 0.5 ||raw - target||^2; the paper does not print the
            half, but it is the convention behind the published numbers on patches.

    Raises:
        ValueError: The shapes differ (broadcasting would hide it), or there is no such output.
    """
    _check_choice("output", output, get_args(Output))
    if raw_TBD.shape != target_TBD.shape:
        raise ValueError(
            f"outputs of shape {tuple(raw_TBD.shape)} for targets of {tuple(target_TBD.shape)}"
        )
    raw_TBD = raw_TBD.to(target_TBD.dtype)
    if output == "logistic":
        # From logits, because log(sigmoid(y)) is -inf long before the loss is.
        loss_TBD = functional.binary_cross_entropy_with_logits(
            raw_TBD, target_TBD, reduction="none"
        )
        return loss_TBD.sum(2)
    return 0.5 * (raw_TBD - target_TBD).square().sum(2)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(map(repr, choices))}")
