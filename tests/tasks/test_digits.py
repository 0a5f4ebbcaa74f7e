"""The built-in digits: lists that keep the rules of UCF-101, frames that hide the class, motions that show it.

Shapes: B videos, T steps of time, Y and X rows and columns of pixels, N features.
"""

import collections
import functools
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.data import digit_motion, digits

GROUPS = [f"g{number:02d}" for number in range(1, 91)]
by_split = pytest.mark.parametrize("split", digits.SPLITS)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_class(name: str) -> list[digits.Video]:
    return [video for video in digits.videos() if digits.CLASSES[video.label] == name]


# ---- lists


def test_ten_classes_of_ninety_groups_give_nine_hundred_videos_in_order():
    names = [f"v_{name}_{group}_c01" for name in digits.CLASSES for group in GROUPS]
    assert len(digits.CLASSES) == 10
    assert list(digits.CLASSES) == sorted(digits.CLASSES)
    assert [video.id for video in digits.videos()] == names
    for video in digits.videos():
        assert video.id == f"v_{digits.CLASSES[video.label]}_{video.group}_c01"


def test_lengths_spread_over_twenty_to_forty_frames():
    lengths = collections.Counter(video.num_frames for video in digits.videos())
    assert sorted(lengths) == list(range(20, 41))
    assert all(20 < count < 70 for count in lengths.values())  # 43 expected of each


@by_split
def test_each_split_trains_on_sixty_videos_a_class_and_tests_on_thirty(split):
    train = collections.Counter(video.label for video in digits.train_list(split))
    test = collections.Counter(video.label for video in digits.test_list(split))
    assert train == dict.fromkeys(range(10), 60)
    assert test == dict.fromkeys(range(10), 30)
    assert set(digits.train_list(split)) | set(digits.test_list(split)) == set(digits.videos())


@by_split
def test_groups_never_cross_a_split(split):
    train = {video.group for video in digits.train_list(split)}
    test = {video.group for video in digits.test_list(split)}
    assert test == set(GROUPS[split - 1 :: 3])
    assert train == set(GROUPS) - test
    source = digits.source_image
    assert not {source(group) for group in train} & {source(group) for group in test}


def test_every_video_is_tested_by_exactly_one_split():
    tested = [video for split in digits.SPLITS for video in digits.test_list(split)]
    assert len(tested) == len(set(tested)) == 900


@by_split
def test_each_split_tests_on_three_source_images_of_every_digit(split):
    targets = load_digits().target
    groups = {video.group for video in digits.test_list(split)}
    shown = [int(targets[digits.source_image(group)]) for group in groups]
    assert collections.Counter(shown) == dict.fromkeys(range(10), 3)


def test_no_image_is_shown_by_two_groups_or_by_a_group_and_an_unlabelled_video():
    labelled = [digits.source_image(group) for group in GROUPS]
    pool = digits.unlabelled_pool()
    assert len(set(labelled)) == 90
    assert sorted([*labelled, *pool]) == list(range(1797))


def test_no_two_source_images_are_equal():
    """Otherwise a test digit could be in the unlabelled pool under another index."""
    assert len(np.unique(load_digits().data, axis=0)) == 1797


def test_lists_read_like_those_of_ucf101():
    train, test = digits.official_lists(1)
    assert train.splitlines()[60] == "Bounce/v_Bounce_g02_c01.avi 2"
    assert test.splitlines()[30] == "Bounce/v_Bounce_g01_c01.avi"
    assert len(train.splitlines()) == 600
    assert len(test.splitlines()) == 300
    assert train.endswith(" 10\n")
    assert test.endswith("\n")


@pytest.mark.parametrize("ask", [digits.train_list, digits.test_list, digits.official_lists])
def test_an_unknown_split_is_refused_with_the_way_out(ask):
    with pytest.raises(ValueError, match=r"no split 4.*pass 1, 2 or 3"):
        ask(4)


def test_an_unknown_group_or_video_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"no group 'g91'.*'g01' to 'g90'"):
        digits.source_image("g91")
    foreign = digits.Video(id="v_Bounce_g01_c02", label=1, group="g01", num_frames=20)
    with pytest.raises(ValueError, match=r"no Video.*_c02.*videos\(\)"):
        digits.frames(foreign)


# ---- pure functions


