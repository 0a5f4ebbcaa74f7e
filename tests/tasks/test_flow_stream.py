"""The flow stream: as many steps as frames, whatever the pieces that the frames come in."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.data.flow import Quantised, flow_of
from tasks.flow_stream import FlowSpec, stacks


def moving(num_frames: int) -> NDArray[np.uint8]:
    """A texture that moves by 2 pixels to the right and 1 down a frame."""
    texture = np.random.default_rng(3).integers(0, 256, (12, 16))
    smooth = np.kron(texture, np.ones((8, 8)))[:90, :120]
    rolled = [np.roll(smooth, (t, 2 * t), (0, 1)) for t in range(num_frames)]
    return np.repeat(np.stack(rolled)[..., None], 3, axis=3).astype(np.uint8)


def in_pieces(frames: NDArray[np.uint8], cuts: list[int]) -> list[NDArray[np.uint8]]:
    return [piece for piece in np.split(frames, cuts) if len(piece)]


@pytest.mark.parametrize("length", [1, 3, 6, 20])
@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3], [4], [6], [3, 4]])
def test_stacks_are_those_of_the_whole_videos_flow(length: int, cuts: list[int]) -> None:
    frames = moving(7)
    quantised = Quantised(bound=20.0)
    fields_T2YX = quantised.dequantise(quantised.quantise(flow_of(frames, "dis")))
    spec = FlowSpec(method="dis", length=length)
    told = np.concatenate(list(stacks(in_pieces(frames, cuts), spec)))
    assert told.shape == (7, 90, 120, 2 * length)
    for t in range(7):
        for k in range(length):
            field = fields_T2YX[min(t + k, 5)]  # the last field is repeated
            assert np.array_equal(told[t, ..., 2 * k], field[0])
            assert np.array_equal(told[t, ..., 2 * k + 1], field[1])


def test_motion_is_in_pixels_u_before_v() -> None:
    told, _ = stacks([moving(2)], FlowSpec(method="dis"))
    inner = told[0, 20:-20, 20:-20]
    assert np.median(inner[..., 0]) == pytest.approx(2, abs=0.2)
    assert np.median(inner[..., 1]) == pytest.approx(1, abs=0.2)


def test_without_its_mean_a_moving_camera_stands_still() -> None:
    told, _ = stacks([moving(2)], FlowSpec(method="dis", subtract_mean=True))
    assert np.abs(told[0].mean((0, 1))).max() < 1e-4


def test_a_video_of_one_frame_stands_still_and_of_none_tells_nothing() -> None:
    (told,) = stacks([moving(1)], FlowSpec(method="dis", length=2))
    assert told.shape == (1, 90, 120, 4)
    assert not told.any()
    assert list(stacks([], FlowSpec(method="dis"))) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "disk"}, "flow method 'disk': choose from brox"),
        ({"length": 0}, "0 fields of flow: a stack has at least 1"),
        ({"bound": 0.0}, "bound"),
    ],
)
def test_what_is_no_flow_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FlowSpec(**values)  # type: ignore[arg-type]
