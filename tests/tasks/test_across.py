"""Batches cross the ends of videos; every result goes to the frame that it is of."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.across import across


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6),
    st.integers(1, 9),
)
def test_each_video_gets_the_results_of_its_own_frames(lengths: list[list[int]], rows: int) -> None:
    numbered = iter(range(10**6))
    videos = [
        [np.array([[next(numbered)] for _ in range(n)]).reshape(n, 1) for n in pieces]
        for pieces in lengths
    ]
    batches: list[int] = []

    def run(frames_B1: np.ndarray) -> torch.Tensor:
        batches.append(len(frames_B1))
        return torch.from_numpy(np.concatenate([frames_B1, -frames_B1], axis=1))

    found = list(across(videos, rows, run))
    total = sum(map(sum, lengths))
    assert len(found) == len(videos)
    for pieces, results in zip(videos, found, strict=True):
        mine = [int(n) for piece in pieces for n in piece[:, 0]]
        assert results.reshape(-1, 2).tolist() == [[n, -n] for n in mine]
    assert batches == [rows] * (total // rows) + [total % rows] * (total % rows > 0)


def test_a_video_is_given_as_soon_as_the_next_batch_is_launched() -> None:
    asked: list[int] = []

    def videos():  # type: ignore[no-untyped-def]
        for number in range(4):
            asked.append(number)
            yield [np.full((2, 1), number)]

    given_ = across(videos(), 2, torch.from_numpy)
    assert next(given_).tolist() == [[0], [0]]
    assert asked == [0, 1]