def test_importing_the_module_does_not_import_scikit_learn():
    code = "import sys, tasks.data.digits; sys.exit('sklearn' in sys.modules)"
    root = Path(digits.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_frames_are_uint8_of_the_listed_length():
    assert list(digits.all_frames()) == [video.id for video in digits.videos()]
    for video in digits.videos():
        frames_TYX = digits.all_frames()[video.id]
        assert frames_TYX.dtype == np.uint8
        assert frames_TYX.shape == (video.num_frames, 20, 20)
        assert frames_TYX.max(axis=(1, 2)).min() > 50  # the digit can be seen in every frame


def test_a_labelled_video_is_the_same_alone_and_among_all():
    for video in digits.videos()[::7]:
        assert np.array_equal(digits.frames(video), digits.all_frames()[video.id])


def test_shared_frames_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        digits.all_frames()["v_Bounce_g01_c01"][0, 0, 0] = 1


def test_an_unlabelled_video_does_not_depend_on_its_batch_or_its_order_or_its_length():
    batch_BTYX = digits.unlabelled(3, range(40), 29)
    assert batch_BTYX.dtype == np.uint8
    assert batch_BTYX.shape == (40, 29, 20, 20)
    backwards_BTYX = digits.unlabelled(3, range(39, -1, -1), 29)
    assert np.array_equal(backwards_BTYX[::-1], batch_BTYX)
    for index in (0, 17, 39):
        assert np.array_equal(digits.unlabelled(3, [index], 29)[0], batch_BTYX[index])
        assert np.array_equal(digits.unlabelled(3, [index], 1)[0], batch_BTYX[index, :1])
    assert np.array_equal(digits.unlabelled(3, np.arange(40), 29), batch_BTYX)
    assert digits.unlabelled(3, [], 29).shape == (0, 29, 20, 20)


def test_seeds_and_indices_name_different_videos():
    batches = [digits.unlabelled(seed, range(100), 2) for seed in (0, 1, 10)]
    batches.append(digits.unlabelled(0, [10**12, -1], 2))
    assert len({video.tobytes() for batch in batches for video in batch}) == 302


def test_fractional_coordinates_and_empty_videos_are_refused():
    with pytest.raises(TypeError):
        digits.unlabelled(0, [1.0], 2)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"num_frames is 0.*at least 1"):
        digits.unlabelled(0, [1], 0)


def test_unlabelled_videos_show_no_image_of_a_group(monkeypatch):
    before = digits.unlabelled(0, range(500), 2)
    labelled = [digits.source_image(group) for group in GROUPS]
    blank = [part.copy() for part in digit_motion.bilinear()]
    for part in blank:
        part.reshape(1797, -1)[labelled] = 0
    monkeypatch.setattr(digit_motion, "bilinear", lambda: blank)
    assert np.array_equal(digits.unlabelled(0, range(500), 2), before)
    assert not digits.frames(digits.videos()[0]).any()


def test_the_sine_is_a_sine():
    turns = np.linspace(-3, 3, 10_001)
    assert np.allclose(digit_motion.sine(turns), np.sin(2 * np.pi * turns), rtol=0, atol=1e-13)
    assert np.allclose(digit_motion.cosine(turns), np.cos(2 * np.pi * turns), rtol=0, atol=1e-13)


SAMPLES = {
    "sources": lambda: " ".join(str(digits.source_image(group)) for group in GROUPS).encode(),
    "lists": lambda: "".join(sum(map(digits.official_lists, digits.SPLITS), ())).encode(),
    "videos": lambda: "\n".join(map(str, digits.videos())).encode(),
    "one circle": lambda: digits.frames(of_class("CircleLeft")[6]).tobytes(),
    "one zigzag": lambda: digits.frames(of_class("ZigZag")[89]).tobytes(),
    "labelled": lambda: b"".join(part.tobytes() for part in digits.all_frames().values()),
    "unlabelled": lambda: digits.unlabelled(7, range(64), 29).tobytes(),
}
GOLDEN = {
    "sources": "68948d10f82125ef835c184778630022a78fd43117b9f52b02315b6ead3a1dbb",
    "lists": "5243f7bf10f3190e479a963344200801bdce358aef04ad788b940d22df941c10",
    "videos": "2bf93af50d5eb018ba66a08d15b18af0f40e211ef18b768bfa769415598c17a9",
    "one circle": "3b3cbd44a03f597842327c6a98a0bc3f36f8f65cf9efe5373889009cdea9b098",
    "one zigzag": "34f6da45fe43ff8ed4fe425b2b005cb7b78df0251288e79c5dc585a404f08765",
    "labelled": "176540c81ac67a6796a00dfc2f1df2fc81e59db70d148ea529a2b26fa81f2f4e",
    "unlabelled": "87051612a2c0a8494ee3d3e0dd9d5d2d273129e6b8fb4c015f26f451cf2cfea2",
}


@pytest.mark.parametrize("what", SAMPLES)
def test_bytes_are_those_of_version_1(what):
    """Whatever changes these makes old results incomparable: raise VERSION, then write the new ones."""
    assert digits.VERSION == 1
    assert sha256(SAMPLES[what]()) == GOLDEN[what]


# ---- what the pixels show


