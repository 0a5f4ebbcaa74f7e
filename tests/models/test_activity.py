"""Recorded activity against the equations of section 2.1 in NumPy, and against the layers' own forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.activity import WatchedPredictor, record, record_step
from models.autoencoder import Decoder, EncoderDecoder
from models.encoder import LSTMEncoder
from models.lstm import LSTMState, PeepholeLSTM

T, B, D, H = 7, 3, 5, 4


def random_state(count: int = 1) -> list[LSTMState]:
    return [LSTMState(*torch.randn(2, B, H, dtype=torch.float64)) for _ in range(count)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("input_size", [None, D])
def test_a_step_follows_the_equations(input_size, randomised):
    layer = randomised(PeepholeLSTM(input_size, H))
    (state,) = random_state()
    x_BD = None if input_size is None else torch.randn(B, D, dtype=torch.float64)
    h_BH, c_BH = (each.numpy() for each in state)
    wh = {gate: w.numpy() for gate, w in zip("ifco", layer.weight_h.data.chunk(4), strict=True)}
    b = {gate: v.numpy() for gate, v in zip("ifco", layer.bias.data.chunk(4), strict=True)}
    p = dict(zip("ifo", layer.peephole.data.numpy(), strict=True))
    z = {gate: h_BH @ wh[gate].T + b[gate] for gate in "ifco"}
    if x_BD is not None:
        wx = {gate: w.numpy() for gate, w in zip("ifco", layer.weight_x.data.chunk(4), strict=True)}
        z = {gate: z[gate] + x_BD.numpy() @ wx[gate].T for gate in "ifco"}
    i, f = sigmoid(z["i"] + p["i"] * c_BH), sigmoid(z["f"] + p["f"] * c_BH)
    candidate = np.tanh(z["c"])
    c = f * c_BH + i * candidate
    o = sigmoid(z["o"] + p["o"] * c)
    with torch.no_grad():
        activity = record_step(layer, x_BD, state)
    expected = (candidate, i, f, o, c, o * np.tanh(c))
    for name, theirs in zip(activity._fields, expected, strict=True):
        ours = getattr(activity, name)
        assert ours.shape == (1, B, H)
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("output", ["logistic", "linear"])
@pytest.mark.parametrize(("layers", "layer"), [(1, 0), (2, 0), (2, 1)])
def test_a_watched_decoder_does_what_it_does_unwatched(
    conditional, output, layers, layer, randomised
):
    decoder = randomised(Decoder(D, H, layers, conditional=conditional, output=output))
    state = random_state(layers)
    with torch.no_grad():
        activity, raw_TBD = record(decoder, state, T, layer=layer)
        torch.testing.assert_close(raw_TBD, decoder(state, T), rtol=0, atol=1e-12)
        for steps in range(1, T + 1):  # the state after so many steps, from the layers' own forward
            shown_TBD = None
            if conditional:  # what it was fed: its own outputs, after a first step without any
                fed_TBD = torch.sigmoid(raw_TBD) if output == "logistic" else raw_TBD
                shown_TBD = torch.cat([torch.zeros_like(fed_TBD[:1]), fed_TBD[:-1]])[:steps]
            _, last = decoder.lstm(shown_TBD, state, steps=steps)
            for ours, theirs in (
                (activity.output_TBH, last[layer].h_BH),
                (activity.cell_TBH, last[layer].c_BH),
            ):
                torch.testing.assert_close(ours[steps - 1], theirs, rtol=0, atol=1e-12)
    assert all(each.shape == (T, B, H) for each in activity)


def test_a_watched_model_predicts_from_what_its_encoder_read(randomised):
    model = randomised(
        EncoderDecoder(
            LSTMEncoder(D, H, 2),
            frame_size=D,
            hidden_size=H,
            num_layers=2,
            reconstruct="unconditioned",
            predict="conditional",
            output="logistic",
        )
    )
    frames_TBD = torch.rand(6, B, D, dtype=torch.float64)
    watched = WatchedPredictor(model, torch.tensor([2, 0]))
    with torch.no_grad():
        _, raw_TBD = watched(frames_TBD, 9, layer=1)
        expected = model(frames_TBD, future_steps=9, teacher_forced=False).future_TBD
    torch.testing.assert_close(raw_TBD, expected, rtol=0, atol=1e-12)
    assert watched.units_U.tolist() == [2, 0]


def test_what_cannot_be_watched_is_refused():
    decoder = Decoder(D, H, 1, conditional=False, output="logistic")
    state = [LSTMState(torch.zeros(B, H), torch.zeros(B, H))]
    for layer in (-1, 1):
        with pytest.raises(ValueError, match=f"layer={layer}: this decoder has 1"):
            record(decoder, state, T, layer=layer)
    with pytest.raises(ValueError, match="steps=0: a decoder runs at least 1"):
        record(decoder, state, 0, layer=0)
    with pytest.raises(ValueError, match="this layer has no input weights"):
        record_step(PeepholeLSTM(None, H), torch.zeros(B, D), state[0])
    autoencoder = EncoderDecoder(
        LSTMEncoder(D, H, 1),
        frame_size=D,
        hidden_size=H,
        num_layers=1,
        reconstruct="unconditioned",
        predict=None,
        output="logistic",
    )
    with pytest.raises(ValueError, match="has no future predictor"):
        WatchedPredictor(autoencoder, torch.tensor([0]))
