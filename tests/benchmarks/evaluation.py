"""Few-shot evaluation, a frame's input product computed once, against whole blocks, in which most frames are in two."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from models.classifier import LSTMClassifier
from tasks import videoeval
from tasks.data.dataset import Video
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tests.benchmarks.ratios import Ratio, compare

BLOCK, STRIDE = 16, 8
Pair = tuple[str, Callable[[], object], str, Callable[[], object], str]
"""What it is called, the thing, what its peer is called, the peer, what their ratio should be."""


class _InMemory(Digits):
    """Made-up frames."""

    def __init__(self, frames: Mapping[str, np.ndarray]) -> None:
        object.__setattr__(self, "_frames", frames)

    def frames(self, video: Video) -> np.ndarray:
        return self._frames[video.id]

    def window(self, video: Video, start: int, num_frames: int) -> np.ndarray:
        return self._frames[video.id][start : start + num_frames]


def ratios() -> list[Ratio]:
    """At the demo's size, on its own test list; and at that of VGG's fc6, on videos as long as UCF-101's are on average."""
    return [compare(*pair) for pair in _pairs()]


def _pairs() -> Iterator[Pair]:
    data = Digits()
    yield _pair("demo: D=400, 2 x 128", data, list(data.test(1)), 400, LSTM(units=128, layers=2))
    draw = np.random.default_rng(0)
    for layers in (1, 2):
        frames = {
            f"v{number}": draw.standard_normal((187, 4096), np.float32) for number in range(12)
        }
        videos = [Video(id=each, label=0, group="g", num_frames=187) for each in frames]
        encoder = LSTM(units=512, layers=layers)
        yield _pair(f"D=4096, {layers} x 512", _InMemory(frames), videos, 4096, encoder)


def _pair(what: str, data: Digits, videos: list[Video], size: int, encoder: LSTM) -> Pair:
    torch.manual_seed(0)
    model = LSTMClassifier(encoder.build(size), 10).eval()

    def once() -> np.ndarray:
        with torch.no_grad():
            table = videoeval.predict_blocks(
                data,
                videos,
                lambda products_TBG: model.block_probabilities(model.from_products(products_TBG)),
                block=BLOCK,
                stride=STRIDE,
                device=torch.device("cpu"),
                per_frame=model.encoder.frame_products,
            )
        return videoeval.probabilities(table)

    def whole_blocks() -> np.ndarray:
        pieces = []
        for video in videos:
            frames_TD = data.frames(video)
            for start in videoeval.block_starts(len(frames_TD), block=BLOCK, stride=STRIDE):
                pieces.append(videoeval.hold(frames_TD[start : start + BLOCK], BLOCK))
        found = []
        with torch.no_grad():
            for first in range(0, len(pieces), videoeval.BLOCKS_AT_ONCE):
                together = pieces[first : first + videoeval.BLOCKS_AT_ONCE]
                logits_TBC = model(torch.from_numpy(np.stack(together, axis=1)))
                found.append(model.block_probabilities(logits_TBC).numpy())
        return np.concatenate(found)

    new_BC, old_BC = once(), whole_blocks()
    if not np.allclose(new_BC, old_BC, atol=1e-5):
        raise ValueError(f"{what}: the two do not agree, so their times mean nothing")
    blocks = len(old_BC)
    return f"few-shot evaluation, {what}, {blocks} blocks", once, "whole blocks", whole_blocks, ""