def test_digits_stay_inside_the_frame():
    """Little ink on the outermost ring means that little is beyond it."""
    shares = []
    for frames_TYX in digits.all_frames().values():
        ink_T = frames_TYX.sum(axis=(1, 2), dtype=np.float64)
        shares.append(1 - frames_TYX[:, 1:-1, 1:-1].sum(axis=(1, 2)) / ink_T)
    share = np.concatenate(shares)
    assert share.mean() < 0.01  # measured: 0.004
    assert share.max() < 0.25  # measured: 0.19


def moments(frames_TYX: NDArray[np.uint8]) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Of each frame: the place x + iy of the ink, and its spread, a mean square distance."""
    grey_TYX = frames_TYX / 255
    pixel = np.arange(20)
    ink_T = grey_TYX.sum(axis=(1, 2))
    x_T = (grey_TYX.sum(axis=1) @ pixel) / ink_T
    y_T = (grey_TYX.sum(axis=2) @ pixel) / ink_T
    xx_T = (grey_TYX.sum(axis=1) * (pixel - x_T[:, None]) ** 2).sum(axis=1) / ink_T
    yy_T = (grey_TYX.sum(axis=2) * (pixel - y_T[:, None]) ** 2).sum(axis=1) / ink_T
    return x_T + 1j * y_T, xx_T + yy_T


@functools.cache
def moments_of(name: str) -> list[tuple[NDArray[np.complex128], NDArray[np.float64]]]:
    """Places and spreads (T,) of every video of a class."""
    return [moments(digits.all_frames()[video.id]) for video in of_class(name)]


def turning(arrow_T: NDArray[np.complex128]) -> complex:
    """Mean rotation from one arrow to the next: real part 1 for straight on, imaginary 1 for a right angle.

    y points down, so a positive imaginary part is clockwise on the screen.
    """
    steps = arrow_T[1:] * arrow_T[:-1].conj()
    return complex(steps.sum() / (np.abs(steps).sum() + 0.05))


@pytest.mark.parametrize(("name", "sign"), [("CircleLeft", -1), ("CircleRight", 1)])
def test_left_is_counter_clockwise_and_right_is_clockwise(name, sign):
    turns = np.array([turning(np.diff(place_T)).imag for place_T, _ in moments_of(name)])
    assert (sign * turns > 0).mean() > 0.95


@pytest.mark.parametrize(("name", "sign"), [("Grow", 1), ("Shrink", -1)])
def test_grow_grows_and_shrink_shrinks_in_nearly_all_frames(name, sign):
    for _, spread_T in moments_of(name):
        assert (sign * np.diff(spread_T) > 0).mean() > 0.85  # measured: 0.895


@pytest.mark.parametrize("name", digits.CLASSES)
def test_grow_and_shrink_change_their_size_in_place_and_all_others_move_at_one_size(name):
    in_place = name in {"Grow", "Shrink"}
    for place_T, spread_T in moments_of(name):
        change = (spread_T.max() / spread_T.min()) ** 0.5
        way = np.abs(place_T - place_T.mean()).max()
        assert change > 2.3 if in_place else change < 1.4  # measured: 2.51, and 1.26
        assert way < 1 if in_place else way > 2.5  # pixels; measured: 0.63, and 3.04


@pytest.mark.parametrize(("name", "along", "across"), [
    ("Bob", np.imag, np.real),
    ("Swing", np.real, np.imag),
])  # fmt: skip
def test_bob_moves_up_and_down_and_swing_from_side_to_side(name, along, across):
    for place_T, _ in moments_of(name):
        assert np.ptp(along(place_T)) > 5  # measured: 5.99
        assert np.ptp(across(place_T)) < 0.5  # measured: 0.23


def test_jump_stands_still_or_is_at_once_at_the_other_of_two_places():
    for place_T, _ in moments_of("Jump"):
        step_T = np.diff(place_T)
        jumps = step_T[np.abs(step_T) > 1e-9]
        assert 2 < len(jumps) < 15  # measured: 3 to 12
        assert np.abs(jumps).min() > 5  # pixels; measured: 6.04
        assert np.abs(jumps[1:] + jumps[:-1]).max() < 1e-9


def test_figure_eight_turns_to_both_sides_about_equally():
    for place_T, _ in moments_of("FigureEight"):
        step_T = np.diff(place_T)
        clockwise = ((step_T[1:] * step_T[:-1].conj()).imag > 0).mean()
        assert 0.25 < clockwise < 0.75  # measured: 0.32 to 0.64; below 0.04 on a circle to the left


@pytest.mark.parametrize("label", range(10))
def test_no_class_turns_a_digit_or_changes_its_brightness(label):
    draws = digit_motion.uniforms(map(str, range(200)))
    paths = digit_motion.paths_of(np.full(200, label), draws, 40)
    for path_BT in (paths.angle, paths.brightness):
        assert np.ptp(path_BT, axis=1).max() == 0
        assert np.ptp(path_BT, axis=0).min() > 0  # but videos differ


def test_frames_of_every_class_are_as_large_as_tilted_as_bright_and_in_the_same_places():
    """Quantiles of four frames of 4,000 videos a class; same draws for all."""
    draws = digit_motion.uniforms(map(str, range(4000)))
    at = np.linspace(0.1, 0.9, 9)
    quantiles = {}
    for label, name in enumerate(digits.CLASSES):
        paths = digit_motion.paths_of(np.full(4000, label), draws, 20)
        quantiles[name] = np.array([np.quantile(path_BT[:, ::5], at) for path_BT in paths])
    x, y, angle, size, brightness = np.moveaxis(np.array(list(quantiles.values())), 1, 0)
    assert np.ptp(size, axis=0).max() < 0.03  # of a range of 1; measured: 0.006
    assert np.ptp(angle, axis=0).max() < 1e-9
    assert np.ptp(brightness, axis=0).max() < 1e-9
    roams = np.array(digits.CLASSES) != "ZigZag"  # its small wave keeps it nearer to the middle
    for place in (x, y):
        assert np.ptp(place[roams], axis=0).max() < 0.4  # pixels; measured: 0.23
        assert np.ptp(place, axis=0).max() < 1.5  # measured: 1.13


def features(frames_TYX: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How a digit moves, without looking at which digit it is (N,)."""
    place_T, spread_T = moments(frames_TYX)
    step_T = np.diff(place_T)
    path = turning(step_T)
    return np.array([
        place_T.real.std(),
        place_T.imag.std(),
        np.abs(step_T).mean(),
        np.abs(np.diff(step_T)).mean(),
        path.real,
        path.imag,
        np.median(np.diff(np.log(spread_T))),
    ])  # fmt: skip


