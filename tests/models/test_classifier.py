"""The LSTM classifier, and its start from a pretrained encoder.

Letters: T steps, B sequences, D numbers in a frame, H units, C classes.
"""

from __future__ import annotations

import math

import pytest
import torch

from models.autoencoder import EncoderDecoder
from models.classifier import LSTMClassifier, load_encoder
from models.dropout import Dropout
from models.encoder import LSTMEncoder

VARIANTS = {
    "Autoencoder": ("unconditioned", None),
    "Conditional Autoencoder": ("conditional", None),
    "Future Predictor": (None, "unconditioned"),
    "Conditional Future Predictor": (None, "conditional"),
    "Composite": ("unconditioned", "unconditioned"),
    "Composite, conditional autoencoder": ("conditional", "unconditioned"),
    "Composite, conditional Future Predictor": ("unconditioned", "conditional"),
    "Composite, both conditional": ("conditional", "conditional"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pretrained_encoder_gives_the_classifier_its_states(variant, randomised):
    reconstruct, predict = VARIANTS[variant]
    pretrained = randomised(
        EncoderDecoder(
            LSTMEncoder(6, 4, 2),
            frame_size=6,
            hidden_size=4,
            num_layers=2,
            reconstruct=reconstruct,
            predict=predict,
            output="linear",
        )
    )
    classifier = randomised(LSTMClassifier(LSTMEncoder(6, 4, 2), 3))
    readout = classifier.readout.weight.clone()
    frames_TBD = torch.rand(5, 2, 6, dtype=torch.float64)
    states_TBH = pretrained.encoder(frames_TBD)
    assert not torch.allclose(classifier.encoder(frames_TBD), states_TBH)
    load_encoder(classifier.encoder, pretrained.encoder.state_dict())
    torch.testing.assert_close(classifier.encoder(frames_TBD), states_TBH, rtol=0, atol=0)
    assert torch.equal(classifier.readout.weight, readout)


def test_a_loaded_encoder_is_a_copy(randomised):
    source, target = randomised(LSTMEncoder(6, 4, 1)), randomised(LSTMEncoder(6, 4, 1))
    load_encoder(target, source.state_dict())
    with torch.no_grad():
        target.lstm.layers[0].bias.add_(1.0)
    assert not torch.equal(source.lstm.layers[0].bias, target.lstm.layers[0].bias)


def test_a_pretrained_encoder_that_does_not_fit_is_refused_whole():
    encoder = LSTMEncoder(6, 4, 2)
    state = {key: value + 1 for key, value in LSTMEncoder(6, 4, 2).state_dict().items()}
    del state["lstm.layers.1.peephole"]
    state["lstm.layers.2.bias"] = torch.zeros(16)
    state["lstm.layers.0.weight_x"] = torch.zeros(16, 9)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole sentence is compared below
        load_encoder(encoder, state)
    assert str(error.value) == (
        "the pretrained encoder does not fit the classifier's ("
        "missing: lstm.layers.1.peephole; unexpected: lstm.layers.2.bias; "
        "mis-shaped: lstm.layers.0.weight_x (16, 9) for (16, 6))"
    )
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_whole_models_state_is_refused_without_listing_it_all():
    classifier = LSTMClassifier(LSTMEncoder(6, 4, 3), 3)
    with pytest.raises(ValueError, match=r"missing: .* and 4 more; unexpected: .* and 6 more"):
        load_encoder(classifier.encoder, classifier.state_dict())


def test_logits_read_the_top_h_at_every_step(randomised):
    classifier = randomised(LSTMClassifier(LSTMEncoder(6, 4, 2), 3))
    frames_TBD = torch.rand(5, 2, 6, dtype=torch.float64)
    h_TBH, _ = classifier.encoder.lstm(frames_TBD)
    weight_CH, bias_C = classifier.readout.weight, classifier.readout.bias
    torch.testing.assert_close(classifier(frames_TBD), h_TBH @ weight_CH.T + bias_C)


def test_dropout_falls_on_each_layers_input_and_before_the_output_weights(randomised):
    classifier = randomised(LSTMClassifier(LSTMEncoder(6, 4, 2), 3))
    frames_TBD = torch.rand(5, 2, 6, dtype=torch.float64)

    def dropout():
        return Dropout(0.5, torch.Generator().manual_seed(5), batch_size=2)

    by_hand = dropout()
    layers = classifier.encoder.lstm.layers
    zeros = classifier.encoder.lstm.zero_state(2, frames_TBD)
    h_TBH = frames_TBD
    for layer, zero in zip(layers, zeros, strict=True):
        h_TBH, _ = layer(by_hand(h_TBH), zero)
    expected_TBC = classifier.readout(by_hand(h_TBH))
    torch.testing.assert_close(classifier(frames_TBD, dropout()), expected_TBC, rtol=0, atol=0)
    assert not torch.allclose(classifier(frames_TBD), expected_TBC)


def test_the_same_rows_on_two_ranks_give_the_logits_of_one(randomised):
    classifier = randomised(LSTMClassifier(LSTMEncoder(6, 4, 2), 3))
    frames_TBD = torch.rand(5, 4, 6, dtype=torch.float64)

    def logits(rows):
        generator = torch.Generator().manual_seed(5)
        dropout = Dropout(0.5, generator, batch_size=4, rows=rows)
        return classifier(frames_TBD[:, rows], dropout)

    halves = [logits(slice(0, 2)), logits(slice(2, 4))]
    torch.testing.assert_close(torch.cat(halves, dim=1), logits(slice(None)))


def test_the_loss_is_summed_over_steps_and_kept_for_each_sequence():
    logits_TBC = torch.randn(4, 3, 5)
    labels_B = torch.tensor([0, 4, 2])
    loss_B = LSTMClassifier.step_loss(logits_TBC, labels_B)
    expected_B = [
        -sum(logits_TBC[t, b].log_softmax(0)[labels_B[b]] for t in range(4)) for b in range(3)
    ]
    torch.testing.assert_close(loss_B, torch.stack(expected_B))
    uniform_B = LSTMClassifier.step_loss(torch.zeros(16, 3, 5), labels_B)
    torch.testing.assert_close(uniform_B, torch.full((3,), 16 * math.log(5)))


def test_a_blocks_probabilities_are_the_mean_of_its_steps_probabilities():
    logits_TBC = torch.tensor([[[0.0, 0.0]], [[math.log(9.0), 0.0]]])  # 1/2 and 9/10
    probabilities_BC = LSTMClassifier.block_probabilities(logits_TBC)
    torch.testing.assert_close(probabilities_BC, torch.tensor([[0.7, 0.3]]))
    # The softmax of the mean logits would be 3/4.


def test_the_output_weights_start_as_the_paper_says():
    classifier = LSTMClassifier(LSTMEncoder(3, 100, 1), 50)
    assert 0.099 < classifier.readout.weight.abs().max() <= 0.1
    assert not classifier.readout.bias.any()
