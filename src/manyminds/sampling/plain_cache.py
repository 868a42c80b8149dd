"""The cache as the model itself keeps it, for architectures that no layout fits.

Prompts are padded on the left and copied where answers part; prompts enter only when all rows before them have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from manyminds.policy.line_model import LineModel
from manyminds.records import Ids


class PlainCache:
    """What `SharedPrefixCache` does, by the model's own forward pass and cache."""

    path = "model's own cache"
    enters_late = False

    def __init__(self, model: LineModel, capacity: int, max_tokens: int) -> None:
        self.model, self.capacity, self.rows = model.model, capacity, 0
        self.cache: Any = None

    def admit(self, prompts: Sequence[Ids]) -> Float[Tensor, "P V"]:
        """Run the prompts and open a row on each; the logits of their first tokens."""
        tokens, self.mask = left_padded(prompts, self.model.device)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        self.cache = DynamicCache(config=self.model.config)
        self.rows, self.position = len(prompts), positions[:, -1:]
        return self._forward(tokens, positions)

    def fork(self, parents: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Rows that go on from these rows, in this order."""
        self._select(parents)
        self.position = self.position[parents]
        return torch.arange(len(parents), device=parents.device)

    def _select(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.mask, self.rows = self.mask[rows], len(rows)

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows V"]:
        """Run one more token of every row; the logits of the next."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(self.rows, 1)], dim=1)
        self.position = self.position + 1
        return self._forward(tokens[:, None], self.position)

    def _forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits of the last position, float32 or wider."""
        out = self.model(
            input_ids=tokens,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def left_padded(rows: Sequence[Ids], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Prompts as one left-padded tensor, and the mask of their real tokens."""
    width = max(len(row) for row in rows)
    tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return tokens, mask
