"""The LSTM classifier of section 3.3 and its start from a pretrained encoder.

Letters: T steps, B sequences, D numbers in a frame, H units of the encoder, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dropout import Dropout
from models.encoder import Encoder
from models.initial import uniform_linear


class LSTMClassifier(nn.Module):
    """A softmax layer over the encoder's state at every step.

    The same class with a freshly made encoder is the paper's baseline; `load_encoder` turns it into
    the pretrained one.

    Attributes:
        encoder: Reads the frames.
        readout: Output weights, H to C.
    """

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        """Put output weights for `num_classes` classes on an encoder."""
        super().__init__()
        self.encoder = encoder
        self.readout = uniform_linear(encoder.hidden_size, num_classes)

    def forward(self, frames_TBD: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Give logits_TBC at every step.

        Args:
            frames_TBD: Percepts, flow percepts or any frames the encoder reads.
            dropout: For training: applied to every input the encoder gives it to, and to the states
                before the output weights.
        """
        states_TBH: Tensor = self.encoder(frames_TBD, dropout)
        if dropout is not None:
            states_TBH = dropout(states_TBH)
        logits_TBC: Tensor = self.readout(states_TBH)
        return logits_TBC

    def from_products(self, products_TBG: Tensor) -> Tensor:
        """Give logits_TBC of frames of which the encoder's `frame_products` were computed; without dropout.

        The products may be written over.
        """
        logits_TBC: Tensor = self.readout(self.encoder.forward_from_products(products_TBG))
        return logits_TBC

    @staticmethod
    def step_loss(logits_TBC: Tensor, labels_B: Tensor) -> Tensor:
        """Give each sequence's cross entropy in nats, (B,): the same label at every step, summed."""
        steps, batch_size, _ = logits_TBC.shape
        loss = functional.cross_entropy(
            logits_TBC.flatten(0, 1), labels_B.repeat(steps), reduction="none"
        )
        return loss.view(steps, batch_size).sum(0)

    @staticmethod
    def block_probabilities(logits_TBC: Tensor) -> Tensor:
        """Give a block's class probabilities, (B, C): mean over steps of the softmax probabilities.

        Section 3.3: "the predictions made at each time step are averaged". A prediction is taken to
        be the softmax's output, so this is not the softmax of mean logits.
        """
        return torch.softmax(logits_TBC, dim=2).mean(0)


def load_encoder(classifier_encoder: Encoder, pretrained_state: Mapping[str, Tensor]) -> None:
    """Copy a pretrained encoder's state dict into a classifier's encoder, all of it or nothing.

    Args:
        classifier_encoder: To be overwritten.
        pretrained_state: `state_dict()` of the encoder alone, not of the model around it.

    Raises:
        ValueError: Keys are missing, unexpected, or of another shape; nothing has been copied.
    """
    own = classifier_encoder.state_dict()
    faults = {
        "missing": sorted(own.keys() - pretrained_state.keys()),
        "unexpected": sorted(pretrained_state.keys() - own.keys()),
        "mis-shaped": [
            f"{key} {tuple(pretrained_state[key].shape)} for {tuple(own[key].shape)}"
            for key in sorted(own.keys() & pretrained_state.keys())
            if pretrained_state[key].shape != own[key].shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(f"{fault}: {_some(keys)}" for fault, keys in faults.items() if keys)
        raise ValueError(f"the pretrained encoder does not fit the classifier's ({found})")
    classifier_encoder.load_state_dict(pretrained_state, strict=True)


def _some(keys: list[str], limit: int = 8) -> str:
    """Write out a few keys and count the others."""
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more
