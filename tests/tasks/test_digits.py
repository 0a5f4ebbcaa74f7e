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
    assert train.splitlines()[60] == "CircleLeft/v_CircleLeft_g02_c01.avi 2"
    assert test.splitlines()[30] == "CircleLeft/v_CircleLeft_g01_c01.avi"
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
    foreign = digits.Video(id="v_Bounce_g01_c02", label=0, group="g01", num_frames=20)
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
    "lists": "753f850c148a6a610c8ad193b29281836840c82b64f861aeda3666cdc79cf45e",
    "videos": "47c6fb1ad63dc87e45675a5e38cdf34a4902534b9c1a80f5502a6c1b0794658c",
    "one circle": "0a3867a6d296bfce5205012c905f74996f736e16951eb421f8e4e47ea76193ef",
    "one zigzag": "4cf347213733b8d4ae3c1b6ed417bdfa4186d2391730ef765c68a5af5c21f479",
    "labelled": "457ad88363e77bc66d36b0c5159b279026619d747172698d1756829addb30beb",
    "unlabelled": "055aa2ad2c5e28caf92ea8ef9d99bcb17a7f52f108ab11b6787d4126962023d6",
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
    assert share.mean() < 0.01  # measured: 0.002
    assert share.max() < 0.25  # measured: 0.17


def moments(frames_TYX: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Of each frame: the place x + iy, the spread, and the long axis as a complex number of twice its angle."""
    grey_TYX = frames_TYX / 255
    pixel = np.arange(20)
    ink_T = grey_TYX.sum(axis=(1, 2))
    x_T = (grey_TYX.sum(axis=1) @ pixel) / ink_T
    y_T = (grey_TYX.sum(axis=2) @ pixel) / ink_T
    dx_T1X, dy_TY1 = (pixel - x_T[:, None])[:, None, :], (pixel - y_T[:, None])[:, :, None]
    xx_T = (grey_TYX * dx_T1X**2).sum(axis=(1, 2)) / ink_T
    yy_T = (grey_TYX * dy_TY1**2).sum(axis=(1, 2)) / ink_T
    xy_T = (grey_TYX * dx_T1X * dy_TY1).sum(axis=(1, 2)) / ink_T
    return x_T + 1j * y_T, xx_T + yy_T, (xx_T - yy_T + 2j * xy_T) / (xx_T + yy_T)


def turning(arrow_T: NDArray[np.complex128]) -> complex:
    """Mean rotation from one arrow to the next: real part 1 for straight on, imaginary 1 for a right angle.

    y points down, so a positive imaginary part is clockwise on the screen.
    """
    steps = arrow_T[1:] * arrow_T[:-1].conj()
    return complex(steps.sum() / (np.abs(steps).sum() + 0.05))


@functools.cache
def turns_of(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For every video of a class: how its path turns, and how its long axis does."""
    pairs = [moments(digits.all_frames()[video.id])[::2] for video in of_class(name)]
    path = np.array([turning(np.diff(place_T)).imag for place_T, _ in pairs])
    axis = np.array([turning(axis_T).imag for _, axis_T in pairs])
    return path, axis


@pytest.mark.parametrize(("which", "left", "right"), [
    (0, "CircleLeft", "CircleRight"),
    (1, "SpinLeft", "SpinRight"),
])  # fmt: skip
def test_left_is_counter_clockwise_and_right_is_clockwise(which, left, right):
    assert (turns_of(left)[which] < 0).mean() > 0.95
    assert (turns_of(right)[which] > 0).mean() > 0.95


@pytest.mark.parametrize(("name", "sign"), [("Grow", 1), ("Shrink", -1)])
def test_grow_grows_and_shrink_shrinks_in_nearly_all_frames(name, sign):
    for video in of_class(name):
        spread_T = moments(digits.all_frames()[video.id])[1]
        assert (sign * np.diff(spread_T) > 0).mean() > 0.75, video.id


def test_frames_of_grow_and_shrink_are_as_large_as_those_of_other_classes():
    sizes = [
        np.mean([moments(digits.all_frames()[video.id])[1].mean() for video in of_class(name)])
        for name in ("Grow", "Shrink", "SpinLeft", "Pulse")
    ]
    assert max(sizes) / min(sizes) < 1.15


def test_only_pulse_changes_its_brightness():
    def change(name: str) -> NDArray[np.float64]:
        peaks = [digits.all_frames()[video.id].max(axis=(1, 2)) for video in of_class(name)]
        return np.array([peak_T.max() / peak_T.min() for peak_T in peaks])

    assert change("Pulse").min() > 2
    for name in set(digits.CLASSES) - {"Pulse"}:
        assert np.median(change(name)) < 1.3


def features(frames_TYX: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How a digit moves, without looking at which digit it is (N,)."""
    place_T, spread_T, axis_T = moments(frames_TYX)
    step_T, log_spread_T = np.diff(place_T), np.log(spread_T)
    square_T = (frames_TYX / 255.0**2 * frames_TYX).sum(axis=(1, 2))
    grey_T = square_T / frames_TYX.sum(axis=(1, 2))
    path, axis = turning(step_T), turning(axis_T)
    return np.array([
        place_T.real.std(),
        place_T.imag.std(),
        np.abs(step_T).mean(),
        np.abs(np.diff(step_T)).mean(),
        path.real,
        path.imag,
        axis.real,
        axis.imag,
        np.median(np.diff(log_spread_T)),
        np.log(grey_T).std(),
    ])  # fmt: skip


@functools.cache
def motion_oracle(split: int) -> LogisticRegression:
    train = digits.train_list(split)
    x_BN = np.array([features(digits.all_frames()[video.id][:16]) for video in train])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(x_BN, [video.label for video in train])


@by_split
def test_the_motion_of_sixteen_frames_gives_the_class_away(split):
    """Logistic regression on ten features of motion, 600 training videos."""
    test = digits.test_list(split)
    x_BN = np.array([features(digits.all_frames()[video.id][:16]) for video in test])
    label_B = np.array([video.label for video in test])
    right_B = motion_oracle(split).predict(x_BN) == label_B
    assert right_B.mean() > 0.95  # measured: 0.990, 0.990, 0.997
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
    assert (probabilities.argmax(axis=1) == label).mean() < 0.2  # measured: 0.13

    ends = np.cumsum([video.num_frames for video in test])[:-1]
    means = np.array([part.mean(axis=0) for part in np.split(probabilities, ends)])
    right = means.argmax(axis=1) == [video.label for video in test]
    assert right.mean() < 0.3  # measured: 0.20, since the mean of many frames shows a path


def test_place_size_and_brightness_of_a_frame_do_not_give_the_class_away():
    """Fifty nearest neighbours: this sees in a frame what a linear rule on pixels cannot."""

    def rows(listed: tuple[digits.Video, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        x, label = [], []
        for video in listed:
            frames_TYX = digits.all_frames()[video.id]
            place_T, spread_T, _ = moments(frames_TYX)
            peak_T = frames_TYX.max(axis=(1, 2))
            x.append(np.stack([place_T.real, place_T.imag, np.log(spread_T), peak_T], axis=1))
            label += [video.label] * video.num_frames
        return np.concatenate(x), np.array(label)

    model = make_pipeline(StandardScaler(), KNeighborsClassifier(50))
    model.fit(*rows(digits.train_list(1)))
    assert model.score(*rows(digits.test_list(1))) < 0.15  # measured: 0.10
