"""Decoders: what they are shown, and when.

Letters: T steps, B sequences, D numbers in a frame, H units.
"""

from __future__ import annotations

import pytest
import torch

from models.autoencoder import Decoder
from models.lstm import LSTMState

D, H, LAYERS = 6, 4, 2


def a_decoder(randomised, *, conditional=True, output="logistic"):
    return randomised(Decoder(D, H, LAYERS, conditional=conditional, output=output))


def a_state(batch_size=3):
    tensors = torch.randn(LAYERS, 2, batch_size, H, dtype=torch.float64)
    return tuple(LSTMState(*layer) for layer in tensors)


def frames(steps, batch_size=3):
    return torch.rand(steps, batch_size, D, dtype=torch.float64)


@pytest.mark.parametrize("output", ["logistic", "linear"])
def test_outputs_are_raw_and_read_the_top_h_alone(output, randomised):
    decoder, state = a_decoder(randomised, conditional=False, output=output), a_state()
    h_TBH, _ = decoder.lstm(None, state, steps=5)
    expected_TBD = h_TBH @ decoder.readout.weight.T + decoder.readout.bias
    torch.testing.assert_close(decoder(state, 5), expected_TBD)


def test_an_unconditioned_decoder_has_no_input_weights_and_ignores_targets(randomised):
    decoder, state = a_decoder(randomised, conditional=False), a_state()
    assert decoder.lstm.layers[0].weight_x is None
    without_TBD = decoder(state, 4)
    torch.testing.assert_close(decoder(state, 4, frames(4)), without_TBD, rtol=0, atol=0)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_first_output_follows_one_step_without_a_frame(conditional, randomised):
    decoder, state = a_decoder(randomised, conditional=conditional), a_state()
    h_TBH, _ = decoder.lstm(None, state, steps=1)
    expected_TBD = decoder.readout(h_TBH)
    for targets_TBD in (None, frames(4)):
        torch.testing.assert_close(decoder(state, 4, targets_TBD)[:1], expected_TBD)


def test_a_conditional_decoder_is_shown_the_previous_target(randomised):
    decoder, state, targets_TBD = a_decoder(randomised), a_state(), frames(4)
    shown_TBD = torch.cat([torch.zeros(1, 3, D, dtype=torch.float64), targets_TBD[:3]])
    expected_TBD = decoder.readout(decoder.lstm(shown_TBD, state)[0])
    torch.testing.assert_close(decoder(state, 4, targets_TBD), expected_TBD)


def test_no_output_sees_its_own_target_or_a_later_one(randomised):
    decoder, state, targets_TBD = a_decoder(randomised), a_state(), frames(5)
    changed_TBD = targets_TBD.clone()
    changed_TBD[2] += 1.0
    before_TBD, after_TBD = decoder(state, 5, targets_TBD), decoder(state, 5, changed_TBD)
    torch.testing.assert_close(after_TBD[:3], before_TBD[:3], rtol=0, atol=0)
    assert not torch.allclose(after_TBD[3], before_TBD[3])
    assert not torch.allclose(after_TBD[4], before_TBD[4])


@pytest.mark.parametrize("output", ["logistic", "linear"])
def test_free_running_is_teacher_forcing_with_ones_own_outputs(output, randomised):
    decoder, state = a_decoder(randomised, output=output), a_state()
    free_TBD = decoder(state, 5)
    own_TBD = torch.sigmoid(free_TBD) if output == "logistic" else free_TBD
    torch.testing.assert_close(decoder(state, 5, own_TBD), free_TBD)
    # Not with the other kind of feedback, and not with other frames.
    wrong_TBD = free_TBD if output == "logistic" else torch.sigmoid(free_TBD)
    assert not torch.allclose(decoder(state, 5, wrong_TBD), free_TBD)
    assert not torch.allclose(decoder(state, 5, frames(5)), free_TBD)


def test_the_output_layer_starts_as_the_paper_says():
    decoder = Decoder(300, 100, 1, conditional=False, output="linear")
    assert decoder.readout.weight.abs().max() <= 0.1
    assert decoder.readout.weight.abs().max() > 0.099
    assert decoder.readout.weight.var().item() == pytest.approx(0.01 / 3, rel=0.05)
    assert not decoder.readout.bias.any()


def test_wrong_calls_are_explained(randomised):
    with pytest.raises(ValueError, match="3 targets for 4 steps"):
        a_decoder(randomised)(a_state(), 4, frames(3))
    with pytest.raises(ValueError, match="'softmax' is not one of 'logistic', 'linear'"):
        a_decoder(randomised, output="softmax")
    with pytest.raises(ValueError, match="1 states for 2 layers"):
        a_decoder(randomised)(a_state()[:1], 4)
