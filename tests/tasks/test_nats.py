"""The numbers of Table 2, from frames to scores, against values known beforehand: ln 2, the frames' entropy, numpy's sums."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.autoencoder import Decoded, EncoderDecoder
from tasks.data.dataset import Unlabelled
from tasks.data.moving_digits import moving_digits
from tasks.encoders import LSTM
from tasks.pretrain import (
    FUTURE_LOSS,
    FUTURE_LOSS_TEACHER_FORCED,
    TARGET_ENTROPY,
    Decoder,
    Pretrain,
    at_frame,
)
from tasks.schedule import Schedule
from tasks.task import Predictions, Shard

DIGITS = Pretrain(
    dataset=moving_digits(),
    encoder=LSTM(units=8, layers=2),
    input_frames=3,
    future_frames=4,
    schedule=Schedule(steps=1, batch_size=2, learning_rate=1e-3),
    test_sequences=5,
    chunk=3,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waves:
    """Frames of 6 numbers of any sign, for linear outputs."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "waves"
    stream: ClassVar[str] = "pixels"
    frame_size: ClassVar[int] = 6
    output: ClassVar[Literal["linear"]] = "linear"
    notes: ClassVar[tuple[str, ...]] = ()
    details: ClassVar[dict[str, str | int]] = {}

    def unlabelled(self, seed: int, indices: range, num_frames: int) -> NDArray[np.float32]:
        phase_TBD = (
            np.arange(num_frames)[:, None, None]
            + 2.0 * np.array(indices)[None, :, None]
            + np.arange(6)[None, None, :]
            + seed
        )
        return (3 * np.sin(phase_TBD)).astype(np.float32)

    def evaluation(self, indices: range, num_frames: int) -> NDArray[np.float32]:
        return self.unlabelled(0, indices, num_frames)


WAVES = replace(DIGITS, dataset=Waves())


