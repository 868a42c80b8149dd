"""Keys and values of the rows being drawn, with every prompt in it once.

A row is one answer in the making. All rows write their next token's keys at the same column, so a step is one slice
assignment and a row's own part of the cache is the columns since its start. Rows leave by the last one moving into
their place; new ones are appended.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.policy.attention import Scoring
from manyminds.policy.line_model import LineModel
from manyminds.policy.packing import Packed
from manyminds.records import Ids


class SharedPrefixCache:
    """The cache and the two forward passes that fill it: `admit` for prompts, `step` for one token of every row.

    Up to `capacity` rows of up to `max_tokens` tokens each. Also the layout of its own decode steps.
    """

    path = "shared prefix"

    def __init__(self, model: LineModel, capacity: int, max_tokens: int) -> None:
        self.model, self.capacity = model, capacity
        # A row that enters late needs max_tokens columns from there on; the window is moved back when it is full.
        self.columns = max_tokens if max_tokens < 2 else max_tokens + max_tokens // 2
        self.column = 0
        self.prefix: Tensor | None = None
        self.suffix: Tensor | None = None
        device = self.device = model.model.device
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)  # of prompts
        self.prompt = torch.zeros(0, dtype=torch.long, device=device)  # of rows
        self.start = torch.zeros(0, dtype=torch.long, device=device)

    @property
    def rows(self) -> int:
        """How many rows are being drawn."""
        return len(self.prompt)

    @property
    def room(self) -> int:
        """How many more rows may enter."""
        return self.capacity - self.rows

    # What enters and what leaves.

    def admit(self, prompts: Sequence[Ids], counts: Sequence[int]) -> Float[Tensor, "rows V"]:
        """Run every prompt once and open `counts[i]` rows on it; the logits of the new rows' first tokens."""
        packed = Packed([(prompt, ()) for prompt in prompts], self.device)
        prefill = _Prefill(packed)
        hidden = self.model.hidden(packed.tokens, packed.positions, prefill)[packed.predicts]
        fresh = torch.stack(prefill.grids)
        kept = torch.unique(self.prompt)
        self.prompt = torch.searchsorted(kept, self.prompt)
        self.prefix = fresh if self.prefix is None else _beside(self.prefix[:, :, kept], fresh)
        self.lengths = torch.cat([self.lengths[kept], packed.prompts.lengths.to(self.device)])
        which = torch.repeat_interleave(torch.tensor(counts, device=self.device))
        self.prompt = torch.cat([self.prompt, packed.prompt_of[which] + len(kept)])
        if self.suffix is None:
            layers, two, _, kv_heads, _, dim = fresh.shape
            self.suffix = fresh.new_zeros(layers, two, self.capacity, kv_heads, self.columns, dim)
        self.start = torch.cat([self.start, torch.full_like(which, self.column)])
        self._regroup()
        return self.model.logits(hidden)[which]

    def keep(self, rows: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Only these rows (in rising order) go on. Returns the order in which they stand now: the last ones have moved
        into the places of those that left."""
        assert self.suffix is not None
        n = len(rows)
        places = torch.arange(n, device=rows.device)
        holes = places[~torch.isin(places, rows)]
        movers = rows[rows >= n]
        first = self._first()
        if len(holes):
            self.suffix[:, :, holes, :, first : self.column] = self.suffix[:, :, movers, :, first : self.column]
        order = places.clone()
        order[holes] = movers
        self.prompt, self.start = self.prompt[order], self.start[order]
        self._regroup()
        return order

    def _first(self) -> int:
        return int(self.start.min()) if len(self.start) else self.column

    def _regroup(self) -> None:
        """Which lane of its prompt each row has: the queries of a prompt's rows read its keys together."""
        counts = torch.bincount(self.prompt, minlength=len(self.lengths))
        self.lanes = int(counts.max()) if self.rows else 0
        order = torch.argsort(self.prompt, stable=True)
        lane = torch.empty_like(order)
        lane[order] = torch.arange(self.rows, device=order.device) - (counts.cumsum(0) - counts)[self.prompt[order]]
        self.place = self.prompt * self.lanes + lane
        self.regular = bool(torch.equal(self.place, torch.arange(len(self.lengths) * self.lanes, device=order.device)))
        self.row_of_place = order.new_zeros(len(self.lengths) * self.lanes)
        self.row_of_place[self.place] = torch.arange(self.rows, device=order.device)
        self.first = self._first()
        self.mixed_starts = bool((self.start != self.first).any())
        width = self.prefix.shape[4] if self.prefix is not None else 0
        columns = torch.arange(width, device=order.device)
        beyond = columns >= self.lengths[self.prompt][:, None]
        self.far_mask = self._hidden(beyond) if bool(beyond.any()) else None

    def _hidden(self, where: Tensor) -> Tensor:
        """-inf where a row sees nothing, for its scores."""
        assert self.prefix is not None
        zeros = torch.zeros(where.shape, dtype=self.prefix.dtype, device=where.device)
        return zeros.masked_fill_(where, -torch.inf)[:, None, None]

    # One token more of every row.

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows V"]:
        """Run one more token of every row; the logits of the next."""
        if self.column == self.columns:
            self._move_back()
        positions = self.lengths[self.prompt] + (self.column - self.start)
        logits = self.model.logits(self.model.hidden(tokens, positions, self))
        self.column += 1
        return logits

    def _move_back(self) -> None:
        """The columns in use to the front of the window."""
        assert self.suffix is not None
        used = self.suffix[:, :, : self.rows, :, self.first : self.column].clone()
        self.suffix[:, :, : self.rows, :, : used.shape[4]] = used
        self.start, self.column, self.first = self.start - self.first, self.column - self.first, 0

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows heads dim"],
        key: Float[Tensor, "rows kv_heads dim"],
        value: Float[Tensor, "rows kv_heads dim"],
        scoring: Scoring,
    ) -> Float[Tensor, "rows heads dim"]:
        """Every row over its prompt, which its siblings read in the same product, and over its own tokens."""
        assert self.prefix is not None
        assert self.suffix is not None
        rows, heads, dim = query.shape
        kv_heads, end = key.shape[1], self.column + 1
        first = self.first if scoring.window is None else max(self.first, end - scoring.window)
        own = self.suffix[layer, :, :rows]
        own[0, :, :, self.column], own[1, :, :, self.column] = key, value
        keys, values = own[0, :, :, first:end], own[1, :, :, first:end]
        queries = (query * scoring.scaling).reshape(rows, kv_heads, heads // kv_heads, dim)
        far = self._by_row(torch.matmul(self._by_prompt(queries), self.prefix[layer, 0].transpose(-1, -2)))
        near = torch.matmul(queries, keys.transpose(-1, -2))
        far_mask, near_mask = self._masks(first, end, scoring.window)
        scores = scoring.cap(torch.cat([far, near], -1))
        width = far.shape[-1]
        if far_mask is not None:
            scores[..., :width] += far_mask
        if near_mask is not None:
            scores[..., width:] += near_mask
        weights = scores.softmax(-1)
        out = self._by_row(torch.matmul(self._by_prompt(weights[..., :width]), self.prefix[layer, 1]))
        return (out + torch.matmul(weights[..., width:], values)).reshape(rows, heads, dim)

    def _masks(self, first: int, end: int, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """What hides prompt padding and what lies behind the window, and what stood in a column before the row did."""
        far, near = self.far_mask, None
        if window is not None:
            assert self.prefix is not None
            columns = torch.arange(self.prefix.shape[4], device=self.start.device)
            positions = (self.lengths[self.prompt] + (self.column - self.start))[:, None]
            lengths = self.lengths[self.prompt][:, None]
            far = self._hidden((columns >= lengths) | (positions - columns >= window))
        if self.mixed_starts:
            near = self._hidden(torch.arange(first, end, device=self.start.device) < self.start[:, None])
        return far, near

    def _by_prompt(self, of_rows: Float[Tensor, "rows kv_heads group E"]) -> Float[Tensor, "P kv_heads LG E"]:
        """What belongs to the rows of one prompt, stacked; places without a row hold another row's, read by nobody."""
        _, kv_heads, group, width = of_rows.shape
        placed = of_rows if self.regular else of_rows.index_select(0, self.row_of_place)
        by_prompt = placed.reshape(-1, self.lanes, kv_heads, group, width).transpose(1, 2)
        return by_prompt.reshape(-1, kv_heads, self.lanes * group, width)

    def _by_row(self, of_prompts: Float[Tensor, "P kv_heads LG E"]) -> Float[Tensor, "rows kv_heads group E"]:
        """The inverse of `_by_prompt`."""
        prompts, kv_heads, stacked, width = of_prompts.shape
        placed = of_prompts.reshape(prompts, kv_heads, self.lanes, stacked // self.lanes, width).transpose(1, 2)
        flat = placed.reshape(prompts * self.lanes, kv_heads, stacked // self.lanes, width)
        return flat if self.regular else flat.index_select(0, self.place)


class _Prefill:
    """The layout of prompts over themselves that keeps the keys and values it sees, [2, prompts, kv_heads, M, dim]."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.grids: list[Tensor] = []

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "N heads dim"],
        key: Float[Tensor, "N kv_heads dim"],
        value: Float[Tensor, "N kv_heads dim"],
        scoring: Scoring,
    ) -> Float[Tensor, "N heads dim"]:
        """As `Packed` does."""
        grid = self.packed.prompts
        self.grids.append(torch.stack([grid.spread(key), grid.spread(value)]).transpose(2, 3).contiguous())
        return self.packed.attend(layer, query, key, value, scoring)


def _beside(old: Tensor, new: Tensor) -> Tensor:
    """Two stacks of prompts' keys and values as one, padded to the longer."""
    width = max(old.shape[4], new.shape[4])
    pad = torch.nn.functional.pad
    return torch.cat([pad(part, (0, 0, 0, width - part.shape[4])) for part in (old, new)], dim=2)
