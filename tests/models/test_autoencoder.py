"""The family of encoder-decoders, and the loss of a frame.

Letters: T steps, B sequences, D numbers in a frame, H units.
"""

from __future__ import annotations

import math

import pytest
import torch

from models.autoencoder import EncoderDecoder, frame_loss, reversed_targets
from models.encoder import LSTMEncoder

D, H, LAYERS = 6, 4, 2
EVERY_KIND = [None, "unconditioned", "conditional"]


def a_model(randomised, reconstruct, predict, output="logistic"):
    return randomised(
        EncoderDecoder(
            LSTMEncoder(D, H, LAYERS),
            frame_size=D,
            hidden_size=H,
            num_layers=LAYERS,
            reconstruct=reconstruct,
            predict=predict,
            output=output,
        )
    )


def frames(steps, batch_size=3):
    return torch.rand(steps, batch_size, D, dtype=torch.float64)


def test_targets_are_reversed_in_time_alone():
    frames_TBD = torch.arange(24.0).view(4, 3, 2)
    reversed_TBD = reversed_targets(frames_TBD)
    for t in range(4):
        assert torch.equal(reversed_TBD[t], frames_TBD[3 - t])


@pytest.mark.parametrize("teacher_forced", [True, False])
@pytest.mark.parametrize("predict", EVERY_KIND)
@pytest.mark.parametrize("reconstruct", EVERY_KIND)
def test_each_combination_decodes_what_it_is_asked_to(
    reconstruct, predict, teacher_forced, randomised
):
    if reconstruct is None and predict is None:
        with pytest.raises(ValueError, match="nothing to decode"):
            a_model(randomised, reconstruct, predict)
        return
    model = a_model(randomised, reconstruct, predict)
    frames_TBD, future_TBD = frames(5), frames(3)
    decoded = model(frames_TBD, future_TBD, teacher_forced=teacher_forced)
    state = model.encoder.represent(frames_TBD)
    assert (decoded.reconstruction_TBD is None) == (reconstruct is None)
    assert (decoded.future_TBD is None) == (predict is None)
    if reconstruct is not None:
        shown_TBD = frames_TBD.flip(0) if teacher_forced else None
        expected_TBD = model.reconstructor(state, 5, shown_TBD)
        torch.testing.assert_close(decoded.reconstruction_TBD, expected_TBD)
    if predict is not None:
        shown_TBD = future_TBD if teacher_forced else None
        torch.testing.assert_close(decoded.future_TBD, model.predictor(state, 3, shown_TBD))


def test_free_running_needs_no_future_and_is_not_helped_by_one(randomised):
    model = a_model(randomised, "conditional", "conditional")
    frames_TBD = frames(5)
    alone = model(frames_TBD, future_steps=4, teacher_forced=False)
    beside = model(frames_TBD, frames(4), teacher_forced=False)
    torch.testing.assert_close(alone, beside, rtol=0, atol=0)
    forced = model(frames_TBD, frames(4), teacher_forced=True)
    assert not torch.allclose(forced.future_TBD, alone.future_TBD)
    assert not torch.allclose(forced.reconstruction_TBD, alone.reconstruction_TBD)


def test_the_representation_is_every_layers_state_after_the_last_frame(randomised):
    model = a_model(randomised, "unconditioned", None)
    frames_TBD = frames(5)
    _, last = model.encoder.lstm(frames_TBD)
    torch.testing.assert_close(model.encoder.represent(frames_TBD), last, rtol=0, atol=0)
    h_TBH, _ = model.reconstructor.lstm(None, last, steps=5)
    decoded = model(frames_TBD, teacher_forced=True)
    torch.testing.assert_close(decoded.reconstruction_TBD, model.reconstructor.readout(h_TBH))


