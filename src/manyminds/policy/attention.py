"""Attention over one line of tokens: what each token may see is said by a layout instead of a mask.

transformers lets a library register attention functions by name. Ours hands query, key and value to the layout that
the forward pass was given, so every architecture that takes part in that registry can be run on packed rows with shared
prompts (policy/packing.py) and on a cache with shared prompts (sampling/cache.py), without a model of our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "manyminds"


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a layer scores keys: the factor on q·k, how far back it sees (tokens, itself included), and its soft cap."""

    scaling: float
    window: int | None = None
    softcap: float | None = None

    def cap(self, scores: Tensor) -> Tensor:
        """softcap * tanh(scores / softcap), as Gemma 2 has it; without one, the scores as they are."""
        return scores if self.softcap is None else torch.tanh(scores / self.softcap) * self.softcap


@runtime_checkable
class Layout(Protocol):
    """Says what the N tokens of one forward pass see."""

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "N heads dim"],
        key: Float[Tensor, "N kv_heads dim"],
        value: Float[Tensor, "N kv_heads dim"],
        scoring: Scoring,
    ) -> Float[Tensor, "N heads dim"]:
        """The attention of layer `layer`."""


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    layout: Layout | None = None,
    s_aux: Tensor | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; query is [1, heads, N, dim], the result [1, N, heads, dim]."""
    if layout is None or s_aux is not None:
        raise NotImplementedError(f"{type(module).__name__} asks for attention that layouts do not know")
    scoring = Scoring(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap)
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    if not torch.is_autocast_enabled(query.device.type):
        return layout.attend(module.layer_idx, q, k, v, scoring)[None], None
    # Mixed precision is for linear layers. On a CPU bfloat16 attention is several times slower than float32.
    wide = torch.float32 if query.device.type == "cpu" else value.dtype
    with torch.autocast(query.device.type, enabled=False):
        return layout.attend(module.layer_idx, q.to(wide), k.to(wide), v.to(wide), scoring)[None], None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)


@contextmanager
def by_layout(model: Any) -> Iterator[None]:
    """Within, the model's layers attend as the `layout` of each forward pass says."""
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def folded(query: Float[Tensor, "B T heads dim"], kv_heads: int) -> Float[Tensor, "B kv_heads TG dim"]:
    """Queries with the heads that share a key head as further query rows: one matrix product serves them all."""
    rows, length, heads, dim = query.shape
    grouped = query.reshape(rows, length, kv_heads, heads // kv_heads, dim).transpose(1, 2)
    return grouped.reshape(rows, kv_heads, length * (heads // kv_heads), dim)


def unfolded(out: Float[Tensor, "B kv_heads TG dim"], length: int) -> Float[Tensor, "B T heads dim"]:
    """The inverse of `folded`."""
    rows, kv_heads, _, dim = out.shape
    return out.view(rows, kv_heads, length, -1, dim).transpose(1, 2).reshape(rows, length, -1, dim)
