"""Flow of videos: methods by name, against ground truth; bytes and stacks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brox import Brox
from tasks.data.flow import METHODS, Quantised, flow_of, stack
from tests.benchmarks.flow_accuracy import Pair, chairs, end_point_error, folder, motorcycle

QUICK = Brox(scale=0.8)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def video(T: int = 4, Y: int = 48, X: int = 64) -> np.ndarray:
    """A blurred random scene that moves by (2, 1) a frame, uint8 (T, Y, X, 1)."""
    noise = np.random.default_rng(5).standard_normal((Y + T + 8, X + 2 * T + 8))
    spectrum = np.fft.fft2(noise)
    fy, fx = np.fft.fftfreq(noise.shape[0])[:, None], np.fft.fftfreq(noise.shape[1])
    scene = np.fft.ifft2(spectrum * np.exp(-(fx**2 + fy**2) / (2 * 0.05**2))).real
    scene = np.clip(128 + 45 * scene / scene.std(), 0, 255).astype(np.uint8)
    cuts = [scene[T - t : T - t + Y, 2 * (T - t) : 2 * (T - t) + X] for t in range(T)]
    return np.stack(cuts)[..., None]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_flow_to_the_next_frame_in_one_convention(method: str) -> None:
    flow_T2YX = flow_of(video(T=3), method)
    assert flow_T2YX.shape == (2, 2, 48, 64)
    assert flow_T2YX.dtype == np.float32
    inner_T2 = np.median(flow_T2YX[:, :, 10:-10, 10:-10], axis=(2, 3))
    np.testing.assert_allclose(inner_T2, [[2, 1], [2, 1]], rtol=0, atol=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_does_not_depend_on_the_pairs_before_it(method: str) -> None:
    frames = video(T=3)
    options = {"settings": QUICK} if method == "brox" else {}
    whole = flow_of(frames, method, **options)
    np.testing.assert_array_equal(whole[1:], flow_of(frames[1:], method, **options))


def test_the_size_of_brox_batches_changes_nothing() -> None:
    frames = video(T=4)
    whole = flow_of(frames, settings=QUICK)
    np.testing.assert_array_equal(whole, flow_of(frames, settings=QUICK, batch_size=2))


def test_brox_is_the_default_and_a_grey_video_as_rgb_is_the_same_video() -> None:
    frames = video(T=2)
    grey = flow_of(frames)
    np.testing.assert_array_equal(grey, flow_of(frames, "brox"))
    np.testing.assert_allclose(flow_of(frames.repeat(3, axis=3)), grey, rtol=0, atol=1e-2)


def test_one_frame_has_no_flow() -> None:
    for method in METHODS:
        assert flow_of(video(T=1), method).shape == (0, 2, 48, 64)


@pytest.mark.parametrize(
    ("frames", "arguments", "sentence"),
    [
        (video(), {"method": "brocks"}, "choose from brox, tvl1, dis, farneback, did you mean"),
        (video().astype(np.float32), {}, "give uint8 (T, Y, X, C)"),
        (video()[..., 0], {}, "give uint8 (T, Y, X, C)"),
        (video()[:0], {}, "at least one frame"),
        (video(), {"method": "dis", "device": "cuda"}, "have no effect on 'dis'"),
        (video(), {"method": "tvl1", "settings": QUICK}, "have no effect on 'tvl1'"),
        (video(), {"batch_size": 0}, "batch_size 0 must be at least 1"),
        (video()[:, :4, :4], {"method": "dis"}, "OpenCV's 'dis' takes no frames of 4 x 4"),
    ],
)
def test_what_has_no_flow_is_refused(
    frames: np.ndarray, arguments: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        flow_of(frames, **arguments)


def test_naming_the_methods_imports_nothing_heavy() -> None:
    program = (
        "import sys, tasks.data.flow; print({'numpy', 'torch', 'cv2'}.intersection(sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "set()"


def ground_truth(name: str) -> Pair:
    if not folder().is_dir():
        pytest.skip(f"no pairs with ground truth: {folder()} is absent (HARNESS_TEST_DATA)")
    # A quarter of the size and of the disparities, 2 to 15 pixels: the whole pair takes too long for a test.
    return chairs() if name == "chairs" else motorcycle((125, 185))


@pytest.mark.parametrize(("name", "bound"), [("chairs", 0.6), ("motorcycle", 1.2)])
def test_brox_is_close_to_the_ground_truth_and_closer_than_farneback(
    name: str, bound: float
) -> None:
    pair = ground_truth(name)
    assert np.isnan(pair.truth_2YX).mean() < 0.2
    brox, farneback = (
        end_point_error(flow_of(pair.frames_TYXC, method)[0], pair.truth_2YX)
        for method in ("brox", "farneback")
    )
    assert brox < bound  # 0.49 and 0.95
    assert brox < farneback


@given(st.floats(-20, 20), st.sampled_from([20.0, 7.5, 64.0]))
@settings(max_examples=200, deadline=None)
def test_a_displacement_comes_back_within_half_a_level(share: float, bound: float) -> None:
    stored = Quantised(bound=bound)
    pixels = np.array([share / 20 * bound])
    back = stored.dequantise(stored.quantise(pixels))
    assert abs(back[0] - pixels[0]) <= bound / 254 * (1 + 1e-5)


def test_no_motion_is_byte_128_and_comes_back_exactly() -> None:
    levels = Quantised().quantise(np.array([0.0, -0.0, 20.0, -20.0, 20 / 127, 1e6, -1e6]))
    assert levels.dtype == np.uint8
    assert levels.tolist() == [128, 128, 255, 1, 129, 255, 1]
    back = Quantised().dequantise(levels)
    assert back.dtype == np.float32
    assert back[:2].tolist() == [0, 0]
    assert back[2:4].tolist() == [20, -20]


def test_every_byte_that_is_read_is_written_again() -> None:
    stored = Quantised(bound=11.0)
    levels = np.arange(1, 256, dtype=np.uint8)
    np.testing.assert_array_equal(stored.quantise(stored.dequantise(levels)), levels)


def test_rounding_has_no_drift() -> None:
    """Opposite motions are opposite bytes: the mean of a symmetric flow stays zero."""
    pixels = np.random.default_rng(0).uniform(-25, 25, 1000)
    there, back = Quantised().quantise(pixels), Quantised().quantise(-pixels)
    assert (there.astype(int) + back.astype(int) == 256).all()


def test_clipping_is_told() -> None:
    flow = np.zeros((1, 2, 5, 10))
    flow[0, 0, 0, :3] = 20.5
    flow[0, 1, 1, 0] = -21
    flow[0, 1, 2, 0] = 20  # on the bound is within it
    assert Quantised().clipped_share(flow) == pytest.approx(4 / 100)
    assert Quantised(bound=30.0).clipped_share(flow) == 0
    assert Quantised().clipped_share(flow[:0]) == 0


def test_flow_that_cannot_be_stored_is_refused() -> None:
    holes = np.array([0.0, np.nan])
    with pytest.raises(ValueError, match="not finite: mask or fill them"):
        Quantised().quantise(holes)
    with pytest.raises(ValueError, match="not finite"):
        Quantised().clipped_share(holes)
    with pytest.raises(ValueError, match="stored flow is uint8, not float64"):
        Quantised().dequantise(np.zeros(3))
    for bound in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="number of pixels above 0"):
            Quantised(bound=bound)


def numbered(T: int = 12) -> np.ndarray:
    """Flow whose u is 10 t and v is 10 t + 1, plus the column's number."""
    values_T2 = 10.0 * np.arange(T)[:, None] + np.arange(2)
    return (values_T2[:, :, None, None] + np.arange(3.0)).repeat(2, axis=2)


