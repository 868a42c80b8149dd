"""Keys and values of the rows being drawn, with every prompt in it once.

A row is a beginning of an answer, and of every answer that has begun so: it splits where they part. All rows write
their next token's keys at the same column, so a step is one slice assignment and a row's own part of the cache is the
columns since its start. Columns come in blocks: a full one is read from end to end, where a processor runs ahead of the
reader. What changes with every token is on the device; who stands where is kept in numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.policy.attention import Scoring
from manyminds.policy.line_model import LineModel
from manyminds.policy.packing import Packed
from manyminds.records import Ids

COPIED_UP_TO = 16
"""Prompts of so few tokens are copied to their rows: reading them once for all costs more than it saves."""

BLOCK = 1 << 19
"""Keys of a block on a CPU. Rows of all columns, with free ones between the rows, are read three times slower."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class SharedPrefixCache:
    """The cache and the two forward passes that fill it: `admit` for prompts, `step` for one token of every row.

    Up to `capacity` rows of up to `max_tokens` tokens each; prompts must be admitted longest first. Also the layout of
    its own decode steps.
    """

    path = "shared prefix"
    enters_late = True
    """Whether prompts may enter while rows are running."""

    def __init__(self, model: LineModel, capacity: int, max_tokens: int) -> None:
        self.model, self.capacity = model, capacity
        self.device = model.model.device
        # A row that enters late needs max_tokens columns from there on; the window is moved back when it is full.
        self.columns = max_tokens + max_tokens // 2 + COPIED_UP_TO
        self.column = 0
        self.prefix: Tensor | None = None
        self.suffix: Tensor | None = None
        self.lengths: Numbers = np.zeros(0, np.int64)  # of the prompts in the prefix
        self.prompt: Numbers = np.zeros(0, np.int64)  # of each row, in the prefix
        self.start: Numbers = np.zeros(0, np.int64)  # each row's first column

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.start)

    # What enters and what leaves.

    def admit(self, prompts: Sequence[Ids]) -> Float[Tensor, "P V"]:
        """Run the prompts and open a row on each; the logits of their first tokens."""
        packed = Packed([(prompt, (0,)) for prompt in prompts], self.device)  # one token to be predicted after each
        prefill = _Prefill(packed)
        hidden = self.model.hidden(packed.tokens, packed.positions, prefill)[packed.predicts]
        fresh = torch.stack(prefill.grids)
        number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        of = np.array([number[prompt] for prompt in prompts])
        if self.suffix is None:
            self.copies = fresh.shape[4] <= COPIED_UP_TO
            self._open(fresh)
        if self.copies:
            self._copy(fresh, of, packed.prompts.lengths.numpy())
        else:
            self._append(fresh, of, packed.prompts.lengths.numpy())
        self._regroup()
        return self.model.logits(hidden)

    def _open(self, fresh: Tensor) -> None:
        """Room for all rows' tokens, [layers, 2, blocks, capacity, kv_heads, width, dim]."""
        layers, two, _, kv_heads, _, dim = fresh.shape
        few = max(1, BLOCK // (self.capacity * kv_heads * dim))
        self.width = min(few, self.columns) if self.device.type == "cpu" else self.columns
        blocks = -(-self.columns // self.width)
        self.columns = blocks * self.width
        self.suffix = fresh.new_zeros(layers, two, blocks, self.capacity, kv_heads, self.width, dim)

    def _spans(self, first: int, end: int) -> Iterator[tuple[int, slice]]:
        """The columns from `first` to before `end`, as blocks and what of each."""
        for block in range(first // self.width, -(-end // self.width)):
            start = block * self.width
            yield block, slice(max(first - start, 0), min(end - start, self.width))

    def _put(self, rows: slice, first: int, values: Tensor) -> None:
        """Keys and values [layers, 2, rows, kv_heads, n, dim] into the n columns from `first`."""
        assert self.suffix is not None
        spans = list(self._spans(first, first + values.shape[4]))
        parts = values.split([columns.stop - columns.start for _, columns in spans], 4)
        for (block, columns), part in zip(spans, parts, strict=True):
            self.suffix[:, :, block, rows, :, columns] = part

    def _append(self, fresh: Tensor, of: Numbers, lengths: Numbers) -> None:
        """The prompts to those in the prefix, without those that no row reads any more."""
        kept, self.prompt = np.unique(self.prompt, return_inverse=True)
        self.prefix = fresh if self.prefix is None else _beside(self.prefix[:, :, torch.from_numpy(kept)], fresh)
        self.lengths = np.concatenate([self.lengths[kept], lengths])
        self.prompt = np.concatenate([self.prompt, of + len(kept)])
        self.start = np.concatenate([self.start, np.full(len(of), self.column)])

    def _copy(self, fresh: Tensor, of: Numbers, lengths: Numbers) -> None:
        """The prompts into the columns before their rows' first tokens."""
        width = fresh.shape[4]
        self.column = max(self.column, width)
        ends = torch.from_numpy((np.arange(width) - (width - lengths[:, None])).clip(0)).to(self.device)
        aligned = fresh.gather(4, ends[None, None, :, None, :, None].expand_as(fresh))
        self._put(slice(self.rows, self.rows + len(of)), self.column - width, aligned[:, :, torch.from_numpy(of)])
        self.start = np.concatenate([self.start, self.column - lengths[of]])

    def fork(self, parents: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Rows that go on from these rows, some from the same one, some from none. Returns which of `parents` each row
        now continues. While nothing is cached the rows stand as they come, those of a prompt together."""
        assert self.suffix is not None
        wanted = parents.cpu().numpy()
        n = len(wanted)
        order = np.arange(n) if self.first == self.column else _in_place(wanted)
        holes = np.flatnonzero(wanted[order] != np.arange(n))
        if len(holes) and self.first < self.column:
            used = self.suffix[:, :, self.first // self.width : -(-self.column // self.width)]
            used[:, :, :, torch.from_numpy(holes)] = used[:, :, :, torch.from_numpy(wanted[order[holes]])]
        if len(holes) or n < self.rows:
            self.start = self.start[wanted[order]]
            self.prompt = self.prompt if self.copies else self.prompt[wanted[order]]
            self._regroup()
        return torch.from_numpy(order).to(self.device)

    def _regroup(self) -> None:
        """What a step needs to know of its rows: positions, what is hidden from them, and lanes."""
        self.first = int(self.start.min()) if self.rows else self.column
        ahead = -self.start if self.copies else self.lengths[self.prompt] - self.start
        self.ahead = torch.from_numpy(ahead).to(self.device)
        self.near_mask = None
        if self.rows and self.start.max() > self.first:
            self.near_mask = self._hidden(np.arange(self.columns) < self.start[:, None])
        if not self.copies:
            self._lanes()

    def _lanes(self) -> None:
        """Which lane of its prompt each row has: the queries of a prompt's rows read its keys in one product."""
        assert self.prefix is not None
        counts = np.bincount(self.prompt, minlength=len(self.lengths))
        self.lanes = int(counts.max()) if self.rows else 0
        order = np.argsort(self.prompt, kind="stable")
        place = np.empty_like(order)
        of = self.prompt[order]
        place[order] = of * self.lanes + np.arange(self.rows) - (counts.cumsum() - counts)[of]
        row_of_place = np.zeros(len(self.lengths) * self.lanes, np.int64)
        row_of_place[place] = np.arange(self.rows)
        self.regular = np.array_equal(place, np.arange(len(row_of_place)))
        self.place, self.row_of_place = (torch.from_numpy(x).to(self.device) for x in (place, row_of_place))
        beyond = np.arange(self.prefix.shape[4]) >= self.lengths[self.prompt][:, None]
        self.far_mask = self._hidden(beyond) if beyond.any() else None

    def _hidden(self, where: Any) -> Float[Tensor, "rows 1 1 n"]:
        """-inf where a row sees nothing, for its scores."""
        assert self.suffix is not None
        zeros = torch.zeros(where.shape, dtype=self.suffix.dtype, device=self.device)
        return zeros.masked_fill_(torch.as_tensor(where, device=self.device), -torch.inf)[:, None, None]

    # One token more of every row.

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows V"]:
        """Run one more token of every row; the logits of the next."""
        if self.column == self.columns:
            self._move_back()
        logits = self.model.logits(self.model.hidden(tokens, self.ahead + self.column, self))
        self.column += 1
        return logits

    def _move_back(self) -> None:
        """The columns in use to the front."""
        assert self.suffix is not None
        spans = self._spans(self.first, self.column)
        used = [self.suffix[:, :, block, : self.rows, :, columns].clone() for block, columns in spans]
        self.start, self.column = self.start - self.first, 0
        for part in used:
            self._put(slice(self.rows), self.column, part)
            self.column += part.shape[4]
        self._regroup()

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows heads dim"],
        key: Float[Tensor, "rows kv_heads dim"],
        value: Float[Tensor, "rows kv_heads dim"],
        scoring: Scoring,
    ) -> Float[Tensor, "rows heads dim"]:
        """Every row over its own columns, and over its prompt, which its siblings read in the same product."""
        assert self.suffix is not None
        rows, heads, dim = query.shape
        kv_heads, end = key.shape[1], self.column + 1
        first = self.first if scoring.window is None else max(self.first, end - scoring.window)
        block, place = divmod(self.column, self.width)
        now = self.suffix[layer, :, block, :rows, :, place]
        now[0], now[1] = key, value
        own = [self.suffix[layer, :, block, :rows, :, columns] for block, columns in self._spans(first, end)]
        queries = (query * scoring.scaling).reshape(rows, kv_heads, heads // kv_heads, dim)
        near = _joined([torch.matmul(queries, keys.transpose(-1, -2)) for keys, _ in own])
        near = scoring.cap(near)
        if self.near_mask is not None:
            near += self.near_mask[..., first:end]
        sizes = [keys.shape[2] for keys, _ in own]
        if self.prefix is None:
            return _weighted(near.softmax(-1).split(sizes, -1), own).reshape(rows, heads, dim)
        far = self._by_row(torch.matmul(self._by_prompt(queries), self.prefix[layer, 0].transpose(-1, -2)))
        far, far_mask = scoring.cap(far), self._far_mask(scoring.window)
        weights = torch.cat([far if far_mask is None else far + far_mask, near], -1).softmax(-1)
        of_prompt, *of_own = weights.split([far.shape[-1], *sizes], -1)
        out = self._by_row(torch.matmul(self._by_prompt(of_prompt), self.prefix[layer, 1]))
        return (out + _weighted(of_own, own)).reshape(rows, heads, dim)

    def _far_mask(self, window: int | None) -> Float[Tensor, "rows 1 1 M"] | None:
        """What hides a prompt's padding, and what of it lies before the window."""
        if window is None:
            return self.far_mask
        assert self.prefix is not None
        columns, lengths = np.arange(self.prefix.shape[4]), self.lengths[self.prompt][:, None]
        distance = lengths + (self.column - self.start)[:, None] - columns
        return self._hidden((columns >= lengths) | (distance >= window))

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


def _in_place(wanted: Numbers) -> Numbers:
    """An order of these rows that moves few: the first child of a row stays in its place, others fill free places."""
    n = len(wanted)
    children, first_child = np.unique(wanted, return_index=True)
    stays = children < n
    order = np.full(n, -1)
    order[children[stays]] = first_child[stays]
    holes = np.flatnonzero(order < 0)
    order[holes] = np.setdiff1d(np.arange(n), order, assume_unique=True)
    return order


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The blocks' scores side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)


def _weighted(weights: Sequence[Tensor], blocks: Sequence[Tensor]) -> Tensor:
    """The blocks' values, weighted and summed."""
    first, *others = (torch.matmul(w, values) for w, (_, values) in zip(weights, blocks, strict=True))
    return sum(others, first)


def _beside(old: Tensor, new: Tensor) -> Tensor:
    """Two stacks of prompts' keys and values as one, padded to the longer."""
    width = max(old.shape[4], new.shape[4])
    pad = torch.nn.functional.pad
    return torch.cat([pad(part, (0, 0, 0, width - part.shape[4])) for part in (old, new)], dim=2)
