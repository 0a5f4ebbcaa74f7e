"""Several LSTM classifiers of equal shape as one model: every weight has an axis of replicas before its own axes.

What one replica computes hangs on nothing of another's, so each comes out as if it had been trained alone, to
rounding; the matrix products of all are one batched product, which fills a device that one of them leaves idle.

Letters: R replicas, T steps, B sequences of a replica, D numbers in a frame, H units, G = 4H pre-activations, C
classes, F features of whatever is dropped from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import fused_lstm
from models.classifier import LSTMClassifier
from models.dropout import Dropout, drop_each
from models.encoder import LSTMEncoder
from models.lstm import LSTMState, equations


class StackedBlocks(NamedTuple):
    """Labelled blocks of every replica, and each replica's own masks."""

    frames_RTBD: Tensor
    labels_RB: Tensor
    dropouts: tuple[Dropout, ...] | None
    """One a replica; None where nothing is dropped."""


class StackedClassifiers(nn.Module):
    """R classifiers as one; parameters are named as in one of them, with R before its axes.

    Attributes:
        encoder: Their encoders' weights.
        readout: Their output weights.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        """Stack classifiers, whose weights are copied.

        Args:
            models: `LSTMClassifier`s, at least one, each with an `LSTMEncoder`.

        Raises:
            ValueError: There is none, one is of another kind, or they are not of one shape.
        """
        super().__init__()
        if not models:
            raise ValueError("no model to stack: give at least one")
        classifiers = [each for each in models if isinstance(each, LSTMClassifier)]
        if len(classifiers) < len(models) or not all(
            isinstance(each.encoder, LSTMEncoder) for each in classifiers
        ):
            raise ValueError(
                "only LSTM classifiers with the LSTM stack can be stacked: train others alone"
            )
        shapes = [{name: each.shape for name, each in m.named_parameters()} for m in classifiers]
        if any(each != shapes[0] for each in shapes):
            raise ValueError("classifiers of different shapes cannot be stacked: train them apart")
        self.encoder = _mirrored([each.encoder for each in classifiers])
        self.readout = _mirrored([each.readout for each in classifiers])

    def forward(self, frames_RTBD: Tensor, dropouts: Sequence[Dropout] | None = None) -> Tensor:
        """Give logits_RTBC at every step.

        Args:
            frames_RTBD: Every replica's own frames.
            dropouts: One a replica, applied where `LSTMClassifier` and its encoder apply theirs, in the same order.
        """

        def dropped(x_RTBF: Tensor) -> Tensor:
            return x_RTBF if dropouts is None else drop_each(dropouts, x_RTBF)

        x_RTBF = frames_RTBD
        for layer in self.encoder.get_submodule("lstm.layers").children():
            x_RTBF = _layer(layer, dropped(x_RTBF))
        x_RTBF = dropped(x_RTBF)
        weight_RCH, bias_RC = (self.readout.get_parameter(name) for name in ("weight", "bias"))
        return _product(x_RTBF, weight_RCH) + bias_RC[:, None, None]

    @staticmethod
    def step_loss(logits_RTBC: Tensor, labels_RB: Tensor) -> Tensor:
        """Give each sequence's cross entropy in nats, (R, B), as `LSTMClassifier.step_loss` does."""
        R, T, B, _ = logits_RTBC.shape
        labels_RTB = labels_RB[:, None].expand(R, T, B)
        loss = functional.cross_entropy(
            logits_RTBC.flatten(0, 2), labels_RTB.flatten(), reduction="none"
        )
        return loss.view(R, T, B).sum(1)


def stack_blocks(
    blocks: Iterable[tuple[Tensor, Tensor, Dropout | None]],
) -> StackedBlocks:
    """Put the batches of all replicas together: (frames_TBD, labels_B, dropout) each, all with dropout or all without."""
    frames, labels, dropouts = zip(*blocks, strict=True)
    given = tuple(each for each in dropouts if each is not None)
    return StackedBlocks(torch.stack(frames), torch.stack(labels), given or None)


def _mirrored(modules: Sequence[nn.Module]) -> nn.Module:
    """Make a tree of modules without functions, in which every parameter is those of all `modules` on a first axis."""
    made = nn.Module()
    for name, _ in modules[0].named_parameters(recurse=False):
        parts = [module.get_parameter(name).detach() for module in modules]
        made.register_parameter(name, nn.Parameter(torch.stack(parts)))
    for name, _ in modules[0].named_children():
        made.add_module(name, _mirrored([module.get_submodule(name) for module in modules]))
    return made


def _layer(layer: nn.Module, x_RTBD: Tensor) -> Tensor:
    """Run one peephole layer of every replica from a zero state: h_RTBH (equations in lstm.py)."""
    weight_h_RGH, bias_RG, peephole_R3H = (
        layer.get_parameter(name) for name in ("weight_h", "bias", "peephole")
    )
    _, steps, batch, _ = x_RTBD.shape
    product_RTBG = _product(x_RTBD, layer.get_parameter("weight_x"))
    implementation = fused_lstm.chosen(weight_h_RGH)
    if implementation == "plain":
        zeros_RBH = bias_RG.new_zeros(len(bias_RG), batch, weight_h_RGH.shape[2])
        outputs, _ = equations(
            product_RTBG.unbind(1), LSTMState(zeros_RBH, zeros_RBH), weight_h_RGH.transpose(1, 2), bias_RG[:, None],
            peephole_R3H[:, :, None].unbind(1), torch.baddbmm,
        )  # fmt: skip
        return torch.stack(outputs, dim=1)
    h_RTBH, _, _ = fused_lstm.run(
        product_RTBG, weight_h_RGH, bias_RG, peephole_R3H, None,
        steps=steps, batch=batch, implementation=implementation,
    )  # fmt: skip
    return h_RTBH


def _product(x_RTBI: Tensor, weight_ROI: Tensor) -> Tensor:
    """Multiply every replica's inputs of all steps with its own matrix, (R, T, B, O)."""
    flat = torch.bmm(x_RTBI.flatten(1, 2), weight_ROI.transpose(1, 2))
    return flat.view(*x_RTBI.shape[:3], -1)