def test_a_stack_is_u1_v1_u2_v2() -> None:
    stacked = stack(numbered(), length=3, start=4)
    assert stacked.shape == (6, 2, 3)
    assert stacked.dtype == np.float32
    assert stacked[:, 0, 0].tolist() == [40, 41, 50, 51, 60, 61]
    assert stack(numbered()).shape == (20, 2, 3)


def test_mean_subtraction_centres_each_displacement_field_alone() -> None:
    flow = numbered()
    before = flow.copy()
    centred = stack(flow, length=2, subtract_mean=True)
    np.testing.assert_allclose(centred, np.broadcast_to([-1, 0, 1], (4, 2, 3)), atol=1e-6)
    np.testing.assert_array_equal(flow, before)


@pytest.mark.parametrize(
    ("flow", "arguments", "sentence"),
    [
        (numbered(9), {}, "flows 0 to 9 of 9: choose"),
        (numbered(), {"start": 3}, "flows 3 to 12 of 12"),
        (numbered(), {"start": -1}, "0 <= start"),
        (numbered(), {"length": 0}, "choose length >= 1"),
        (numbered()[:, :1], {}, "give (T, 2, Y, X)"),
        (numbered().astype(np.uint8), {}, "dequantise it to pixels first"),
    ],
)
def test_stacks_that_do_not_exist_are_refused(
    flow: np.ndarray, arguments: dict[str, int], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        stack(flow, **arguments)
