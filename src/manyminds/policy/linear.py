"""Linear layers on a CPU: the faster of two float32 libraries, or bfloat16 products with float32 weights.

torch sends float32 products to MKL, which takes its AVX2 path on AMD processors. oneDNN is faster there for large
products, and torch reaches it by a switch that *allows* bfloat16: it is used only where a trial shows that the result is
as exact as float32's (processors with AMX would round). The switch slows down the small batched products of attention,
so it is set around the products of linear layers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 1 << 25
"""Products of this many multiplications and more are given to oneDNN; below, its set-up costs more than it saves."""


class FastLinear(nn.Linear):
    """An `nn.Linear` with the same parameters and another way to multiply; made from one by `quicken`."""

    mixed: bool
    rounded: tuple[int, Tensor] | None

    def forward(self, input: Tensor) -> Tensor:
        """x W^T + b, in the dtype of x."""
        if input.dtype != torch.float32:
            return nn.functional.linear(input, self.weight, self.bias)
        if self.mixed:
            out: Tensor = _apply(_Rounded, input, self.weight, self.bfloat16_weight())
            return out if self.bias is None else out + self.bias
        if input.numel() * self.out_features < LARGE or not one_dnn_is_exact():
            return nn.functional.linear(input, self.weight, self.bias)
        out = _apply(_OneDNN, input, self.weight)
        return out if self.bias is None else out + self.bias

    def bfloat16_weight(self) -> Tensor:
        """The weight rounded, made anew when an optimiser has changed it."""
        version = self.weight._version
        if self.rounded is None or self.rounded[0] != version or self.rounded[1].shape != self.weight.shape:
            with torch.inference_mode(False):
                self.rounded = (version, self.weight.detach().to(torch.bfloat16))
        return self.rounded[1]


def quicken(model: nn.Module, *, mixed: bool) -> None:
    """Turn the model's plain linear layers into `FastLinear`, in place; parameters and their names stay."""
    for module in model.modules():
        if type(module) in (nn.Linear, FastLinear):
            module.__class__ = FastLinear
            module.mixed, module.rounded = mixed, None


class _Rounded(torch.autograd.Function):
    """y = x W^T with x, W and the incoming gradient rounded to bfloat16; sums are float32 inside a product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rounded: Tensor) -> Tensor:
        low = x.to(torch.bfloat16)
        ctx.save_for_backward(low, rounded)
        return nn.functional.linear(low, rounded).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, rounded = ctx.saved_tensors
        low = gradient.to(torch.bfloat16)
        of_x = (low @ rounded).to(gradient.dtype) if ctx.needs_input_grad[0] else None
        of_weight = _over_rows(low, x).to(gradient.dtype) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


class _OneDNN(torch.autograd.Function):
    """y = x W^T in float32, all three products by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        with by_one_dnn():
            return nn.functional.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        with by_one_dnn():
            of_x = gradient @ weight if ctx.needs_input_grad[0] else None
            of_weight = _over_rows(gradient, x) if ctx.needs_input_grad[1] else None
        return of_x, of_weight


def _over_rows(gradient: Tensor, x: Tensor) -> Tensor:
    """g^T x over all rows."""
    return gradient.flatten(0, -2).T @ x.flatten(0, -2)


def _apply(function: Any, *arguments: Tensor) -> Tensor:
    result: Tensor = function.apply(*arguments)
    return result


@contextmanager
def by_one_dnn() -> Iterator[None]:
    """Within, torch's float32 products on a CPU are oneDNN's."""
    settings: Any = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


@cache
def one_dnn_is_exact() -> bool:
    """Whether oneDNN's product of random matrices is as near to the exact one as float32 allows, on this processor."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    with by_one_dnn(), torch.no_grad():
        error = (a @ b).double() - a.double() @ b.double()
    return bool(error.abs().max() < 1e-4)
