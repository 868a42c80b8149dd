"""Linear layers on a CPU: siblings in one product, by the faster float32 library or in bfloat16.

Query, key and value read the same input, and so do gate and up: one product of all weights replaces theirs.

torch sends float32 products to MKL, which takes its AVX2 path on AMD processors. oneDNN is faster there for large
products, and torch reaches it by a switch that *allows* bfloat16: it is used only where a trial shows that the result
is as exact as float32's (processors with AMX would round). The switch slows down the small batched products of
attention, so it is set around the products of linear layers alone. Where nothing is learnt, as in drawing answers,
weights are put into oneDNN's own order instead, once per pass: no switch, and faster down to a few rows.
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
REORDERED_FROM = 1 << 17
"""Weights of so many numbers are put into oneDNN's order where nothing is learnt; MKL is faster with smaller ones."""
SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names of layers that read the same input, if they stand in one module."""


class Family:
    """Linear layers that read the same input: the first one asked multiplies for all, the others find their share."""

    def __init__(self, members: list[nn.Linear], *, mixed: bool) -> None:
        self.members, self.mixed = members, mixed
        self.sizes = [member.out_features for member in members]
        self.still: Still | None = None
        self.input: Tensor | None = None
        self.shares: tuple[Tensor, ...] = ()

    def product(self, x: Tensor) -> Tensor:
        """x W^T for all weights as one; where nothing is learnt, they are joined and ordered once per `running`."""
        weights = [member.weight for member in self.members]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights)):
            return product(x, torch.cat(weights) if len(weights) > 1 else weights[0], mixed=self.mixed)
        if self.still is None:
            self.still = Still(torch.cat(weights).detach(), mixed=self.mixed)
        return self.still.product(x)

    def share(self, place: int, x: Tensor) -> Tensor:
        """x W^T of the member at this place."""
        if x is not self.input:
            self.input, self.shares = x, self.product(x).split(self.sizes, -1)
        share = self.shares[place]
        if place == len(self.members) - 1:
            self.input, self.shares = None, ()  # holds no activation longer than needed
        return share


class Still:
    """Weights that stay as they are for many products: in the order that oneDNN multiplies fastest, if that pays."""

    def __init__(self, weight: Tensor, *, mixed: bool) -> None:
        self.weight = weight.to(torch.bfloat16) if mixed else weight
        self.reordered = (mixed or weight.numel() >= REORDERED_FROM) and reorders(self.weight.dtype)
        if self.reordered:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def product(self, x: Tensor) -> Tensor:
        """x W^T, in the dtype of x."""
        low = x.to(self.weight.dtype)
        if not self.reordered:
            return nn.functional.linear(low, self.weight).to(x.dtype)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(low, self.weight, None, "none", [], "")
        return out.to(x.dtype)


class FastLinear(nn.Linear):
    """An `nn.Linear` with the same parameters and another way to multiply; one only within `Quick.running`."""

    family: Family
    place: int

    def forward(self, input: Tensor) -> Tensor:
        """x W^T + b, in the dtype of x."""
        family = self.family
        quick = family.mixed or len(family.sizes) > 1 or self.weight.numel() >= REORDERED_FROM
        if input.dtype != torch.float32 or not (quick or is_large(input, self.weight)):
            return nn.functional.linear(input, self.weight, self.bias)
        share = family.share(self.place, input)
        return share if self.bias is None else share + self.bias


class Quick:
    """A model's plain linear layers as families, but for `apart`: quick within `running`, as they were outside."""

    def __init__(self, model: nn.Module, *, mixed: bool, apart: nn.Module | None = None) -> None:
        modules = model.named_modules()
        plain = {name: module for name, module in modules if type(module) is nn.Linear and module is not apart}
        self.families: list[Family] = []
        for name in list(plain):
            parent, dot, own = name.rpartition(".")
            siblings = next((names for names in SIBLINGS if own == names[0]), (own,))
            whole = [parent + dot + sibling for sibling in siblings]
            if name in plain:
                members = whole if all(sibling in plain for sibling in whole) else [name]
                self.families.append(Family([plain.pop(member) for member in members], mixed=mixed))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, the layers are `FastLinear`. Joined weights live as long: outside, an optimiser may move them."""
        for family in self.families:
            for place, member in enumerate(family.members):
                member.__class__ = FastLinear
                member.__dict__.update(family=family, place=place)  # no submodule: the weights are the layers' own
        try:
            yield
        finally:
            for family in self.families:
                family.still = None
                for member in family.members:
                    member.__class__ = nn.Linear
                    member.__dict__.pop("family", None)


def is_large(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is faster for this product, and as exact."""
    return x.numel() * len(weight) >= LARGE and one_dnn_is_exact()


def product(x: Tensor, weight: Tensor, *, mixed: bool) -> Tensor:
    """x W^T, by the way that is fastest for its size."""
    apply: Any = _Rounded.apply if mixed else _OneDNN.apply
    if mixed or is_large(x, weight):
        out: Tensor = apply(x, weight)
        return out
    return nn.functional.linear(x, weight)


class _Rounded(torch.autograd.Function):
    """y = x W^T with x, W and the incoming gradient rounded to bfloat16; sums are float32 inside a product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        low, rounded = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(low, rounded)
        return nn.functional.linear(low, rounded).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, rounded = ctx.saved_tensors
        low = gradient.to(torch.bfloat16)
        of_x = (low @ rounded).to(gradient.dtype) if ctx.needs_input_grad[0] else None
        of_weight = _over_rows(low, x).to(gradient.dtype) if ctx.needs_input_grad[1] else None
        return of_x, of_weight


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


@cache
def reorders(dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN's products by reordered weights, which its compiler uses, and this processor the
    instructions for them: tried once."""
    ones = torch.ones(16, 16, dtype=dtype)
    try:
        ordered = torch.ops.mkldnn._reorder_linear_weight(ones)
        product = torch.ops.mkldnn._linear_pointwise(ones, ordered, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return False
    return bool((product == 16).all())


@contextmanager
def by_one_dnn() -> Iterator[None]:
    """Within, torch's float32 products on a CPU are oneDNN's."""
    backend: Any = torch.backends.mkldnn
    settings = backend.matmul
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
