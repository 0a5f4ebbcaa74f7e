"""From blocks to a video's prediction, and every way to count wrongly."""

import numpy as np
import pytest
import torch

from tasks import videoeval
from tasks.data.dataset import Video
from tasks.data.digits import Digits
from tasks.task import Predictions


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (1, [0]),
        (15, [0]),
        (16, [0]),
        (23, [0]),
        (24, [0, 8]),
        (31, [0, 8]),
        (32, [0, 8, 16]),
        (40, [0, 8, 16, 24]),
    ],
)
def test_block_starts_follow_the_paper(frames: int, starts: list[int]) -> None:
    found = list(videoeval.block_starts(frames, block=16, stride=8))
    assert found == starts
    if frames >= 16:
        assert len(found) == 1 + (frames - 16) // 8


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a video of 0 frames cannot be classified"):
        videoeval.block_starts(0, block=16, stride=8)


def test_a_short_video_is_one_block_with_its_last_frame_held() -> None:
    frames_TD = np.arange(6, dtype=np.float32).reshape(3, 2)
    block = videoeval.read_block(frames_TD, 0, 5)
    np.testing.assert_array_equal(block, [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]])


def test_blocks_carry_the_right_frames_ids_and_labels() -> None:
    data = Digits()
    videos = data.test(1)[:3]
    seen = []

    def classify(frames_TBD: torch.Tensor) -> torch.Tensor:
        seen.append(frames_TBD)
        return torch.full((frames_TBD.shape[1], 10), 0.1)

    table = videoeval.predict_blocks(
        data, videos, classify, block=16, stride=8, device=torch.device("cpu")
    )
    row = 0
    for video in videos:
        for number, start in enumerate(
            videoeval.block_starts(video.num_frames, block=16, stride=8)
        ):
            assert (table["video_id"][row], table["block"][row], table["start"][row]) == (
                video.id,
                number,
                start,
            )
            assert table["label"][row] == video.label
            np.testing.assert_array_equal(
                seen[0][:, row].numpy(), data.frames(video)[start : start + 16]
            )
            row += 1
    assert row == len(table["video_id"])


def predictions(rows: list[tuple[str, int, int, list[float]]]) -> Predictions:
    ids, blocks, labels, p = zip(*rows, strict=True)
    table: Predictions = {
        "video_id": np.array(ids),
        "block": np.array(blocks),
        "label": np.array(labels),
    }
    for index, column in enumerate(zip(*p, strict=True)):
        table[f"p{index}"] = np.array(column)
    return table


VIDEOS = [
    Video(id="a", label=0, group="g1", num_frames=24),
    Video(id="b", label=1, group="g2", num_frames=16),
]
ROWS = [
    ("a", 0, 0, [0.9, 0.1]),
    ("a", 1, 0, [0.4, 0.6]),  # this block alone is wrong, the video is right
    ("b", 0, 1, [0.7, 0.3]),
]


def test_video_and_block_accuracy_are_different_numbers() -> None:
    scores = {
        score.metric.name: score for score in videoeval.score_videos(predictions(ROWS), VIDEOS)
    }
    assert scores["video_accuracy"].value == 50.0
    assert scores["video_accuracy"].count == 2
    assert scores["block_accuracy"].value == pytest.approx(100 / 3)
    assert scores["block_accuracy"].count == 3
    assert scores["video_nll"].value == pytest.approx(-(np.log(0.65) + np.log(0.3)) / 2)


def test_probabilities_are_averaged_not_votes() -> None:
    rows = [("a", 0, 0, [1.0, 0.0]), ("a", 1, 0, [0.45, 0.55]), ("a", 2, 0, [0.45, 0.55])]
    scores = {s.metric.name: s.value for s in videoeval.score_videos(predictions(rows), VIDEOS[:1])}
    assert scores["video_accuracy"] == 100.0
    assert scores["block_accuracy"] == pytest.approx(100 / 3)


def test_the_order_of_rows_does_not_matter() -> None:
    forwards, backwards = predictions(ROWS), predictions(ROWS[::-1])
    assert list(videoeval.score_videos(forwards, VIDEOS)) == list(
        videoeval.score_videos(backwards, VIDEOS)
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (ROWS[:2], "1 videos of the test list were not predicted and 0 others were"),
        (
            [*ROWS, ("c", 0, 0, [1.0, 0.0])],
            "0 videos of the test list were not predicted and 1 others were",
        ),
        ([*ROWS, ROWS[0]], "a block of a video was predicted twice"),
        ([*ROWS, ("a", 2, 1, [1.0, 0.0])], "one video has two labels"),
        ([*ROWS[:2], ("b", 0, 1, [float("nan"), 0.3])], "not finite"),
    ],
)
def test_a_score_over_anything_but_the_whole_list_once_is_refused(
    rows: list[tuple[str, int, int, list[float]]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        list(videoeval.score_videos(predictions(rows), VIDEOS))


def test_more_than_ten_classes_keep_their_order() -> None:
    p = [0.0] * 12
    p[10] = 1.0
    table = predictions([("a", 0, 10, p)])
    np.testing.assert_array_equal(videoeval.probabilities(table)[0], p)
