"""Brox flow on textures made here, whose motion is known exactly.

Textures are sums of cosines, so that any displacement of them is computed and not interpolated. The
bounds are a few times the errors seen when they were set; those stand beside them.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.brox import Brox, brox_flow, energy

QUICK = Brox(scale=0.8)
"""Fewer levels: enough for smooth motions of a few pixels."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def texture(
    x: Tensor,
    y: Tensor,
    *,
    seed: int = 0,
    shortest: float = 5.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Grey values (1, 1, Y, X) in [0, 255] at coordinates in pixels; wave lengths from `shortest` to 80."""
    generator = torch.Generator().manual_seed(seed)
    count = 40
    length = shortest * (80 / shortest) ** torch.rand(
        count, generator=generator, dtype=torch.float64
    )
    angle, phase = 2 * torch.pi * torch.rand(2, count, generator=generator, dtype=torch.float64)
    along = x[..., None] * angle.cos() + y[..., None] * angle.sin()
    waves = (2 * torch.pi * along / length + phase).cos() * length.sqrt()
    total = waves.sum(dim=-1) / (length.sum() / 2).sqrt()  # of standard deviation 1
    return (128 + 40 * total).clamp(0, 255).to(dtype)[None, None]


def grid(Y: int, X: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(
        torch.arange(Y, dtype=torch.float64), torch.arange(X, dtype=torch.float64), indexing="ij"
    )
    return x, y


def moved(
    u: float | Tensor,
    v: float | Tensor,
    *,
    size: tuple[int, int] = (64, 80),
    seed: int = 0,
    shortest: float = 5.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """A pair with first(x) = second(x + w): the scene is drawn on second's grid."""
    x, y = grid(*size)
    first, second = (
        texture(*at, seed=seed, shortest=shortest, dtype=dtype) for at in ((x + u, y + v), (x, y))
    )
    return first, second


def errors(flow_B2YX: Tensor, u: float | Tensor, v: float | Tensor, *, margin: int = 8) -> Tensor:
    """End-point errors of the first pair in pixels, without a margin."""
    inner = flow_B2YX[0, :, margin:-margin, margin:-margin]
    expected = torch.stack([torch.as_tensor(each).expand(flow_B2YX.shape[2:]) for each in (u, v)])
    return (inner - expected[:, margin:-margin, margin:-margin]).norm(dim=0)


def test_identical_images_do_not_move() -> None:
    image, _ = moved(0, 0)
    assert brox_flow(image, image).abs().max() < 1e-4  # 2e-6


def test_images_without_any_texture_do_not_move() -> None:
    flat = torch.full((1, 1, 24, 31), 90.0)
    assert brox_flow(flat, flat + 20, QUICK).abs().max() < 1e-5  # 1e-8


@pytest.mark.parametrize(("u", "v"), [(1.0, 0.0), (0.0, 2.0), (-5.0, 0.0), (3.0, -4.0)])
def test_whole_shifts_are_found_with_their_signs(u: float, v: float) -> None:
    assert errors(brox_flow(*moved(u, v)), u, v).max() < 0.05  # 0.03


