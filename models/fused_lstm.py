"""A whole sequence of a peephole LSTM as one autograd function: what lstm.py says step by step, with a backward pass of its own.

What makes it fast: the input's product for all steps is one product, made before; the gates are activated in place where
that product lies; the backward pass leaves the gradients of all steps' gates in one tensor, so that the gradients of both
weight matrices are one product each; and what is pointwise is fused by the backend. docs/performance.md has the figures.

Letters: R replicas (models of equal shape trained side by side; usually 1), T steps, B sequences, H units, G = 4H, with
blocks i, f, candidate, o as in lstm.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from models import compiled_lstm, in_place_lstm, triton_lstm

IMPLEMENTATIONS = ("auto", "plain", "in_place", "compiled", "triton")
VARIABLE = "HARNESS_LSTM"
_wanted: list[str] = []
"""Names given by `use`, the innermost last."""


class Backend(Protocol):
    """The steps of a sequence on some kind of device.

    All tensors are of the state's dtype but for the weights, which are of the products', and the gates with their
    gradients, which are of the products' where GATES_OF_PRODUCTS.
    """

    GATES_OF_PRODUCTS: bool

    def forward(
        self,
        gates_RTBG: Tensor,
        weight_h_RGH: Tensor,
        bias_RG: Tensor,
        peephole_R3H: Tensor,
        h_RTBH: Tensor,
        c_RTBH: Tensor,
        *,
        fresh: bool,
        from_zero: bool,
    ) -> None:
        """Run all steps.

        Args:
            gates_RTBG: Input products without bias, or nothing yet if `fresh`; overwritten with the activations
                i, f, tanh of the candidate, o.
            weight_h_RGH: In the dtype that products are to be made in.
            bias_RG: Added to every step's gates.
            peephole_R3H: The rows w_ci, w_cf, w_co.
            h_RTBH: T + 1 steps, of which the first is the start and the others are written.
            c_RTBH: The same of the cells.
            fresh: Nothing lies in gates_RTBG: there is no input.
            from_zero: The start is zero, so the first step needs no recurrent product.
        """

    def backward(
        self,
        gates_RTBG: Tensor,
        d_gates_RTBG: Tensor,
        weight_h_RGH: Tensor,
        peephole_R3H: Tensor,
        c_RTBH: Tensor,
        d_output_RTBH: Tensor | None,
        d_h_RBH: Tensor | None,
        d_c_RBH: Tensor,
        *,
        to_start: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run all steps backwards.

        Args:
            gates_RTBG: Activations as `forward` left them.
            d_gates_RTBG: Written: gradients of the pre-activations.
            weight_h_RGH: As in `forward`.
            peephole_R3H: As in `forward`.
            c_RTBH: As `forward` left it.
            d_output_RTBH: Gradient of every step's h (T steps, contiguous within a replica), or None for zero.
            d_h_RBH: Gradient of the last h besides, or None for zero.
            d_c_RBH: Gradient of the last cell; overwritten with that of the first.
            to_start: Whether the gradient of the first h is wanted.

        Returns:
            Gradients of the bias, of the peepholes, and of the first h (None unless wanted).
        """


@contextmanager
def use(name: str) -> Iterator[None]:
    """Choose the implementation by name within a `with` block.

    Raises:
        ValueError: There is no such implementation.
    """
    _wanted.append(_checked(name))
    try:
        yield
    finally:
        _wanted.pop()


def chosen(like: Tensor) -> str:
    """Name the implementation for tensors like this one: what `use` or HARNESS_LSTM says, else the fastest there is.

    Raises:
        ValueError: HARNESS_LSTM is no implementation's name, or the one it names cannot be had for such tensors.
    """
    wanted = _wanted[-1] if _wanted else _checked(os.environ.get(VARIABLE) or "auto")
    if wanted in ("plain", "in_place"):
        return wanted
    device = like.device.type
    if device not in ("cpu", "cuda") or not like.dtype.is_floating_point or _followed(like):
        return "plain"  # "meta" follows shapes; other devices are not known here
    asked = {"compiled": _why_not_compiled, "triton": _why_not_triton}
    if wanted == "auto":
        fastest = "compiled" if device == "cpu" else "triton"
        return "in_place" if asked[fastest](like) else fastest
    if refused := asked[wanted](like):
        raise ValueError(f"{VARIABLE}={wanted} cannot be used ({refused}): unset it to let the fastest be chosen")  # fmt: skip
    return wanted


def _followed(like: Tensor) -> bool:
    """Whether somebody writes down the operations (torch.export, torch.compile, torch.jit): these must be torch's own."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or type(like) not in (Tensor, torch.nn.Parameter)
    )


def _why_not_compiled(like: Tensor) -> str:
    if like.device.type != "cpu" or not compiled_lstm.supports(like.dtype):
        return f"it is for float32 and float64 on a CPU, not for {like.dtype} on {like.device.type}"
    return compiled_lstm.why_not()


def _why_not_triton(like: Tensor) -> str:
    if not triton_lstm.supports(like.dtype):
        return f"it is for a state of float32, not of {like.dtype}"
    return triton_lstm.why_not(like.device)


def _checked(name: str) -> str:
    if name not in IMPLEMENTATIONS:
        known = ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"{VARIABLE}={name!r} is no implementation of the LSTM: choose one of {known}")  # fmt: skip
    return name


def run(
    product_RTBG: Tensor | None,
    weight_h_RGH: Tensor,
    bias_RG: Tensor,
    peephole_R3H: Tensor,
    start: tuple[Tensor, Tensor] | None,
    *,
    steps: int,
    batch: int,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run R LSTMs over a sequence each.

    Args:
        product_RTBG: W_x x of every step, without bias; it is overwritten, so nobody else may hold it. None: no input.
            Its dtype, where there is one, is that of the recurrent products too.
        weight_h_RGH: Recurrent weights; turned to the products' dtype.
        bias_RG: Biases.
        peephole_R3H: Peepholes.
        start: h_RBH and c_RBH to start from; None means zero, which saves a product.
        steps: T.
        batch: B.
        implementation: What `chosen` gave.

    Returns:
        h_RTBH of every step, and h_RBH and c_RBH of the last, in the parameters' dtype.

    Raises:
        RuntimeError: In the backward pass, when the gradient is to be differentiated once more.
    """
    h_RBH, c_RBH = start or (None, None)
    lower = weight_h_RGH.to(_products_dtype(product_RTBG, weight_h_RGH))
    answer: tuple[Tensor, Tensor, Tensor] = _Sequence.apply(  # type: ignore[no-untyped-call]
        product_RTBG, lower, bias_RG, peephole_R3H, h_RBH, c_RBH, steps, batch, _BACKENDS[implementation]
    )  # fmt: skip
    return answer


