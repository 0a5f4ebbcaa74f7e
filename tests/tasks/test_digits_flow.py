"""The digits' flow: the lists of the pixels, fields that show the motion, stacks as the temporal stream has them.

Shapes: B videos, T frames, D numbers of a frame, Y and X rows and columns.
"""

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from configs.data import built_in, find_dataset
from tasks.cell import Cell
from tasks.data import digits
from tasks.data.dataset import EVALUATION_SEED, Video
from tasks.data.digits import Digits
from tasks.data.digits_flow import DigitsFlow
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.fusion import fused
from tasks.schedule import Schedule
from tasks.subset import Subset

ONE, TEN = DigitsFlow(), DigitsFlow(length=10)
lengths = pytest.mark.parametrize("length", [1, 10])


def of_class(name: str, count: int = 3) -> list[Video]:
    return [video for video in digits.videos() if digits.CLASSES[video.label] == name][:count]


def fields_of(frames_TYX: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Fields (2, 5, 5) between neighbouring frames by plain loops, in pixels a frame."""
    found = []
    for before_YX, after_YX in pairwise(frames_TYX):
        flow_YX2 = cv2.calcOpticalFlowFarneback(
            before_YX, after_YX, np.zeros((20, 20, 2), np.float32), 0.5, 5, 15, 3, 5, 1.2, 0
        )
        small = np.zeros((2, 5, 5))
        for row in range(20):
            for column in range(20):
                small[:, row // 4, column // 4] += flow_YX2[row, column] / 16
        found.append(small)
    return found


# ---- the same videos as the pixels'


@lengths
@pytest.mark.parametrize("split", digits.SPLITS)
def test_lists_classes_and_splits_are_those_of_the_pixels(length: int, split: int) -> None:
    flow, pixels = DigitsFlow(length=length), Digits()
    assert flow.train(split) == pixels.train(split)
    assert flow.test(split) == pixels.test(split)
    assert (flow.name, flow.classes, flow.splits) == (pixels.name, pixels.classes, pixels.splits)
    for shots in (4, None):
        mine, theirs = (
            Subset(dataset=each, split=split, shots=shots, resample=3) for each in (flow, pixels)
        )
        assert mine.videos == theirs.videos
        assert mine.manifest() == theirs.manifest()


def test_streams_are_told_apart_by_their_cells_and_can_be_fused() -> None:
    schedule = Schedule(steps=1, batch_size=2, learning_rate=0.1)
    cells = [
        Cell(
            task=FewShot(
                subset=Subset(dataset=data, split=1, shots=2, resample=0),
                encoder=LSTM(units=4, layers=1),
                dropout=0.0,
                schedule=schedule,
            )
        )
        for data in (Digits(), ONE, TEN)
    ]
    assert len({cell.key for cell in cells}) == 3
    assert [cell.task.values()["stream"] for cell in cells] == ["pixels", "flow1", "flow10"]
    assert fused(cells[0], cells[2]).task.values()["stream"] == "rgb+flow"


def test_a_stream_of_built_in_data_is_found_by_its_name() -> None:
    assert find_dataset("digits", "flow10") == TEN
    assert find_dataset("digits", "flow1") == ONE
    assert find_dataset("digits", "pixels") == find_dataset("digits") == Digits()
    assert list(built_in()) == ["digits", "digits (flow1)", "digits (flow10)"]
    with pytest.raises(ValueError, match=r"percepts=flow2: .* they come as pixels, flow1, flow10"):
        find_dataset("digits", "flow2")


@pytest.mark.parametrize("length", [0, -1, 20])
def test_a_stack_has_at_least_one_field_and_no_more_than_a_video(length: int) -> None:
    with pytest.raises(ValueError, match=f"length={length}: .* stacks of 1 to 19 fields"):
        DigitsFlow(length=length)


# ---- frames


@lengths
def test_there_is_a_vector_for_every_frame(length: int) -> None:
    flow = DigitsFlow(length=length)
    for video in (digits.videos()[0], digits.videos()[-1]):
        frames_TD = flow.frames(video)
        assert frames_TD.shape == (video.num_frames, flow.frame_size) == (video.num_frames, 50 * length)  # fmt: skip
        assert frames_TD.dtype == np.float32
    assert flow.output == "linear"


def test_fields_are_those_of_opencv_in_blocks_of_four_pixels() -> None:
    (video,) = of_class("CircleLeft", 1)
    expected = [field.ravel() for field in fields_of(digits.frames(video))]
    expected.append(expected[-1])  # the last field is there twice
    assert np.allclose(ONE.frames(video), expected, atol=1e-4)


def test_a_stack_is_the_fields_from_its_frame_on_and_the_last_one_stands_in_for_those_beyond() -> (
    None
):
    (video,) = of_class("Bounce", 1)
    single_TD, stacks_TD = ONE.frames(video), TEN.frames(video)
    last = video.num_frames - 2
    for t in range(video.num_frames):
        rows = [single_TD[min(t + ahead, last)] for ahead in range(10)]
        assert np.array_equal(stacks_TD[t], np.concatenate(rows))


@lengths
def test_a_window_is_a_piece_of_the_video(length: int) -> None:
    flow, (video,) = DigitsFlow(length=length), of_class("ZigZag", 1)
    whole_TD, end = flow.frames(video), video.num_frames
    for start, count in ((0, 4), (7, 1), (end - 3, 3), (end - 1, 1)):
        assert np.array_equal(flow.window(video, start, count), whole_TD[start : start + count])
    assert np.array_equal(flow.window(video, end - 2, 16), whole_TD[-2:])


def test_a_video_is_computed_once_and_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.data import digits_flow

    asked = []
    real = digits.frames

    def counted(video: Video) -> NDArray[np.uint8]:
        asked.append(video.id)
        return real(video)

    monkeypatch.setattr(digits, "frames", counted)
    digits_flow._fields_of.cache_clear()
    three = [of_class(name, 1)[0] for name in ("Bob", "Jump", "Swing")]
    for flow in (ONE, TEN):
        for video in (*three, *three):
            flow.frames(video)
            flow.window(video, 2, 4)
    assert asked == [video.id for video in three]


def test_what_is_given_out_may_be_written_to_and_alters_nothing() -> None:
    (video,) = of_class("Bob", 1)
    before = ONE.frames(video).copy()
    ONE.frames(video)[:] = 7
    ONE.window(video, 0, 3)[:] = 7
    assert np.array_equal(ONE.frames(video), before)


def test_an_unknown_video_is_refused() -> None:
    foreign = Video(id="v_Bob_g01_c02", label=0, group="g01", num_frames=20)
    with pytest.raises(ValueError, match="The digits have no Video"):
        ONE.frames(foreign)


# ---- the unlabelled stream


@lengths
def test_an_unlabelled_sequence_depends_on_its_seed_and_index_alone(length: int) -> None:
    flow = DigitsFlow(length=length)
    batch_TBD = flow.unlabelled(3, range(6), 9)
    assert batch_TBD.shape == (9, 6, flow.frame_size)
    assert batch_TBD.dtype == np.float32
    assert np.array_equal(flow.unlabelled(3, [5, 2], 9), batch_TBD[:, [5, 2]])
    assert np.array_equal(flow.unlabelled(3, [4], 2)[:, 0], batch_TBD[:2, 4])
    assert np.array_equal(flow.unlabelled(3, np.arange(6), 9), batch_TBD)
    other_TBD = flow.unlabelled(4, range(6), 9)
    assert not any(np.array_equal(batch_TBD[:, b], other_TBD[:, b]) for b in range(6))


@lengths
def test_an_unlabelled_sequence_is_the_flow_of_the_pixels_of_that_seed_and_index(
    length: int,
) -> None:
    """To its end: the video goes on, and no field stands for another."""
    (frames_TYX,) = digits.unlabelled(11, [5], 4 + length)
    fields = [field.ravel() for field in fields_of(frames_TYX)]
    expected_TD = [np.concatenate(fields[t : t + length]) for t in range(4)]
    assert np.allclose(DigitsFlow(length=length).unlabelled(11, [5], 4)[:, 0], expected_TD, atol=1e-4)  # fmt: skip


def test_evaluation_has_a_stream_of_its_own() -> None:
    held_out = ONE.evaluation([0, 1], 3)
    assert np.array_equal(held_out, ONE.unlabelled(EVALUATION_SEED, [0, 1], 3))


def test_numbers_are_of_about_unit_root_mean_square() -> None:
    sample_TBD = TEN.unlabelled(1, range(100), 5).astype(np.float64)
    assert np.sqrt(np.square(sample_TBD).mean()) == pytest.approx(1, abs=0.07)


def test_another_process_finds_the_same_flow_in_another_order() -> None:
    videos = [of_class(name, 1)[0] for name in ("Grow", "Bob")]

    def sha256(*parts: NDArray[np.float32]) -> str:
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    here = sha256(*(TEN.frames(video) for video in videos), ONE.unlabelled(1, [3, 1], 4))
    code = (
        "import hashlib, sys\nfrom tasks.data import digits\nfrom tasks.data.digits_flow import DigitsFlow\n"
        "heavy = {'cv2', 'torch', 'sklearn'} & set(sys.modules)\n"
        "one, ten = DigitsFlow(), DigitsFlow(length=10)\nparts = [one.unlabelled(1, [3, 1], 4)]\n"
        f"ids = {[video.id for video in reversed(videos)]}\n"
        "by_id = {video.id: video for video in digits.videos()}\n"
        "parts += [ten.frames(by_id[each]) for each in ids]\n"
        "print(hashlib.sha256(b''.join(part.tobytes() for part in reversed(parts))).hexdigest(), len(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(digits.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [here, "0"]  # and importing it imports nothing heavy


# ---- what the fields show


def step_of(frames_TYX: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far the centre of the ink goes from each frame to the next, x and y, (T - 1, 2)."""
    grey_TYX, pixel = frames_TYX / 255.0, np.arange(20)
    ink_T = grey_TYX.sum(axis=(1, 2))
    x_T = grey_TYX.sum(axis=1) @ pixel / ink_T
    y_T = grey_TYX.sum(axis=2) @ pixel / ink_T
    return np.diff(np.stack([x_T, y_T], axis=1), axis=0)


@pytest.mark.parametrize("name", ["Swing", "Bob", "CircleLeft", "CircleRight", "Bounce"])
def test_the_field_is_the_motion_of_the_digit(name: str) -> None:
    """To the right u is positive, and down v."""
    for video in of_class(name):
        moved_T2 = step_of(digits.frames(video))
        field_T2 = ONE.frames(video)[:-1].reshape(-1, 2, 25).mean(axis=2)
        for axis in (0, 1):
            fast = np.abs(moved_T2[:, axis]) > 0.3
            assert (np.sign(field_T2[fast, axis]) == np.sign(moved_T2[fast, axis])).all()
        assert np.abs(field_T2 - moved_T2).mean() < 0.15  # pixels a frame; measured: 0.02 to 0.12


@pytest.mark.parametrize(("name", "sign"), [("Grow", 1), ("Shrink", -1)])
def test_a_digit_that_grows_flows_apart(name: str, sign: int) -> None:
    for video in of_class(name):
        fields = ONE.frames(video)[:-1].reshape(-1, 2, 5, 5)
        apart_T = (fields[:, 0, :, 4] - fields[:, 0, :, 0]).mean(axis=1)
        assert (sign * apart_T > 0).mean() > 0.8  # but where it is at once small, or large, again