def test_a_step_to_the_right_and_down_is_positive() -> None:
    """Drawn without the texture's mathematics: a bright spot walks from (x, y) to (x + 2, y + 1)."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")

    def spot(at_x: float, at_y: float) -> Tensor:
        return 200 * torch.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 32)[None, None]

    flow = brox_flow(spot(20, 18), spot(22, 19))
    assert flow[0, :, 18, 20].tolist() == pytest.approx([2, 1], abs=0.1)


def test_half_a_pixel_by_the_fourier_shift_theorem() -> None:
    """The oracle is the discrete Fourier transform: a periodic image, moved by a phase ramp."""
    generator = torch.Generator().manual_seed(3)
    size = 64
    frequency = torch.fft.fftfreq(size, dtype=torch.float64)
    low = torch.exp(-((frequency[:, None] ** 2 + frequency**2) / (2 * 0.06**2)))
    spectrum = (
        torch.fft.fft2(torch.randn(size, size, generator=generator, dtype=torch.float64)) * low
    )
    still = torch.fft.ifft2(spectrum).real
    ramp = torch.exp(-2j * torch.pi * 0.5 * frequency)
    shifted = torch.fft.ifft2(spectrum * ramp).real  # shifted(x) = still(x - 0.5)
    pair = [(128 + 40 * image / still.std())[None, None].float() for image in (still, shifted)]
    assert errors(brox_flow(*pair), 0.5, 0.0).max() < 0.03


def test_rotation_and_zoom_are_recovered_everywhere_inside() -> None:
    x, y = grid(72, 88)
    angle, zoom = 0.03, 1.04
    away_x, away_y = x - 43.5, y - 35.5
    cos, sin = zoom * torch.cos(torch.tensor(angle)), zoom * torch.sin(torch.tensor(angle))
    u = cos * away_x - sin * away_y - away_x  # up to 2.6 pixels
    v = sin * away_x + cos * away_y - away_y
    found = errors(brox_flow(*moved(u, v, size=(72, 88))), u, v)
    assert found.mean() < 0.1  # 0.06
    assert found.max() < 0.4


def test_gradient_constancy_is_what_withstands_a_change_of_brightness() -> None:
    first, second = moved(1.5, -1.0)
    brighter = second + 20
    with_gradients = errors(brox_flow(first, brighter, replace(QUICK, gamma=50.0)), 1.5, -1.0)
    without = errors(brox_flow(first, brighter, replace(QUICK, gamma=0.0)), 1.5, -1.0)
    assert with_gradients.mean() < 0.1
    assert without.mean() > 5 * with_gradients.mean()


def test_a_pair_has_the_same_flow_alone_and_in_any_batch() -> None:
    pairs = [moved(u, 1.0, size=(37, 51), seed=seed) for seed, u in enumerate((0.5, -2.0, 3.0))]
    first, second = (torch.cat(side) for side in zip(*pairs, strict=True))
    together = brox_flow(first, second, QUICK)
    for index, pair in enumerate(pairs):
        assert torch.equal(together[index : index + 1], brox_flow(*pair, QUICK))
    swapped = brox_flow(first.flip(0), second.flip(0), QUICK)
    assert torch.equal(swapped.flip(0), together)


def test_float32_agrees_with_float64() -> None:
    first, second = moved(2.0, 0.5, dtype=torch.float64)
    exact = brox_flow(first, second, QUICK)
    single = brox_flow(first.float(), second.float(), QUICK)
    assert exact.dtype == torch.float64
    assert single.dtype == torch.float32
    assert (single - exact).abs().mean() < 1e-4
    assert (single - exact).abs().max() < 1e-2


def test_a_grey_image_as_rgb_has_the_flow_of_the_grey_image() -> None:
    first, second = moved(1.0, 2.0, dtype=torch.float64)
    grey = brox_flow(first, second, QUICK)
    colour = brox_flow(first.expand(-1, 3, -1, -1), second.expand(-1, 3, -1, -1), QUICK)
    torch.testing.assert_close(colour, grey, rtol=0, atol=1e-6)


def test_colour_sees_what_grey_does_not() -> None:
    """Red and green move, their sum stands still: only the channels show the motion."""
    red_first, red_second = moved(2.0, 0.0)
    zero = torch.zeros_like(red_first)
    first = torch.cat([red_first, 255 - red_first, zero], dim=1)
    second = torch.cat([red_second, 255 - red_second, zero], dim=1)
    assert errors(brox_flow(first, second, QUICK), 2.0, 0.0).mean() < 0.05
    sums = first.sum(dim=1, keepdim=True), second.sum(dim=1, keepdim=True)
    assert brox_flow(*sums, QUICK).abs().max() < 1e-3


def test_mirrored_images_have_the_mirrored_flow() -> None:
    """A neighbour mixed up in one direction only would show: sizes are odd, motion is not uniform."""
    x, y = grid(41, 53)
    u, v = 1.5 * torch.sin(y / 9), torch.cos(x / 11)
    first, second = moved(u, v, size=(41, 53), dtype=torch.float64)
    flow = brox_flow(first, second, replace(QUICK, solver=60))
    across = brox_flow(first.flip(3), second.flip(3), replace(QUICK, solver=60)).flip(3)
    turned = brox_flow(first.mT, second.mT, replace(QUICK, solver=60)).mT
    torch.testing.assert_close(across[:, 0], -flow[:, 0], rtol=0, atol=1e-3)
    torch.testing.assert_close(across[:, 1], flow[:, 1], rtol=0, atol=1e-3)
    torch.testing.assert_close(turned.flip(1), flow, rtol=0, atol=1e-3)


def test_the_energy_found_is_not_above_that_of_the_true_flow() -> None:
    x, y = grid(64, 80)
    u, v = 2 + torch.sin(y / 20), torch.cos(x / 20)
    first, second = moved(u, v)
    truth = torch.stack([u, v]).float()[None]
    found = energy(first, second, brox_flow(first, second))
    assert found <= energy(first, second, truth)
    assert found < 0.5 * energy(first, second, torch.zeros_like(truth))


def test_the_energy_is_the_papers_sum() -> None:
    """By hand, on a ramp: second is 10 brighter, so I2(x + w) - I1(x) = 10 + 4 u and gradients agree."""
    Y, X, slope, u = 6, 9, 4.0, 0.5
    ramp = (slope * torch.arange(X, dtype=torch.float64)).expand(1, 1, Y, X)
    flow = torch.zeros(1, 2, Y, X, dtype=torch.float64)
    flow[:, 0] = u
    settings = Brox(sigma=0, gamma=0)
    found = energy(ramp, ramp + 10, flow, settings)
    inside = Y * (X - 1)  # the last column goes out of the image, and there is no data there
    smooth = settings.alpha * Y * X * settings.eps
    # The cubic interpolation repeats the border's value in the last cell, where it departs from the ramp.
    assert float(found) == pytest.approx(inside * (10 + slope * u) + smooth, rel=0.01)

    flow[:, 0, :, 4:] += 3.0
    rise = energy(ramp * 0, ramp * 0, flow, settings) - energy(
        ramp * 0, ramp * 0, flow * 0, settings
    )
    # The step of 3 is seen by the pixels on both sides of it, half by each: Psi(3^2 / 2) = 2.12.
    left = Y * X - int((torch.arange(X) + flow[0, 0, 0] > X - 1).sum()) * Y
    no_data = (left - Y * X) * settings.eps
    expected = settings.alpha * Y * 2 * (3 / 2**0.5 - settings.eps) + no_data
    assert float(rise) == pytest.approx(expected, rel=1e-6)


def test_the_flow_found_is_nearly_stationary_for_the_energy() -> None:
    """Autograd knows nothing of the linearised equations, yet agrees that they are solved."""
    settings = Brox(outer=40, inner=5, solver=40, coarsest=1000, eps=0.5, alpha=20.0)
    first, second = moved(0.4, -0.3, size=(20, 24), dtype=torch.float64, shortest=10)

    def slope(flow_B2YX: Tensor) -> float:
        flow_B2YX.requires_grad_()
        (gradient,) = torch.autograd.grad(
            energy(first, second, flow_B2YX, settings).sum(), flow_B2YX
        )
        return float(gradient[..., 4:-4, 4:-4].abs().mean())

    found = brox_flow(first, second, settings)
    assert slope(found) < 0.05 * slope(torch.zeros_like(found))


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (5, 3), (1, 1)])
def test_odd_and_tiny_sizes_work(size: tuple[int, int]) -> None:
    flow = brox_flow(*moved(0.5, 0.5, size=size))
    assert flow.shape == (1, 2, *size)
    assert flow.isfinite().all()
    if min(size) >= 16:
        assert errors(flow, 0.5, 0.5, margin=4).mean() < 0.3  # 0.16


def test_no_pairs_have_no_flow() -> None:
    none = torch.zeros(0, 1, 20, 30)
    assert brox_flow(none, none).shape == (0, 2, 20, 30)


def test_a_motion_longer_than_a_fine_wave_needs_the_pyramid() -> None:
    first, second = moved(12.0, 0.0, size=(96, 128))
    assert errors(brox_flow(first, second), 12.0, 0.0, margin=16).mean() < 0.1
    alone = brox_flow(first, second, Brox(coarsest=1000))
    assert errors(alone, 12.0, 0.0, margin=16).mean() > 3


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 9), "a pair has one shape"),
        (torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8), "C = 1 (grey) or 3 (RGB)"),
        (torch.zeros(8, 8), torch.zeros(8, 8), "give (B, C, Y, X)"),
        (torch.zeros(1, 1, 8, 8).half(), torch.zeros(1, 1, 8, 8).half(), "convert with .float()"),
        (torch.zeros(1, 1, 8, 8).byte(), torch.zeros(1, 1, 8, 8).byte(), "images of torch.uint8"),
        (torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), torch.nan), "replace NaN and infinity"),
        (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8).double(), "one dtype and one device"),
    ],
)
def test_images_without_a_flow_are_refused(first: Tensor, second: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        brox_flow(first, second)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alpha": 0.0}, "alpha 0.0 must be above 0"),
        ({"gamma": -1.0}, "gamma -1.0 must be 0 or above"),
        ({"eps": float("nan")}, "eps nan must be above 0"),
        ({"scale": 1.0}, "scale 1.0 must be between 0 and 1"),
        ({"relaxation": 2.0}, "relaxation 2.0 must be between 0 and 2"),
        ({"inner": 0}, "inner 0 must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Brox(**change)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_gpu_agrees_with_the_cpu() -> None:
    first, second = moved(2.0, 0.5, dtype=torch.float64)
    there = brox_flow(first.cuda(), second.cuda(), QUICK).cpu()
    torch.testing.assert_close(there, brox_flow(first, second, QUICK), rtol=0, atol=1e-6)
