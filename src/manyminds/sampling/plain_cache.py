"""The cache as the model itself keeps it, for architectures that no layout fits.

Prompts are padded on the left and copied to each of their rows; rows enter only when all before them have left.
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

    def __init__(self, model: LineModel, capacity: int, max_tokens: int) -> None:
        self.model, self.capacity, self.rows = model.model, capacity, 0
        self.cache: Any = None

    @property
    def room(self) -> int:
        """How many rows may enter: none until the batch is empty."""
        return 0 if self.rows else self.capacity

    def admit(self, prompts: Sequence[Ids], counts: Sequence[int]) -> Float[Tensor, "rows V"]:
        """Run the prompts once and open `counts[i]` rows on each; the logits of their first tokens."""
        device = self.model.device
        tokens, self.mask = left_padded(prompts, device)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        self.cache = DynamicCache(config=self.model.config)
        which = torch.repeat_interleave(torch.tensor(counts, device=device))
        logits = self._forward(tokens, positions)[which]
        self._select(which)
        self.position = positions[which, -1:]
        return logits

    def keep(self, rows: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Only these rows go on, in the order given."""
        self._select(rows)
        self.position = self.position[rows]
        return rows

    def _select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
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
