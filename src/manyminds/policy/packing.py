"""Rows as one line of tokens without padding, every distinct prompt in it once.

The answers to a question share their prompt, and a borrowed answer shares it with those drawn under it. Linear layers
and norms see N tokens in a line; only attention is laid out as a padded grid, twice: prompts over themselves, and
responses over their prompt and themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.policy.attention import Scoring, folded, unfolded
from manyminds.records import Ids

MATH_SCORES = 1 << 24
"""Scores up to this many are computed as they stand, which is faster; above, by the fused kernel, which keeps none."""


class _Spread(torch.autograd.Function):
    """Tokens of the line spread over the places of a grid; a token stands in one place at most.

    Backward is a gather as well, where index_select would add row by row.
    """

    @staticmethod
    def forward(ctx: Any, line: Tensor, token_of_place: Tensor, place_of_token: Tensor) -> Tensor:
        ctx.save_for_backward(place_of_token)
        ctx.places = len(token_of_place)
        return line.index_select(0, token_of_place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (place_of_token,) = ctx.saved_tensors
        return gradient.index_select(0, place_of_token), None, None


class _Gather(torch.autograd.Function):
    """The grid's places read back into the line; places that no token stands in are never read."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, token_of_place: Tensor, place_of_token: Tensor, filled: Tensor) -> Tensor:
        ctx.save_for_backward(token_of_place, filled)
        return grid.index_select(0, place_of_token)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        token_of_place, filled = ctx.saved_tensors
        return gradient.index_select(0, token_of_place) * filled[:, None, None], None, None, None


class Grid:
    """Segments of the line as rows of a right-padded grid [rows, width]."""

    def __init__(self, starts: Sequence[int], lengths: Sequence[int], device: Any) -> None:
        self.rows, self.width = len(starts), max(lengths)
        self.begin, self.end = starts[0], starts[0] + sum(lengths)
        self.lengths = torch.tensor(lengths)
        column = torch.arange(self.width)
        filled = (column < self.lengths[:, None]).flatten()
        tokens = torch.tensor(starts)[:, None] - self.begin + torch.minimum(column, self.lengths[:, None] - 1)
        self.tokens = tokens.clamp(0, sum(lengths) - 1).flatten().to(device)
        self.filled, self.places = filled.to(device), filled.nonzero().squeeze(1).to(device)

    def spread(self, line: Float[Tensor, "N H D"]) -> Float[Tensor, "rows width H D"]:
        """The segments' part of the line as a grid."""
        spread: Any = _Spread.apply
        grid: Tensor = spread(line[self.begin : self.end], self.tokens, self.places)
        return grid.view(self.rows, self.width, *line.shape[1:])

    def gather(self, grid: Float[Tensor, "rows width H D"]) -> Float[Tensor, "n H D"]:
        """The grid as a part of the line."""
        filled = self.filled.to(grid.dtype)
        gather: Any = _Gather.apply
        line: Tensor = gather(grid.flatten(0, 1), self.tokens, self.places, filled)
        return line