@functools.cache
def motion_oracle(split: int) -> LogisticRegression:
    train = digits.train_list(split)
    x_BN = np.array([features(digits.all_frames()[video.id][:16]) for video in train])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(x_BN, [video.label for video in train])


@by_split
def test_the_motion_of_sixteen_frames_gives_the_class_away(split):
    """Logistic regression on seven features of motion, 600 training videos."""
    test = digits.test_list(split)
    x_BN = np.array([features(digits.all_frames()[video.id][:16]) for video in test])
    label_B = np.array([video.label for video in test])
    right_B = motion_oracle(split).predict(x_BN) == label_B
    assert right_B.mean() > 0.95  # measured: 0.993, 0.990, 0.997
    for label in range(10):
        assert right_B[label_B == label].mean() > 0.8


def test_the_unlabelled_stream_moves_in_all_ten_ways_about_equally():
    batch_BTYX = digits.unlabelled(0, range(1000), 16)
    x_BN = np.array([features(frames_TYX) for frames_TYX in batch_BTYX])
    counts = np.bincount(motion_oracle(1).predict(x_BN), minlength=10)
    assert counts.min() > 60
    assert counts.max() < 140


def test_a_single_frame_does_not_give_the_class_away():
    """Logistic regression on the pixels of single frames, those of 600 training videos; chance is 10 %."""

    def rows(listed: tuple[digits.Video, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        frames = [digits.all_frames()[video.id] for video in listed]
        x = np.concatenate(frames).reshape(-1, 400) / 255
        return x, np.repeat([video.label for video in listed], [len(part) for part in frames])

    model = LogisticRegression(C=0.01, max_iter=1000).fit(*rows(digits.train_list(1)))
    test = digits.test_list(1)
    x, label = rows(test)
    probabilities = model.predict_proba(x)
    assert (probabilities.argmax(axis=1) == label).mean() < 0.2  # measured: 0.14

    ends = np.cumsum([video.num_frames for video in test])[:-1]
    means = np.array([part.mean(axis=0) for part in np.split(probabilities, ends)])
    right = means.argmax(axis=1) == [video.label for video in test]
    assert right.mean() < 0.3  # measured: 0.22, since the mean of many frames shows a path


def test_place_size_and_brightness_of_a_frame_do_not_give_the_class_away():
    """Fifty nearest neighbours: this sees in a frame what a linear rule on pixels cannot."""

    def rows(listed: tuple[digits.Video, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        x, label = [], []
        for video in listed:
            frames_TYX = digits.all_frames()[video.id]
            place_T, spread_T = moments(frames_TYX)
            peak_T = frames_TYX.max(axis=(1, 2))
            x.append(np.stack([place_T.real, place_T.imag, np.log(spread_T), peak_T], axis=1))
            label += [video.label] * video.num_frames
        return np.concatenate(x), np.array(label)

    model = make_pipeline(StandardScaler(), KNeighborsClassifier(50))
    model.fit(*rows(digits.train_list(1)))
    assert model.score(*rows(digits.test_list(1))) < 0.15  # measured: 0.12