def _products_dtype(product_RTBG: Tensor | None, weight_h_RGH: Tensor) -> torch.dtype:
    device = weight_h_RGH.device.type
    if product_RTBG is not None:
        return product_RTBG.dtype
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_h_RGH.dtype  # fmt: skip


_BACKENDS: dict[str, Backend] = {
    "in_place": in_place_lstm,
    "compiled": compiled_lstm,
    "triton": triton_lstm,
}


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        product_RTBG: Tensor | None,
        weight_h_RGH: Tensor,
        bias_RG: Tensor,
        peephole_R3H: Tensor,
        h_RBH: Tensor | None,
        c_RBH: Tensor | None,
        steps: int,
        batch: int,
        backend: Backend,
    ) -> tuple[Tensor, Tensor, Tensor]:
        replicas, gates, units = weight_h_RGH.shape
        dtype = weight_h_RGH.dtype if backend.GATES_OF_PRODUCTS else bias_RG.dtype
        if product_RTBG is not None and product_RTBG.dtype == dtype and product_RTBG.is_contiguous():  # fmt: skip
            gates_RTBG = product_RTBG
        else:
            gates_RTBG = bias_RG.new_empty(replicas, steps, batch, gates, dtype=dtype)
            if product_RTBG is not None:
                gates_RTBG.copy_(product_RTBG)
        h_RTBH = bias_RG.new_empty(replicas, steps + 1, batch, units)
        c_RTBH = torch.empty_like(h_RTBH)
        for buffer, start in ((h_RTBH, h_RBH), (c_RTBH, c_RBH)):
            buffer[:, 0] = 0 if start is None else start
        with torch.autocast(bias_RG.device.type, enabled=False):
            backend.forward(
                gates_RTBG, weight_h_RGH, bias_RG, peephole_R3H, h_RTBH, c_RTBH,
                fresh=product_RTBG is None, from_zero=h_RBH is None,
            )  # fmt: skip
        ctx.save_for_backward(gates_RTBG, weight_h_RGH, peephole_R3H, h_RTBH, c_RTBH)
        ctx.backend, ctx.from_zero = backend, h_RBH is None
        ctx.product_dtype = None if product_RTBG is None else product_RTBG.dtype
        ctx.set_materialize_grads(False)
        return h_RTBH[:, 1:], h_RTBH[:, -1].clone(), c_RTBH[:, -1].clone()

    @staticmethod
    def backward(
        ctx: Any, d_output_RTBH: Tensor | None, d_h_RBH: Tensor | None, d_c_RBH: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the fused LSTM has no second derivative (create_graph=True was asked for): "
                f'choose the plain one, {VARIABLE}=plain or models.fused_lstm.use("plain")'
            )
        gates_RTBG, weight_h_RGH, peephole_R3H, h_RTBH, c_RTBH = ctx.saved_tensors
        needs_product, needs_weight, _, _, needs_h, needs_c, *_ = ctx.needs_input_grad
        if d_output_RTBH is not None:
            d_output_RTBH = d_output_RTBH.contiguous()
        d_c_RBH = torch.zeros_like(c_RTBH[:, 0]) if d_c_RBH is None else d_c_RBH.clone(memory_format=torch.contiguous_format)  # fmt: skip
        if d_h_RBH is not None:
            d_h_RBH = d_h_RBH.contiguous()
        d_gates_RTBG = torch.empty_like(gates_RTBG)
        with torch.autocast(gates_RTBG.device.type, enabled=False):
            d_bias_RG, d_peephole_R3H, d_start_RBH = ctx.backend.backward(
                gates_RTBG, d_gates_RTBG, weight_h_RGH, peephole_R3H, c_RTBH, d_output_RTBH, d_h_RBH, d_c_RBH,
                to_start=needs_h,
            )  # fmt: skip
            lower_RTBG = d_gates_RTBG.to(weight_h_RGH.dtype)
            d_weight_RGH = None
            if needs_weight:
                first = 1 if ctx.from_zero else 0  # a zero state adds nothing
                before_RNH = h_RTBH[:, first:-1].flatten(1, 2).to(weight_h_RGH.dtype)
                d_weight_RGH = lower_RTBG[:, first:].flatten(1, 2).transpose(1, 2) @ before_RNH
        return (
            lower_RTBG.to(ctx.product_dtype) if needs_product else None,
            d_weight_RGH,
            d_bias_RG,
            d_peephole_R3H,
            d_start_RBH,
            d_c_RBH if needs_c else None,
            None,
            None,
            None,
        )
