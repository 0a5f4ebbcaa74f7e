"""The panned photographs against SciPy's interpolation and a walk step by step; the two parts never meet."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_sample_images

from tasks.cell import Cell, canonical
from tasks.data.dataset import EVALUATION_SEED
from tasks.data.moving_mnist import uniforms
from tasks.data.panned_photos import (
    FASTEST,
    PHOTOS,
    SIDE,
    PannedPhotos,
    part_of,
    paths,
    photographs,
)
from tasks.encoders import LSTM
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.task import Shard

DATA = PannedPhotos()


def walked(start: float, velocity: float, room: int, num_frames: int) -> list[float]:
    """Places of one coordinate, step by step, turned round at the walls."""
    place, found = start, []
    for _ in range(num_frames):
        found.append(place)
        place += velocity
        while not 0 <= place <= room:
            place = -place if place < 0 else 2 * room - place
            velocity = -velocity
    return found


def test_photographs_are_luma_halved_by_area_and_smoothed() -> None:
    images = load_sample_images()
    for photo, halved_YX in zip(PHOTOS, photographs(), strict=True):
        (image,) = (
            each
            for each, name in zip(images.images, images.filenames, strict=True)
            if name.endswith(photo)
        )
        luma_YX = image[:426].astype(np.float64) @ [0.299, 0.587, 0.114] / 255
        halved = cv2.resize(luma_YX, (320, 213), interpolation=cv2.INTER_AREA)
        weights = np.array([0.25, 0.5, 0.25])
        expected = cv2.sepFilter2D(halved, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)
        assert halved_YX == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("side", ["train", "held_out"])
def test_frames_are_what_scipy_interpolates_where_the_window_is(side: str) -> None:
    part = slice(0, 142) if side == "train" else slice(142, 213)  # nothing else is looked at
    room = (142 if side == "train" else 71) - SIDE, 320 - SIDE
    indices, num_frames = [5, 0, 12345], 40
    made = DATA.unlabelled(9, indices, num_frames) if side == "train" else DATA.evaluation(indices, num_frames)  # fmt: skip
    assert made.shape == (num_frames, 3, SIDE**2)
    assert made.dtype == np.float32
    seed = 9 if side == "train" else EVALUATION_SEED
    for row, draws in enumerate(uniforms(seed, indices, 5).tolist()):
        photo, at_row, at_column, turn, pace = draws
        speed, angle = FASTEST * pace, 2 * math.pi * turn
        rows = walked(at_row * room[0], speed * math.sin(angle), room[0], num_frames)
        lefts = walked(at_column * room[1], speed * math.cos(angle), room[1], num_frames)
        part_YX = photographs()[int(photo * 2)][part]
        for t, (top, left) in enumerate(zip(rows, lefts, strict=True)):
            grid = np.mgrid[:SIDE, :SIDE] + np.array([top, left])[:, None, None]
            seen = map_coordinates(part_YX, np.clip(grid, 0, None), order=1, mode="nearest")
            expected = (seen - DATA.offset) / DATA.scale
            assert made[t, row].reshape(SIDE, SIDE) == pytest.approx(expected, abs=2e-5)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**63), room=st.tuples(st.integers(1, 9), st.integers(1, 300)), length=st.integers(1, 60)
)  # fmt: skip
def test_windows_stay_inside_and_turn_round(seed: int, room: tuple[int, int], length: int) -> None:
    found = paths(seed, range(20), length, room)
    for place_TB, most in ((found.row_TB, room[0]), (found.column_TB, room[1])):
        assert place_TB.shape == (length, 20)
        assert place_TB.min() >= 0
        assert place_TB.max() <= most
        assert np.abs(np.diff(place_TB, axis=0)).max(initial=0) <= FASTEST + 1e-9


def test_both_photographs_all_places_and_all_directions_are_drawn() -> None:
    found = paths(0, range(8000), 2, (100_000, 100_000))
    assert np.bincount(found.photo_B) == pytest.approx([4000, 4000], abs=250)
    steps = found.row_TB[1] - found.row_TB[0], found.column_TB[1] - found.column_TB[0]
    angles = np.histogram(np.arctan2(*steps), bins=8, range=(-math.pi, math.pi))[0]
    assert angles == pytest.approx([1000] * 8, abs=160)
    speeds = np.histogram(np.hypot(*steps), bins=8, range=(0, FASTEST))[0]
    assert speeds == pytest.approx([1000] * 8, abs=160)
    for place_B in (found.row_TB[0], found.column_TB[0]):
        counts = np.histogram(place_B, bins=8, range=(0, 100_000))[0]
        assert counts == pytest.approx([1000] * 8, abs=160)


def test_a_sequence_depends_on_seed_and_index_alone() -> None:
    many = DATA.unlabelled(5, range(64), 29)
    chosen = [63, 2, 2, 17]
    assert np.array_equal(DATA.unlabelled(5, chosen, 29), many[:, chosen])
    assert np.array_equal(DATA.unlabelled(5, [30], 10)[:, 0], many[:10, 30])
    assert not np.array_equal(DATA.unlabelled(6, range(64), 29), many)
    tested = DATA.evaluation(range(20), 29)
    assert np.array_equal(DATA.evaluation([19], 29)[:, 0], tested[:, 19])


def test_the_scale_is_that_of_the_training_part_alone() -> None:
    train_PYX = photographs()[:, :142]
    assert DATA.offset == pytest.approx(train_PYX.mean(), rel=1e-12)
    assert DATA.scale == pytest.approx(train_PYX.std(), rel=1e-12)
    parts = [part_of(photographs(), side) for side in ("train", "held_out")]  # type: ignore[arg-type]
    assert np.array_equal(np.concatenate(parts, axis=1), photographs())
    frames_TBD = DATA.unlabelled(0, range(500), 8)
    assert abs(float(frames_TBD.mean())) < 0.15
    assert 0.8 < float(frames_TBD.std()) < 1.2


def test_it_is_a_value_whose_version_is_in_a_key() -> None:
    assert canonical(DATA) == {"class": "PannedPhotos", "version": 1}
    assert hash(DATA) == hash(PannedPhotos())
    assert all(note.startswith("panned_photos: ") for note in DATA.notes)
    assert (DATA.name, DATA.stream, DATA.output, DATA.frame_size) == ("panned_photos", "patches", "linear", 1024)  # fmt: skip
    with pytest.raises(ValueError, match="num_frames=0: a sequence has at least 1"):
        DATA.unlabelled(0, [1], 0)


def test_a_composite_learns_to_do_better_than_the_mean_picture() -> None:
    torch.set_num_threads(1)
    schedule = Schedule(steps=30, batch_size=8, learning_rate=1e-2)
    task = Pretrain(dataset=DATA, encoder=LSTM(units=16, layers=1), schedule=schedule, input_frames=4, future_frames=3, test_sequences=32)  # fmt: skip
    assert Cell(task=task).description()["task"]["dataset"] == canonical(DATA)
    model = task.build(0, ())
    optimizer = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate)
    for step in range(schedule.steps):
        optimizer.zero_grad()
        task.loss(model, task.batch(0, step, Shard())).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        scores = {score.metric.name: score.value for score in task.score(task.predict(model, 0))}
    of_nothing = 0.5 * float(np.square(DATA.evaluation(range(32), 7)[4:]).sum(-1).mean())
    assert scores["future_loss"] < 0.8 * of_nothing


def test_frames_do_not_flicker_where_they_move_between_pixels() -> None:
    frames_TBYX = DATA.evaluation(range(100), 29).reshape(29, 100, SIDE, SIDE)
    contrast_TB = np.abs(np.diff(frames_TBYX, axis=3)).mean(axis=(2, 3))
    change_B = np.abs(np.diff(contrast_TB, axis=0)).mean(axis=0) / contrast_TB.mean(axis=0)
    assert np.median(change_B) < 0.06  # 0.13 without smoothing
