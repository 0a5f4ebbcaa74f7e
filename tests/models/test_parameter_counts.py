"""How many parameters the paper's own models have: a check of every choice about the layers.

2 x 2048 units and frames of 4096 numbers, built without memory on torch's meta device.
"""

from __future__ import annotations

import pytest
import torch

from models.autoencoder import EncoderDecoder
from models.classifier import LSTMClassifier
from models.encoder import LSTMEncoder, WrappedEncoder


@pytest.mark.parametrize(
    ("reconstruct", "predict", "count"),
    [
        (None, "unconditioned", 142_667_776),
        (None, "conditional", 176_222_208),
        ("unconditioned", "unconditioned", 201_420_800),
        ("unconditioned", "conditional", 234_975_232),
        ("conditional", "conditional", 268_529_664),
    ],
)
def test_the_papers_models_have_their_number_of_parameters(reconstruct, predict, count):
    with torch.device("meta"):
        model = EncoderDecoder(
            LSTMEncoder(4096, 2048, 2),
            frame_size=4096,
            hidden_size=2048,
            num_layers=2,
            reconstruct=reconstruct,
            predict=predict,
            output="logistic",
        )
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_every_part_follows_its_input_to_another_device():
    """Anything made on the CPU in between would meet meta tensors and fail."""
    with torch.device("meta"):
        module = torch.nn.Linear(6, 5)
        encoders = [
            LSTMEncoder(6, 4, 2),
            WrappedEncoder(module, 6, decoder_size=4, decoder_layers=2),
        ]
        models = [
            EncoderDecoder(
                encoder,
                frame_size=6,
                hidden_size=4,
                num_layers=2,
                reconstruct="conditional",
                predict="unconditioned",
                output="logistic",
            )
            for encoder in encoders
        ]
        classifiers = [LSTMClassifier(encoder, 3) for encoder in encoders]
    frames_TBD = torch.empty(3, 2, 6, device="meta")
    for model in models:
        for teacher_forced in (True, False):
            decoded = model(frames_TBD, future_steps=5, teacher_forced=teacher_forced)
            assert decoded.reconstruction_TBD.shape == (3, 2, 6)
            assert decoded.future_TBD.shape == (5, 2, 6)
            assert decoded.future_TBD.is_meta
    for classifier in classifiers:
        logits_TBC = classifier(frames_TBD)
        assert logits_TBC.shape == (3, 2, 3)
        assert logits_TBC.is_meta
