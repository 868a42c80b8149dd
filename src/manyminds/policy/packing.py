"""Rows as one line of tokens without padding, and what rows have in common in it once.

The answers to a question share their prompt, and a borrowed answer shares it with those drawn under it. Answers to one
prompt often begin alike, and some are drawn twice: a token that stands behind the same tokens is one token of the line.
Linear layers and norms see N tokens in a line; only attention is laid out as a padded grid, twice: prompts over
themselves, and responses over their prompt and themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.policy.attention import Scoring, folded, unfolded
from manyminds.records import Ids

MATH_SCORES = 1 << 24
"""Scores up to this many are computed as they stand, which is faster; above, by the fused kernel, which keeps none but
knows no soft cap: models that have one compute all scores as they stand."""


class _Spread(torch.autograd.Function):
    """Tokens of the line at the places of a grid. Backward adds up all places of a token."""

    @staticmethod
    def forward(ctx: Any, line: Tensor, token_of_place: Tensor) -> Tensor:
        ctx.save_for_backward(token_of_place)
        ctx.tokens = len(line)
        return line.index_select(0, token_of_place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (token_of_place,) = ctx.saved_tensors
        line = gradient.new_zeros(ctx.tokens, *gradient.shape[1:])
        return line.index_add_(0, token_of_place, gradient), None


class _Gather(torch.autograd.Function):
    """Each token's own place of the grid, back in the line. No other place is read."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, token_of_place: Tensor, place_of_token: Tensor, owned: Tensor) -> Tensor:
        ctx.save_for_backward(token_of_place, owned)
        return grid.index_select(0, place_of_token)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        token_of_place, owned = ctx.saved_tensors
        return gradient.index_select(0, token_of_place) * owned[:, None, None], None, None, None


def spread(line: Float[Tensor, "N H D"], tokens: Int[Tensor, "rows width"]) -> Float[Tensor, "rows width H D"]:
    """The line's tokens of these numbers as a grid."""
    apply: Any = _Spread.apply
    grid: Tensor = apply(line, tokens.flatten())
    return grid.view(*tokens.shape, *line.shape[1:])


class Grid:
    """Tokens `begin` to `end` of the line as a right-padded grid; a token may stand in several rows, and is read back
    from the first. What stands at padding is read by nobody and has no gradient."""

    def __init__(self, rows: Sequence[Sequence[int]], begin: int, end: int, device: Any) -> None:
        self.begin, self.end, self.rows = begin, end, len(rows)
        self.lengths = torch.tensor([len(row) for row in rows])
        self.width = int(self.lengths.max())
        filled = np.arange(self.width) < self.lengths[:, None].numpy()
        tokens = np.zeros(filled.shape, np.int64)
        tokens[filled] = np.concatenate([np.asarray(row, np.int64) for row in rows]) - begin
        firsts = np.unique(tokens[filled], return_index=True)[1]
        places = np.flatnonzero(filled)[firsts]
        owned = np.zeros(filled.size, bool)
        owned[places] = True
        arrays = (tokens.ravel(), places, owned)
        self.tokens, self.places, self.owned = (torch.from_numpy(array).to(device) for array in arrays)

    def spread(self, line: Float[Tensor, "N H D"]) -> Float[Tensor, "rows width H D"]:
        """This part of the line as a grid."""
        return spread(line[self.begin : self.end], self.tokens.view(self.rows, self.width))

    def gather(self, grid: Float[Tensor, "rows width H D"]) -> Float[Tensor, "n H D"]:
        """The grid as a part of the line."""
        gather: Any = _Gather.apply
        line: Tensor = gather(grid.flatten(0, 1), self.tokens, self.places, self.owned.to(grid.dtype))
        return line


class Packed:
    """The line of tokens of some (prompt, response) rows, as a layout for `policy.attention`.

    A response's last token is not run: nothing is predicted from it. `predicts` names, for every response token of
    every row in order, the token of the line that predicts it.
    """

    def __init__(self, rows: Sequence[tuple[Ids, Ids]], device: torch.device | str = "cpu") -> None:
        prompts = list(dict.fromkeys(prompt for prompt, _ in rows))
        number = {prompt: i for i, prompt in enumerate(prompts)}
        lengths = [len(prompt) for prompt in prompts]
        ends = np.cumsum(lengths).tolist()
        line = [token for prompt in prompts for token in prompt]
        positions = [place for n in lengths for place in range(n)]
        distinct = sorted({(number[prompt], ids[:-1]) for prompt, ids in rows})
        paths: dict[tuple[int, Ids], list[int]] = {}
        before: tuple[int, Ids] = (-1, ())
        for row in distinct:  # sorted, so that what a row shares with any before it, it shares with the last
            known = common(before[1], row[1]) if row[0] == before[0] else 0
            fresh = row[1][known:]
            paths[row] = (paths[before][:known] if known else []) + list(range(len(line), len(line) + len(fresh)))
            positions += range(lengths[row[0]] + known, lengths[row[0]] + len(row[1]))
            line += fresh
            before = row
        self.tokens, self.positions = torch.tensor(line, device=device), torch.tensor(positions, device=device)
        self.prompts = Grid([range(end - n, end) for end, n in zip(ends, lengths, strict=True)], 0, ends[-1], device)
        long = [row for row in distinct if row[1]]
        self.responses = Grid([paths[row] for row in long], ends[-1], len(line), device) if long else None
        self.prompt_of = torch.tensor([row[0] for row in long], dtype=torch.long, device=device)
        self.seen = self._seen_by_responses()
        whole = [(number[prompt], ids[:-1]) for prompt, ids in rows]
        predicting = [
            token for row, (_, ids) in zip(whole, rows, strict=True) if ids for token in (ends[row[0]] - 1, *paths[row])
        ]
        self.predicts = torch.tensor(predicting, dtype=torch.long, device=device)
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
            keys, values = (spread(line, self.seen) for line in (key, value))
            mask = self._mask("responses", scoring.window, query)
            out.append(self.responses.gather(attention(self.responses.spread(query), keys, values, mask, scoring)))
        return torch.cat(out)

    def _seen_by_responses(self) -> Int[Tensor, "rows S"]:
        """The tokens that each row of the responses looks at: its prompt and itself, both padded."""
        if self.responses is None:
            return self.prompts.tokens[:0, None]
        far = self.prompts.tokens.view(self.prompts.rows, -1)[self.prompt_of]
        own = self.responses.tokens.view(self.responses.rows, -1) + self.responses.begin
        return torch.cat([far, own], 1)

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


def common(one: Ids, other: Ids) -> int:
    """How many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


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