class Packed:
    """The line of tokens of some (prompt, response) rows, as a layout for `policy.attention`.

    A response's last token is not run: nothing is predicted from it. `predicts` names, for every response token in
    order, the token of the line that predicts it.
    """

    def __init__(self, rows: Sequence[tuple[Ids, Ids]], device: torch.device | str = "cpu") -> None:
        order: dict[Ids, int] = {}
        self.prompt_of = torch.tensor([order.setdefault(prompt, len(order)) for prompt, _ in rows])
        prompts, inputs = list(order), [ids[:-1] for _, ids in rows]
        lengths, inner = [len(p) for p in prompts], [len(i) for i in inputs]
        starts = [0, *accumulate([*lengths, *inner])][:-1]
        line = [token for part in (*prompts, *inputs) for token in part]
        self.tokens = torch.tensor(line, device=device)
        self.prompts = Grid(starts[: len(prompts)], lengths, device)
        self.responses = Grid(starts[len(prompts) :], inner, device) if any(inner) else None
        of = self.prompt_of.tolist()
        after = [range(lengths[p], lengths[p] + n) for p, n in zip(of, inner, strict=True)]
        positions = [*map(range, lengths), *after]
        self.positions = torch.tensor([x for part in positions for x in part], device=device)
        last = [starts[p] + lengths[p] - 1 for p in of]
        begins = starts[len(prompts) :]
        self.predicts = torch.tensor(
            [t for i, first in enumerate(last) for t in (first, *range(begins[i], begins[i] + inner[i]))], device=device
        )
        self.prompt_of = self.prompt_of.to(device)
        self._masks: dict[tuple[str, int | None], Tensor] = {}

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "N heads dim"],
        key: Float[Tensor, "N kv_heads dim"],
        value: Float[Tensor, "N kv_heads dim"],
        scoring: Scoring,
    ) -> Float[Tensor, "N heads dim"]:
        """Prompts see themselves up to each token; responses see their prompt and themselves up to each token."""
        keys, values = self.prompts.spread(key), self.prompts.spread(value)
        mask = self._mask("prompts", scoring.window, query)
        out = [self.prompts.gather(attention(self.prompts.spread(query), keys, values, mask, scoring))]
        if self.responses is not None:
            keys, values = (
                torch.cat([far.index_select(0, self.prompt_of), self.responses.spread(own)], 1)
                for far, own in ((keys, key), (values, value))
            )
            mask = self._mask("responses", scoring.window, query)
            out.append(self.responses.gather(attention(self.responses.spread(query), keys, values, mask, scoring)))
        return torch.cat(out)

    def _mask(self, of: str, window: int | None, like: Tensor) -> Float[Tensor, "rows T S"]:
        """What is added to the scores: 0 where a token sees another, -inf where it does not. Made once per window."""
        if (of, window) not in self._masks:
            places = torch.arange(self.prompts.width, device=like.device)[None]
            queries, keys = (places, places) if of == "prompts" else self._positions(places)
            seen = _seen(queries, keys, window)
            zeros = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
            self._masks[of, window] = zeros.masked_fill_(~seen, -torch.inf)
        return self._masks[of, window]

    def _positions(self, places: Int[Tensor, "1 M"]) -> tuple[Tensor, Tensor]:
        """Where the responses' tokens stand, and what they look at: prompt, then themselves. Padding stands last."""
        assert self.responses is not None
        lengths = self.prompts.lengths.to(places.device)[self.prompt_of][:, None]
        if bool((lengths == lengths[0]).all()):
            lengths = lengths[:1]  # one line of the mask serves all rows
        own = lengths + torch.arange(self.responses.width, device=places.device)
        far = torch.where(places < lengths, places, own[:, -1:] + 1)
        return own, torch.cat([far, own], 1)


def _seen(queries: Int[Tensor, "B T"], keys: Int[Tensor, "B S"], window: int | None) -> Tensor:
    """Whether the token at a position sees the one at another: it is not later, nor before the window."""
    distance = queries[:, :, None] - keys[:, None, :]
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def attention(
    query: Float[Tensor, "B T heads dim"],
    key: Float[Tensor, "B S kv_heads dim"],
    value: Float[Tensor, "B S kv_heads dim"],
    mask: Float[Tensor, "#B T S"],
    scoring: Scoring,
) -> Float[Tensor, "B T heads dim"]:
    """softmax(cap(scaling * q·k) + mask) v. Few scores: three plain products, heads folded; many: the fused kernel."""
    rows, length, heads, _ = query.shape
    kv_heads = key.shape[2]
    keys, values = key.transpose(1, 2), value.transpose(1, 2)
    if rows * heads * length * key.shape[1] > MATH_SCORES and scoring.softcap is None:
        fused = torch.nn.functional.scaled_dot_product_attention
        out = fused(
            query.transpose(1, 2), keys, values, attn_mask=mask[:, None], scale=scoring.scaling, enable_gqa=True
        )
        return out.transpose(1, 2)
    scores = torch.matmul(folded(query * scoring.scaling, kv_heads), keys.transpose(-1, -2))
    by_token = scoring.cap(scores).view(rows, kv_heads, length, -1, key.shape[1]) + mask[:, None, :, None]
    weights = by_token.softmax(-1).view_as(scores)
    return unfolded(torch.matmul(weights, values), length)
