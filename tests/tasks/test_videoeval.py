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
    block = videoeval.hold(frames_TD, 5)
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


def drawn(frames: dict[str, np.ndarray], read: list[int] | None = None) -> Digits:
    """A dataset of these frames (T, D) by video; `read` is told of every frame that was read."""

    class Drawn(Digits):
        def window(self, video: Video, start: int, num_frames: int) -> np.ndarray:
            piece_TD = frames[video.id][start : start + num_frames]
            if read is not None:
                read.append(len(piece_TD))
            return piece_TD

    return Drawn()


@pytest.mark.parametrize(("at_once", "passes"), [(4, 4), (5, 3), (15, 1), (256, 1)])
def test_few_blocks_at_a_time_give_the_predictions_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int, passes: int
) -> None:
    monkeypatch.setattr(videoeval, "BLOCKS_AT_ONCE", at_once)
    random = np.random.default_rng(3)
    lengths = {"a": 40, "b": 3, "c": 16, "d": 80}  # 4, 1, 1 and 9 blocks
    frames = {name: random.normal(size=(n, 5)).astype(np.float32) for name, n in lengths.items()}

    data = drawn(frames)
    weights_DC = torch.from_numpy(random.normal(size=(5, 3)).astype(np.float32))
    seen: list[int] = []

    def classify(frames_TBD: torch.Tensor) -> torch.Tensor:
        seen.append(frames_TBD.shape[1])
        return (frames_TBD @ weights_DC).softmax(dim=-1).mean(dim=0)

    videos = [Video(id=v, label=0, group="g", num_frames=n) for v, n in lengths.items()]
    table = videoeval.predict_blocks(
        data, videos, classify, block=16, stride=8, device=torch.device("cpu")
    )
    assert max(seen) <= at_once
    assert (len(seen), sum(seen)) == (passes, 15)
    row = 0
    for name, number in (("a", 4), ("b", 1), ("c", 1), ("d", 9)):
        for block in range(number):
            shown_TD = frames[name][8 * block : 8 * block + 16]
            shown_TD = np.concatenate([shown_TD, shown_TD[-1:].repeat(16 - len(shown_TD), 0)])
            e_TC = np.exp(shown_TD.astype(np.float64) @ weights_DC.numpy().astype(np.float64))
            expected_C = (e_TC / e_TC.sum(1, keepdims=True)).mean(0)
            assert (table["video_id"][row], table["block"][row]) == (name, block)
            found_C = [table[f"p{label}"][row] for label in range(3)]
            np.testing.assert_allclose(found_C, expected_C, atol=1e-6)
            row += 1
    assert row == len(table["video_id"])


def test_a_frame_is_read_and_computed_of_once_though_blocks_overlap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(videoeval, "BLOCKS_AT_ONCE", 6)
    random = np.random.default_rng(4)
    lengths = {"a": 47, "b": 3, "c": 100, "d": 16, "e": 1}  # 4, 1, 11, 1 and 1 blocks
    frames = {name: random.normal(size=(n, 5)).astype(np.float32) for name, n in lengths.items()}
    computed: list[np.ndarray] = []

    def per_frame(frames_ND: torch.Tensor) -> torch.Tensor:
        computed.append(frames_ND.numpy())
        return 2 * frames_ND[:, :3]

    seen: list[torch.Tensor] = []

    def classify(given_TBG: torch.Tensor) -> torch.Tensor:
        seen.append(given_TBG.clone())
        given_TBG.zero_()  # it is allowed to
        return torch.full((given_TBG.shape[1], 2), 0.5)

    read: list[int] = []
    videos = [Video(id=v, label=0, group="g", num_frames=n) for v, n in lengths.items()]
    table = videoeval.predict_blocks(
        drawn(frames, read), videos, classify, block=16, stride=8, device=torch.device("cpu"), per_frame=per_frame
    )  # fmt: skip
    # Passes of 6 blocks: 4 of a, 1 of b, 1 of c; 6 of c; 4 of c, 1 of d, 1 of e. The tails of a and c are in no block.
    assert [len(each) for each in computed] == [40 + 3 + 16, 56, 40 + 16 + 1]
    assert sum(read) == sum(map(len, computed))
    given_TBG = torch.cat(seen, dim=1).numpy()
    for row, (name, start) in enumerate(zip(table["video_id"], table["start"], strict=True)):
        shown_TD = frames[name][start : start + 16]
        shown_TD = np.concatenate([shown_TD, shown_TD[-1:].repeat(16 - len(shown_TD), 0)])
        np.testing.assert_array_equal(given_TBG[:, row], 2 * shown_TD[:, :3])
    assert len(table["video_id"]) == given_TBG.shape[1] == 18


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
