"""Optical flow after Brox, Bruhn, Papenberg and Weickert (ECCV 2004).

"High Accuracy Optical Flow Estimation Based on a Theory for Warping". The flow w = (u, v) of a pair
of images minimises (section 2 of that paper, for two frames)

    E(w)   = E_D(w) + alpha E_S(w)
    E_D(w) = sum Psi(|I2(x + w) - I1(x)|^2 + gamma |grad I2(x + w) - grad I1(x)|^2)
    E_S(w) = sum Psi(|grad u|^2 + |grad v|^2),          Psi(s^2) = sqrt(s^2 + eps^2)

without linearising the data term. Coarse to fine, each level makes w <- w + dw: the outer fixed
point, which warps I2 by w. dw follows from weights Psi' that are held fixed and made anew: the inner
one. With fixed weights the equations are linear, and red_black.py relaxes them.

Three things the paper leaves open. Psi's argument is averaged over colour channels, so that a grey
image and the same image three times have the same flow under the same alpha. Pixels that w carries
out of the image have no data term: the neighbourhood decides. |grad u|^2 at a pixel is the mean of
the squared differences to both sides, so that the diffusivity between two pixels is the mean of
theirs and nothing flows over the border.

Letters: B pairs, C channels, Y rows, X columns, 2 = (u, v).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.red_black import System, solve


@dataclass(frozen=True, kw_only=True, slots=True)
class Brox:
    """The method's parameters. Grey values are in [0, 255], lengths in pixels of the level at hand."""

    alpha: float = 80.0
    """Weight of smoothness (section 5, the paper's value for its whole evaluation of parameters)."""
    gamma: float = 100.0
    """Weight of gradient constancy against grey value constancy (section 5); 0 leaves it out."""
    scale: float = 0.95
    """Size of a pyramid level over that of the next finer one (section 5, its most accurate setting)."""
    outer: int = 1
    """Warps a level. The paper goes to a finer level with every outer iteration."""
    inner: int = 5
    """Times the robust weights are made anew per warp (section 5, with scale 0.95)."""
    solver: int = 10
    """Sweeps of SOR per inner iteration (section 5, for every scale)."""
    relaxation: float = 1.8
    """SOR's omega, in (0, 2). Not in the paper."""
    eps: float = 0.001
    """Psi's eps (section 2); the smaller, the closer Psi is to the absolute value."""
    sigma: float = 0.8
    """Standard deviation in pixels of the Gaussian that smooths both images first (section 5); 0: none."""
    coarsest: int = 8
    """Shorter side of the coarsest level in pixels, or a little more. The paper's 77 levels end near 5."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A parameter is out of its range.
        """
        for name in ("alpha", "eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"Brox: {name} {getattr(self, name)} must be above 0")
        for name in ("gamma", "sigma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Brox: {name} {getattr(self, name)} must be 0 or above")
        for name in ("outer", "inner", "solver", "coarsest"):
            if getattr(self, name) < 1:
                raise ValueError(f"Brox: {name} {getattr(self, name)} must be at least 1")
        if not 0 < self.scale < 1:
            raise ValueError(f"Brox: scale {self.scale} must be between 0 and 1, such as 0.95")
        if not 0 < self.relaxation < 2:
            raise ValueError(f"Brox: relaxation {self.relaxation} must be between 0 and 2")


_DEFAULTS = Brox()


@torch.no_grad()
def brox_flow(first_BCYX: Tensor, second_BCYX: Tensor, settings: Brox = _DEFAULTS) -> Tensor:
    """Return the flow (B, 2, Y, X) in pixels: second(x + u, y + v) matches first(x, y).

    u points to the right and v down. Images are (B, C, Y, X), grey (C = 1) or RGB (C = 3), with values in
    [0, 255]: alpha counts on that range. Each pair's flow is the same, bit for bit, whatever else is
    in the batch. Computed in the images' dtype, on their device.

    Raises:
        ValueError: Shapes differ or are not (B, 1 or 3, Y, X), the dtype is neither float32 nor float64, or a
            value is not finite.
    """
    _check(first_BCYX, second_BCYX)
    first, second = (_smooth(image, settings.sigma) for image in (first_BCYX, second_BCYX))
    batch = first.shape[0]
    flow = first.new_zeros(batch, 2, 1, 1)
    for size in _sizes(first.shape[-2], first.shape[-1], settings):
        flow = _resize_flow(flow, size)
        fixed = _gradients(_resize(first, size))
        moving = _gradients(_resize(second, size), second_order=True)
        for _ in range(settings.outer):
            flow = flow + _increment(fixed, moving, flow, settings)
    return flow


def energy(
    first_BCYX: Tensor, second_BCYX: Tensor, flow_B2YX: Tensor, settings: Brox = _DEFAULTS
) -> Tensor:
    """Return E of a flow at full resolution, one number a pair (B,): what brox_flow tries to make small.

    Differentiable in the flow. Images and errors as in brox_flow. A fixed point is not a descent: more
    iterations may raise it.
    """
    _check(first_BCYX, second_BCYX)
    first, second = (_smooth(image, settings.sigma) for image in (first_BCYX, second_BCYX))
    fixed, moving = _gradients(first), _gradients(second)
    warped, inside_BYX = _warp(moving, flow_B2YX)
    residual = [there - here for there, here in zip(warped, fixed, strict=True)]
    data_BYX = _psi(_data_square(residual, settings.gamma), settings.eps) * inside_BYX
    smooth_BYX = _psi(_slope_square(flow_B2YX), settings.eps)
    return (data_BYX + settings.alpha * smooth_BYX).sum(dim=(1, 2))


def _increment(
    fixed: list[Tensor], moving: list[Tensor], flow_B2YX: Tensor, settings: Brox
) -> Tensor:
    """Return dw (B, 2, Y, X), section 3: one warp, then the inner fixed point."""
    (image, x, y, xx, xy, yy), inside_BYX = _warp(moving, flow_B2YX)
    residual = [there - here for there, here in zip((image, x, y), fixed, strict=True)]
    by_u, by_v = (x, xx, xy), (y, xy, yy)  # derivatives of the three residuals
    gamma = settings.gamma
    j11_BYX, j12_BYX, j22_BYX = (
        _data_product(left, right, gamma)
        for left, right in ((by_u, by_u), (by_u, by_v), (by_v, by_v))
    )
    j1_BYX, j2_BYX = (_data_product(by, residual, gamma) for by in (by_u, by_v))

    step = torch.zeros_like(flow_B2YX)
    for _ in range(settings.inner):
        # The residuals and not the quadratic form in J: its differences of large numbers would
        # cost float32 the small residuals, on which the weights depend most.
        du_B1YX, dv_B1YX = step[:, :1], step[:, 1:]
        left_over = [
            torch.addcmul(torch.addcmul(r, r_u, du_B1YX), r_v, dv_B1YX)
            for r, r_u, r_v in zip(residual, by_u, by_v, strict=True)
        ]
        data_BYX = inside_BYX * _psi(_data_square(left_over, gamma), settings.eps).reciprocal()
        flow_now = flow_B2YX + step
        edge_BYX = settings.alpha * 0.5 * _psi(_slope_square(flow_now), settings.eps).reciprocal()
        right_BYX, down_BYX = edge_BYX.clone(), edge_BYX.clone()
        right_BYX[:, :, :-1] += edge_BYX[:, :, 1:]
        down_BYX[:, :-1] += edge_BYX[:, 1:]
        b_B2YX = _divergence(flow_B2YX, right_BYX, down_BYX)
        b_B2YX[:, 0].addcmul_(data_BYX, j1_BYX, value=-1)
        b_B2YX[:, 1].addcmul_(data_BYX, j2_BYX, value=-1)
        system = System(
            a11_BYX=data_BYX * j11_BYX,
            a12_BYX=data_BYX * j12_BYX,
            a22_BYX=data_BYX * j22_BYX,
            b_B2YX=b_B2YX,
            right_BYX=right_BYX,
            down_BYX=down_BYX,
        )
        step = solve(system, step, iterations=settings.solver, relaxation=settings.relaxation)
    return step


def _psi(square: Tensor, eps: float) -> Tensor:
    """Psi(s^2) = sqrt(s^2 + eps^2); up to a factor that all terms share, Psi' is its reciprocal."""
    return (square + eps**2).sqrt()


def _data_product(
    left: tuple[Tensor, ...] | list[Tensor], right: tuple[Tensor, ...] | list[Tensor], gamma: float
) -> Tensor:
    """Sum of products over (image, x, y), the latter two times gamma, mean over channels: (B, Y, X)."""
    image, x, y = (a * b for a, b in zip(left, right, strict=True))
    product_BCYX = image + gamma * (x + y)
    # Channel by channel: a reduction's order could depend on the size of the batch.
    channels = product_BCYX.unbind(dim=1)
    total = channels[0]
    for channel in channels[1:]:
        total = total + channel
    return total / len(channels)


def _data_square(residual: list[Tensor], gamma: float) -> Tensor:
    return _data_product(residual, residual, gamma)


def _slope_square(flow_B2YX: Tensor) -> Tensor:
    """|grad u|^2 + |grad v|^2 at every pixel, (B, Y, X)."""
    across = flow_B2YX.diff(dim=3).square()
    along = flow_B2YX.diff(dim=2).square()
    both = functional.pad(across, (0, 1)) + functional.pad(across, (1, 0))
    both = both + functional.pad(along, (0, 0, 0, 1)) + functional.pad(along, (0, 0, 1, 0))
    return 0.5 * (both[:, 0] + both[:, 1])


def _divergence(flow_B2YX: Tensor, right_BYX: Tensor, down_BYX: Tensor) -> Tensor:
    """Sum over the neighbours j of w_ij (flow_j - flow_i), (B, 2, Y, X)."""
    across = flow_B2YX.diff(dim=3) * right_BYX[:, None, :, :-1]
    along = flow_B2YX.diff(dim=2) * down_BYX[:, None, :-1]
    total = functional.pad(across, (0, 1)) - functional.pad(across, (1, 0))
    return total + functional.pad(along, (0, 0, 0, 1)) - functional.pad(along, (0, 0, 1, 0))


def _gradients(image_BCYX: Tensor, *, second_order: bool = False) -> list[Tensor]:
    """Return [I, I_x, I_y], and with second_order [I_xx, I_xy, I_yy] too, each (B, C, Y, X)."""
    x, y = _derivative(image_BCYX, 3), _derivative(image_BCYX, 2)
    if not second_order:
        return [image_BCYX, x, y]
    return [image_BCYX, x, y, _derivative(x, 3), _derivative(x, 2), _derivative(y, 2)]


def _derivative(image_BCYX: Tensor, dim: int) -> Tensor:
    """Central difference (1, -8, 0, 8, -1) / 12, exact for cubics; the border's values go on outside."""
    padded = functional.pad(
        image_BCYX, (2, 2, 0, 0) if dim == 3 else (0, 0, 2, 2), mode="replicate"
    )
    size = image_BCYX.shape[dim]
    far_back, back, ahead, far_ahead = (padded.narrow(dim, at, size) for at in (0, 1, 3, 4))
    return (8 * (ahead - back) - (far_ahead - far_back)) / 12


def _warp(fields: list[Tensor], flow_B2YX: Tensor) -> tuple[list[Tensor], Tensor]:
    """Sample fields at x + w, bicubically; and 1 where that is in the image, else 0, (B, Y, X)."""
    _, _, Y, X = flow_B2YX.shape
    at_x = torch.arange(X, device=flow_B2YX.device, dtype=flow_B2YX.dtype) + flow_B2YX[:, 0]
    rows = torch.arange(Y, device=flow_B2YX.device, dtype=flow_B2YX.dtype)
    at_y = rows[:, None] + flow_B2YX[:, 1]
    inside_BYX = (at_x >= 0) & (at_x <= X - 1) & (at_y >= 0) & (at_y <= Y - 1)
    grid_BYX2 = torch.stack([(2 * at_x + 1) / X - 1, (2 * at_y + 1) / Y - 1], dim=-1)
    warped = functional.grid_sample(
        torch.cat(fields, dim=1),
        grid_BYX2,
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return list(warped.chunk(len(fields), dim=1)), inside_BYX.to(flow_B2YX.dtype)


def _smooth(image_BCYX: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian, cut off at 3 sigma; the border's values go on outside."""
    radius = math.ceil(3 * sigma)
    if radius == 0:
        return image_BCYX
    weights = [math.exp(-0.5 * (at / sigma) ** 2) for at in range(-radius, radius + 1)]
    for dim in (2, 3):
        sides = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
        padded = functional.pad(image_BCYX, sides, mode="replicate")
        size = image_BCYX.shape[dim]
        # A sum of shifted images: a library's convolution may round differently in larger batches.
        image_BCYX = torch.zeros_like(image_BCYX)
        for at, weight in enumerate(weights):
            image_BCYX.add_(padded.narrow(dim, at, size), alpha=weight / sum(weights))
    return image_BCYX


def _sizes(Y: int, X: int, settings: Brox) -> list[tuple[int, int]]:
    """Heights and widths of the levels, coarse to fine; the last is the image's own."""
    shorter = min(Y, X)
    count = 1
    if shorter > settings.coarsest:
        count += int(math.log(settings.coarsest / shorter) / math.log(settings.scale))
    factors = [settings.scale**level for level in reversed(range(count))]
    sizes = [(max(1, round(Y * factor)), max(1, round(X * factor))) for factor in factors]
    return list(dict.fromkeys(sizes))  # tiny levels may round to the same size


def _resize(image_BCYX: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample from full resolution with an antialiasing triangle filter."""
    if image_BCYX.shape[-2:] == size:
        return image_BCYX
    return functional.interpolate(
        image_BCYX, size=size, mode="bilinear", antialias=True, align_corners=False
    )


def _resize_flow(flow_B2YX: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample a flow bilinearly; its lengths grow by the ratio of the actual sizes."""
    Y, X = flow_B2YX.shape[-2:]
    if size == (Y, X):
        return flow_B2YX
    finer = functional.interpolate(flow_B2YX, size=size, mode="bilinear", align_corners=False)
    return torch.stack([finer[:, 0] * (size[1] / X), finer[:, 1] * (size[0] / Y)], dim=1)


def _check(first_BCYX: Tensor, second_BCYX: Tensor) -> None:
    """Refuse images that the method is not defined for."""
    shape = tuple(first_BCYX.shape)
    if shape != tuple(second_BCYX.shape):
        raise ValueError(
            f"the first images are {shape} and the second {tuple(second_BCYX.shape)}: a pair has one shape"
        )
    if len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape[2:]:
        raise ValueError(f"images of shape {shape}: give (B, C, Y, X) with C = 1 (grey) or 3 (RGB)")
    for image in (first_BCYX, second_BCYX):
        if image.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"images of {image.dtype}: flow is computed in float32 or float64, convert with .float()"
            )
        if not bool(image.isfinite().all()):
            raise ValueError(
                "an image has values that are not finite: replace NaN and infinity first"
            )
    if first_BCYX.dtype != second_BCYX.dtype or first_BCYX.device != second_BCYX.device:
        raise ValueError(
            f"the first images are {first_BCYX.dtype} on {first_BCYX.device}, the second {second_BCYX.dtype} "
            f"on {second_BCYX.device}: a pair has one dtype and one device"
        )
