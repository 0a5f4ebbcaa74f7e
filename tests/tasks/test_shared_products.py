"""A frame's input product is computed once and shared by the blocks that overlap: the answers are those of whole blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.classifier import LSTMClassifier
from models.dropout import Dropout
from models.encoder import LSTMEncoder
from tasks import videoeval
from tasks.data.dataset import Video
from tasks.data.digits import Digits
from tasks.encoders import LSTM, EncoderSpec, own
from tasks.fewshot import FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset


class Recurrent(torch.nn.Module):
    """An encoder of a user's, of which nothing is known but that it maps frames to states."""

    def __init__(self, frame_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(frame_size, 8)

    def forward(self, frames_TBD: torch.Tensor) -> torch.Tensor:
        states_TBH: torch.Tensor = self.rnn(frames_TBD)[0]
        return states_TBH


TASK = FewShot(
    subset=Subset(dataset=Digits(), split=1, shots=2, resample=0),
    encoder=LSTM(units=12, layers=2),
    dropout=0.5,
    schedule=Schedule(steps=1, batch_size=4, learning_rate=1e-3),
    chunk=9,
)


def by_whole_blocks(task: FewShot, model: torch.nn.Module, videos: list[Video]) -> np.ndarray:
    """Probabilities (B, C) of every block, each block computed alone, from its first frame on."""
    found = []
    for video in videos:
        frames_TD = task.subset.dataset.frames(video)
        for start in range(0, max(1, video.num_frames - task.block + 1), task.stride):
            shown_TD = frames_TD[start : start + task.block]
            while len(shown_TD) < task.block:
                shown_TD = np.concatenate([shown_TD, frames_TD[-1:]])
            logits_TBC = model(torch.from_numpy(shown_TD[:, None].copy()))
            found.append(logits_TBC.softmax(dim=2).mean(dim=0)[0].numpy())
    return np.stack(found)


@pytest.mark.parametrize("encoder", [LSTM(units=12, layers=2), LSTM(units=5, layers=1), own(Recurrent)])  # fmt: skip
@pytest.mark.parametrize(("block", "stride"), [(16, 8), (16, 3), (7, 11), (64, 8), (1, 1)])
def test_predictions_are_those_of_whole_blocks(
    encoder: EncoderSpec, block: int, stride: int
) -> None:
    task = replace(TASK, encoder=encoder, block=block, stride=stride)
    model = task.build(3, ()).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and peepholes, too, which begin at zero
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) / 4)  # fmt: skip
        table = task.predict(model, 1)
        expected_BC = by_whole_blocks(task, model, list(task.subset.test_videos[9:18]))
    found_BC = videoeval.probabilities(table)
    np.testing.assert_allclose(found_BC, expected_BC, atol=2e-6)
    assert np.ptp(expected_BC) > 0.1
    np.testing.assert_array_equal(found_BC.argmax(axis=1), expected_BC.argmax(axis=1))


def test_the_product_is_of_as_many_frames_as_there_are_not_of_as_many_as_blocks_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = TASK.build(0, ()).eval()
    computed: list[int] = []
    real = LSTMEncoder.frame_products

    def counted(self: LSTMEncoder, frames_ND: torch.Tensor) -> torch.Tensor:
        computed.append(len(frames_ND))
        return real(self, frames_ND)

    monkeypatch.setattr(LSTMEncoder, "frame_products", counted)
    with torch.no_grad():
        table = TASK.predict(model, 0)
    covered = [
        {start + t for start in table["start"][table["video_id"] == video] for t in range(16)}
        for video in set(table["video_id"])
    ]
    assert sum(computed) == sum(map(len, covered)) < 16 * len(table["start"])


def test_products_of_frames_and_then_states_are_the_states_of_the_frames() -> None:
    random = torch.Generator().manual_seed(0)
    encoder = LSTMEncoder(7, 5, 3).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(generator=random)
        frames_TBD = torch.randn((6, 4, 7), generator=random, dtype=torch.float64)
        products_NG = encoder.frame_products(frames_TBD.flatten(0, 1))
        weight_GD = encoder.state_dict()["lstm.layers.0.weight_x"]
        np.testing.assert_allclose(products_NG, frames_TBD.flatten(0, 1) @ weight_GD.T, rtol=1e-12)
        states_TBH = encoder.forward_from_products(products_NG.unflatten(0, (6, 4)))
        torch.testing.assert_close(states_TBH, encoder(frames_TBD), rtol=1e-12, atol=1e-12)


def test_of_an_encoder_that_says_nothing_of_frames_alone_the_frames_are_shared() -> None:
    encoder = own(Recurrent).build(7)
    frames_ND = torch.randn(9, 7)
    assert encoder.frame_products(frames_ND) is frames_ND
    classifier = LSTMClassifier(encoder, 3)
    with torch.no_grad():
        whole = classifier(frames_ND[:, None])
        assert torch.equal(classifier.from_products(frames_ND[:, None]), whole)


class Doubled(LSTMEncoder):
    """A class derived from the paper's, that computes something else."""

    def forward(self, frames_TBD: torch.Tensor, dropout: Dropout | None = None) -> torch.Tensor:
        return 2 * super().forward(frames_TBD, dropout)


def test_a_derived_encoder_is_evaluated_by_its_own_forward() -> None:
    torch.manual_seed(0)
    dataset = TASK.subset.dataset
    model = LSTMClassifier(Doubled(dataset.frame_size, 12, 2), len(dataset.classes)).eval()
    videos = list(videoeval.chunk_of(TASK.subset.test_videos, 0, TASK.chunk))
    with torch.no_grad():
        ours = videoeval.probabilities(TASK.predict(model, 0))
        np.testing.assert_allclose(ours, by_whole_blocks(TASK, model, videos), atol=1e-6)