@pytest.mark.parametrize("kind", ["unconditioned", "conditional"])
def test_both_decoders_gradients_add_up_in_the_encoder(kind, randomised):
    model = a_model(randomised, kind, kind)
    frames_TBD, future_TBD = frames(5), frames(3)

    def losses():
        decoded = model(frames_TBD, future_TBD, teacher_forced=True)
        back_TBD, ahead_TBD = decoded.reconstruction_TBD, decoded.future_TBD
        back = frame_loss(back_TBD, reversed_targets(frames_TBD), "logistic").sum()
        ahead = frame_loss(ahead_TBD, future_TBD, "logistic").sum()
        return back, ahead

    def encoder_gradients(loss):
        return torch.autograd.grad(loss, list(model.encoder.parameters()))

    of_back = encoder_gradients(losses()[0])
    of_ahead = encoder_gradients(losses()[1])
    of_both = encoder_gradients(sum(losses()))
    for back, ahead, both in zip(of_back, of_ahead, of_both, strict=True):
        assert back.any()
        assert ahead.any()
        torch.testing.assert_close(both, back + ahead)


def test_wrong_models_and_calls_are_explained(randomised):
    sizes = {"frame_size": D, "num_layers": LAYERS, "predict": None, "output": "linear"}
    encoder = LSTMEncoder(D, H, LAYERS)
    with pytest.raises(ValueError, match=r"states of \(4, 4\) units, but .* 2 layers of 5"):
        EncoderDecoder(encoder, hidden_size=5, reconstruct="conditional", **sizes)
    with pytest.raises(ValueError, match="'conditioned' is not one of"):
        EncoderDecoder(encoder, hidden_size=H, reconstruct="conditioned", **sizes)
    model = a_model(randomised, None, "conditional")
    with pytest.raises(ValueError, match="how many frames"):
        model(frames(5), teacher_forced=False)
    with pytest.raises(ValueError, match="teacher forcing needs the true frames"):
        model(frames(5), future_steps=3, teacher_forced=True)
    with pytest.raises(ValueError, match="3 targets for 4 steps"):
        model(frames(5), frames(3), future_steps=4, teacher_forced=True)


def test_knowing_nothing_costs_4096_ln_2_nats_a_frame():
    loss_TB = frame_loss(torch.zeros(2, 3, 4096), torch.rand(2, 3, 4096), "logistic")
    torch.testing.assert_close(loss_TB, torch.full((2, 3), 4096 * math.log(2)))


def test_a_perfect_prediction_of_grey_pixels_costs_their_own_entropy():
    z_TBD = torch.rand(2, 3, 4096, dtype=torch.float64).clamp(0.01, 0.99)
    entropy_TB = -(z_TBD * z_TBD.log() + (1 - z_TBD) * (1 - z_TBD).log()).sum(2)
    torch.testing.assert_close(frame_loss(z_TBD.logit(), z_TBD, "logistic"), entropy_TB)
    worse_TB = frame_loss(z_TBD.logit() + 0.1, z_TBD, "logistic")
    assert (worse_TB > entropy_TB).all()


def test_the_cross_entropy_stays_finite_far_from_the_truth():
    raw_TBD = torch.tensor([[[1000.0, -1000.0]]], requires_grad=True)
    loss_TB = frame_loss(raw_TBD, torch.tensor([[[0.0, 1.0]]]), "logistic")
    assert loss_TB.item() == pytest.approx(2000.0)
    loss_TB.sum().backward()
    torch.testing.assert_close(raw_TBD.grad, torch.tensor([[[1.0, -1.0]]]))


def test_the_squared_loss_is_half_the_squared_distance_of_a_frame():
    raw_TBD = torch.tensor([[[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    target_TBD = torch.tensor([[[0.0, 4.0, 1.0], [0.0, 2.0, 0.0]]])
    expected_TB = torch.tensor([[12.5, 2.0]])
    torch.testing.assert_close(frame_loss(raw_TBD, target_TBD, "linear"), expected_TB)


@pytest.mark.parametrize("output", ["logistic", "linear"])
def test_a_loss_of_different_shapes_is_refused_not_broadcast(output):
    with pytest.raises(ValueError, match="for targets of"):
        frame_loss(torch.zeros(4, 2, 3), torch.zeros(1, 2, 3), output)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="not one of 'logistic', 'linear'"):
        frame_loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), "squared")