def predicted(task: Pretrain, model: nn.Module) -> Predictions:
    with torch.no_grad():
        chunks = [task.predict(model.eval(), chunk) for chunk in range(task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def scored(task: Pretrain, model: nn.Module) -> dict[str, float]:
    return {each.metric.name: each.value for each in task.score(predicted(task, model))}


def truth(data: Unlabelled) -> NDArray[np.float64]:
    """The held-out frames to come, (F, B, D)."""
    frames_TBD = data.evaluation(range(DIGITS.test_sequences), 7)
    return frames_TBD[3:].astype(np.float64)


def made(task: Pretrain, seed: int = 0) -> EncoderDecoder:
    model = task.build(seed, ())
    assert isinstance(model, EncoderDecoder)
    return model


def trained(task: Pretrain) -> EncoderDecoder:
    """A model with large parameters: every frame that it decodes is another, and depends on all that it is fed."""
    model, draws = made(task), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=draws)
    return model.eval()


def losses(
    task: Pretrain, raw_FBD: Tensor | None, z_FBD: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of every frame, (F, B), in float64: cross entropy of logits, or half the squared distance."""
    assert raw_FBD is not None
    y_FBD = raw_FBD.detach().double().numpy()
    if task.dataset.output == "linear":
        each_FBD = 0.5 * (y_FBD - z_FBD) ** 2
    else:
        p_FBD = 1 / (1 + np.exp(-y_FBD))
        each_FBD = -(z_FBD * np.log(p_FBD) + (1 - z_FBD) * np.log(1 - p_FBD))
    return np.asarray(each_FBD.sum(axis=2))


class Oracle(nn.Module):
    """Says what `answer` says of the true future of the sequences that it is shown; knows them by their input frames."""

    def __init__(self, task: Pretrain) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))  # tells the task on which device it is
        everything = task.evaluation(range(task.test_sequences))
        self.frames_TBD, self.future_FBD = everything.frames_TBD, everything.future_FBD
        self.linear = task.dataset.output == "linear"

    def forward(
        self,
        frames_TBD: Tensor,
        future_TBD: Tensor | None = None,
        *,
        future_steps: int | None = None,
        teacher_forced: bool,
    ) -> Decoded:
        same_BB = (frames_TBD[:, :, None] == self.frames_TBD[:, None]).all(dim=3).all(dim=0)
        which_B = same_BB.int().argmax(dim=1)
        future_FBD = self.future_FBD[:, which_B]
        if self.linear:
            return Decoded(None, future_FBD)
        # A pixel of 0 or 1 has no finite logit: at 1e-12 from it a pixel costs 1e-12 nats.
        clipped_FBD = future_FBD.double().clamp(1e-12, 1 - 1e-12)
        return Decoded(None, torch.logit(clipped_FBD).float())


@pytest.mark.parametrize("predict_future", ["unconditioned", "conditional"])
def test_half_in_every_pixel_of_a_64_by_64_frame_is_4096_ln_2(predict_future: Decoder) -> None:
    task = replace(DIGITS, dataset=moving_digits(canvas=64), predict_future=predict_future)
    model = made(task)
    for decoder in (model.reconstructor, model.predictor):
        assert decoder is not None
        nn.init.zeros_(decoder.readout.weight)
        nn.init.zeros_(decoder.readout.bias)
    scores = scored(task, model)
    assert scores.pop(TARGET_ENTROPY.name) < 1000
    assert set(scores) == {"future_loss", "future_loss_teacher_forced", "reconstruction_loss"}
    for value in scores.values():
        assert value == pytest.approx(2839.13, abs=0.01)  # sec. 3.4's frames; natural logarithms


def test_the_entropy_is_numpys() -> None:
    z_FBD = truth(DIGITS.dataset)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = -np.nan_to_num(z_FBD * np.log(z_FBD)) - np.nan_to_num((1 - z_FBD) * np.log(1 - z_FBD))  # fmt: skip
    expected_B = each.sum(axis=2).mean(axis=0)
    assert expected_B.min() > 0
    found = predicted(DIGITS, made(DIGITS))[TARGET_ENTROPY.name]
    np.testing.assert_allclose(found, expected_B, rtol=1e-9)


def test_a_perfect_prediction_scores_the_entropy_and_nothing_scores_less() -> None:
    task = replace(DIGITS, reconstruct="none")
    oracle = Oracle(task)
    scores = scored(task, oracle)
    # float32 logits of about 28 at black pixels: 1e-12 nats each; grey ones to 1e-6 of their entropy.
    assert scores[FUTURE_LOSS.name] == pytest.approx(scores[TARGET_ENTROPY.name], rel=1e-5)
    assert scores[TARGET_ENTROPY.name] > 10

    class Bolder(Oracle):
        def forward(self, *args: Tensor, **words: object) -> Decoded:
            decoded = super().forward(*args, **words)  # type: ignore[arg-type]
            assert decoded.future_TBD is not None
            return Decoded(None, 1.1 * decoded.future_TBD)

    assert scored(task, Bolder(task))[FUTURE_LOSS.name] > scores[FUTURE_LOSS.name] + 0.01


def test_the_loss_of_logistic_outputs_is_the_cross_entropy_summed_over_pixels() -> None:
    model = made(DIGITS)
    frames_TBD, future_FBD = DIGITS.evaluation(range(DIGITS.test_sequences))
    with torch.no_grad():
        decoded = model(frames_TBD, future_steps=len(future_FBD), teacher_forced=False)
    assert decoded.future_TBD is not None
    p_FBD = 1 / (1 + np.exp(-decoded.future_TBD.double().numpy()))
    z_FBD = truth(DIGITS.dataset)
    loss_FB = -(z_FBD * np.log(p_FBD) + (1 - z_FBD) * np.log(1 - p_FBD)).sum(axis=2)
    table = predicted(DIGITS, model)
    np.testing.assert_allclose(table[FUTURE_LOSS.name], loss_FB.mean(axis=0), rtol=1e-5)
    for frame in range(1, 5):
        np.testing.assert_allclose(table[at_frame(FUTURE_LOSS, frame)], loss_FB[frame - 1], rtol=1e-5)  # fmt: skip
    assert scored(DIGITS, model)[FUTURE_LOSS.name] == pytest.approx(loss_FB.mean(), rel=1e-5)


@pytest.mark.parametrize("metric", [FUTURE_LOSS, FUTURE_LOSS_TEACHER_FORCED])
@pytest.mark.parametrize("predict_future", ["unconditioned", "conditional"])
def test_the_mean_over_frames_is_the_loss(predict_future: Decoder, metric: object) -> None:
    task = replace(DIGITS, predict_future=predict_future)
    table = predicted(task, made(task))
    name = FUTURE_LOSS if metric is FUTURE_LOSS else FUTURE_LOSS_TEACHER_FORCED
    frames = [table[at_frame(name, frame)] for frame in range(1, 5)]
    np.testing.assert_allclose(np.mean(frames, axis=0), table[name.name], rtol=1e-6)
    assert at_frame(name, 5) not in table


@pytest.mark.parametrize("task", [DIGITS, WAVES], ids=["digits", "waves"])
def test_decoding_freely_and_teacher_forced_are_one_without_conditions(task: Pretrain) -> None:
    table = predicted(task, made(task))
    for frame in range(1, 5):
        free, forced = (
            table[at_frame(each, frame)] for each in (FUTURE_LOSS, FUTURE_LOSS_TEACHER_FORCED)
        )
        assert np.array_equal(free, forced)


@pytest.mark.parametrize("task", [DIGITS, WAVES], ids=["digits", "waves"])
def test_a_conditional_model_is_shown_nothing_at_its_first_frame_only(task: Pretrain) -> None:
    task = replace(task, predict_future="conditional")
    table = predicted(task, made(task))
    for frame in range(1, 5):
        free, forced = (
            table[at_frame(each, frame)] for each in (FUTURE_LOSS, FUTURE_LOSS_TEACHER_FORCED)
        )
        if frame == 1:
            np.testing.assert_allclose(free, forced, rtol=1e-5)
        else:
            assert not np.isclose(free, forced, rtol=1e-5).any()


@pytest.mark.parametrize("task", [DIGITS, WAVES], ids=["digits", "waves"])
def test_each_loss_of_a_conditional_model_is_of_the_decoding_that_it_names(task: Pretrain) -> None:
    task = replace(task, predict_future="conditional")
    model = trained(task)
    frames_TBD, future_FBD = task.evaluation(range(task.test_sequences))
    with torch.no_grad():
        free = model(frames_TBD, future_steps=len(future_FBD), teacher_forced=False)
        forced = model(frames_TBD, future_FBD, teacher_forced=True)
    z_FBD, table = truth(task.dataset), predicted(task, model)
    expected = {
        "future_loss": losses(task, free.future_TBD, z_FBD),
        "future_loss_teacher_forced": losses(task, forced.future_TBD, z_FBD),
    }
    free_B, forced_B = (loss_FB.mean(axis=0) for loss_FB in expected.values())
    assert np.abs(forced_B / free_B - 1).max() > 1e-3  # a hundred times what is allowed below
    for name, loss_FB in expected.items():
        np.testing.assert_allclose(table[name], loss_FB.mean(axis=0), rtol=1e-5)
        for frame in range(1, 5):
            np.testing.assert_allclose(table[f"{name}_00{frame}"], loss_FB[frame - 1], rtol=1e-5)
        assert scored(task, model)[name] == pytest.approx(loss_FB.mean(), rel=1e-5)


@pytest.mark.parametrize("reconstruct", ["unconditioned", "conditional"])
@pytest.mark.parametrize("task", [DIGITS, WAVES], ids=["digits", "waves"])
def test_a_reconstruction_is_compared_with_the_input_backwards(
    task: Pretrain, reconstruct: Decoder
) -> None:
    task = replace(task, reconstruct=reconstruct)
    model = trained(task)
    frames_TBD, _ = task.evaluation(range(task.test_sequences))
    with torch.no_grad():
        raw_TBD = model(frames_TBD, future_steps=4, teacher_forced=False).reconstruction_TBD
    v1_TBD, v2_TBD, v3_TBD = frames_TBD.double().numpy()
    backwards_TB = losses(task, raw_TBD, np.stack([v3_TBD, v2_TBD, v1_TBD]))
    forwards_TB = losses(task, raw_TBD, np.stack([v1_TBD, v2_TBD, v3_TBD]))
    apart_B = np.abs(forwards_TB.mean(axis=0) / backwards_TB.mean(axis=0) - 1)
    assert apart_B.max() > 1e-3  # a hundred times what is allowed below
    found_B = predicted(task, model)["reconstruction_loss"]
    np.testing.assert_allclose(found_B, backwards_TB.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "decoders",
    [
        ("conditional", "conditional"),
        ("unconditioned", "conditional"),
        ("unconditioned", "unconditioned"),
        ("none", "conditional"),
        ("unconditioned", "none"),
    ],
    ids="-".join,
)
@pytest.mark.parametrize("task", [DIGITS, WAVES], ids=["digits", "waves"])
def test_the_loss_of_training_is_both_terms_teacher_forced_over_the_global_batch(
    task: Pretrain, decoders: tuple[Decoder, Decoder]
) -> None:
    task = replace(task, reconstruct=decoders[0], predict_future=decoders[1])
    model = trained(task)
    whole = task.batch(0, 0, Shard())

    def by_hand(frames_TBD: Tensor, future_FBD: Tensor, *, forced: bool, order: int = -1) -> float:
        with torch.no_grad():
            decoded = model(frames_TBD, future_FBD, teacher_forced=forced)
        total = 0.0
        for raw_TBD, truth_TBD in (
            (decoded.reconstruction_TBD, frames_TBD.double().numpy()[::order]),
            (decoded.future_TBD, future_FBD.double().numpy()),
        ):
            if raw_TBD is not None:
                total += losses(task, raw_TBD, truth_TBD).sum()
        return total / 2  # DIGITS and WAVES have two sequences a step

    expected = by_hand(*whole, forced=True)
    assert task.loss(model, whole).item() == pytest.approx(expected, rel=1e-5)
    if "conditional" in decoders:
        assert expected != pytest.approx(by_hand(*whole, forced=False), rel=3e-5)
    if decoders[0] != "none":
        assert expected != pytest.approx(by_hand(*whole, forced=True, order=1), rel=3e-5)
    # One of two ranks has one sequence, and divides by two as well: the gradients of ranks are added.
    first, second = (task.batch(0, 0, Shard(rank=rank, num_ranks=2)) for rank in (0, 1))
    assert len(first.frames_TBD[0]) == 1
    found = task.loss(model, first).item() + task.loss(model, second).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_linear_outputs_score_half_the_squared_distance() -> None:
    model = made(WAVES)
    assert model.predictor is not None
    nn.init.zeros_(model.predictor.readout.weight)
    nn.init.constant_(model.predictor.readout.bias, 2.0)
    (free,) = (
        each for each in WAVES.score(predicted(WAVES, model)) if each.metric.name == "future_loss"
    )
    expected = (0.5 * (truth(WAVES.dataset) - 2.0) ** 2).sum(axis=2).mean()
    assert free.value == pytest.approx(expected, rel=1e-6)
    assert free.metric.unit == "squared loss/frame"
    assert TARGET_ENTROPY.name not in scored(WAVES, model)


def test_a_perfect_linear_prediction_scores_zero() -> None:
    task = replace(WAVES, reconstruct="none")
    assert scored(task, Oracle(task))[FUTURE_LOSS.name] == 0.0
