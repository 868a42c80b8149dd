"""Draws answers in this process from a Hugging Face causal language model.

Every prompt is run once for all its answers and stays in the cache once (sampling/cache.py), and so does what answers
have in common, until they part; finished answers leave the batch and waiting ones enter; every answer has its own
stream of random numbers, so that it comes out the same whatever else is drawn beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyminds import clock
from manyminds.errors import UserError
from manyminds.policy.fitting import fitted
from manyminds.policy.line_model import LineModel
from manyminds.policy.policy import Policy
from manyminds.records import Ask, Decoding, Ids, Prompt, Rollout
from manyminds.sampling.cache import SharedPrefixCache
from manyminds.sampling.draws import choose, uniforms
from manyminds.sampling.plain_cache import PlainCache
from manyminds.sampling.stopping import Stopping
from manyminds.sections import Engine

ENTER_AT = 1 / 4
"""Waiting answers enter once this share of the capacity is free, so that several prompts are run at a time."""


@dataclass(frozen=True, slots=True)
class Place:
    """An answer to be drawn: to which prompt, and the how-many-eth to it in this draw."""

    prompt: Prompt
    answer: int


class _Drawn:
    """What has been drawn so far, a line per answer; columns are response positions."""

    def __init__(self, lines: int, width: int, model: Any) -> None:
        self.width, device = width, model.device
        wide = torch.promote_types(model.dtype, torch.float32)
        self.tokens = torch.zeros(lines, width, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(lines, width, dtype=wide, device=device)
        self.entropies = torch.zeros(lines, width, dtype=wide, device=device)
        self.lengths = torch.zeros(lines, dtype=torch.long, device=device)
        self.stopped = torch.zeros(lines, dtype=torch.bool, device=device)

    def add(self, lines: Tensor, tokens: Tensor, logprobs: Tensor, entropies: Tensor, stopping: Stopping) -> Tensor:
        """One more token of these answers; which of them go on after it."""
        at = self.lengths[lines]
        self.tokens[lines, at], self.logprobs[lines, at], self.entropies[lines, at] = tokens, logprobs, entropies
        self.lengths[lines] = at + 1
        self.stopped[lines] = stopped = stopping(self.tokens, lines, at)
        return ~stopped & (at + 1 < self.width)


class TransformersSampler:
    """Samples from `model` (shared with the policy that trains it).

    At most `engine.answers_at_once` answers run together. Answers end at a token of `stop_ids`, or with one that
    completes a string of `decoding.stop`; it is kept. `path` says how the cache is kept: "shared prefix", or "model's
    own cache" for architectures that no layout fits.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        decoding: Decoding,
        *,
        stop_ids: Ids,
        engine: Engine | None = None,
    ) -> None:
        self.model, self.tokenizer, self.decoding = model, tokenizer, decoding
        self.ends = frozenset(stop_ids)
        self.stopping = partial(Stopping, stop_ids, tokenizer=tokenizer, device=model.device)
        self.engine = fitted(engine or Engine(), model, decoding.max_tokens)
        self.line_model = LineModel(model, self.engine.precision)
        self.cache = SharedPrefixCache if self.line_model.fits else PlainCache
        self.path = self.cache.path
        self.version = 0

    def load(self, policy: Policy) -> None:
        """The model is the policy's own: only its version is new."""
        with clock.span("sync"):
            self.version = policy.version

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        """All answers, in the order of the asks. Raises UserError for decoding that this sampler cannot do."""
        before: Counter[tuple[str, str]] = Counter()
        rollouts: list[Rollout] = []
        for decoding, its in groupby(asks, key=lambda ask: ask.decoding or self.decoding):
            if decoding.mixture or decoding.environment:
                raise UserError("the transformers sampler draws from one model in one turn: no mixture, no environment")
            places = list(_places(its, before))
            rollouts += self._rollouts(places, self._draw(places, decoding, draw))
        return tuple(rollouts)

    @torch.inference_mode()
    def _draw(self, places: Sequence[Place], decoding: Decoding, draw: str) -> _Drawn:
        """One token of every running answer and pass, until no answer runs and none waits."""
        device, width = self.model.device, decoding.max_tokens
        stopping = self.stopping(decoding.stop)
        drawn, waiting = _Drawn(len(places), width, self.model), longest_first(places)
        noise = torch.zeros(len(places), width, dtype=torch.float64, device=device)
        cache = self.cache(self.line_model, min(self.engine.answers_at_once or 1, len(places)), width)
        # The answers that run, the row of the cache at which each stands, and what the model says after each row.
        lines = rows = torch.zeros(0, dtype=torch.long, device=device)
        logits = torch.zeros(0, device=device)
        with self.line_model.running():
            while waiting or len(lines):
                if waiting and self._enters(cache, len(lines), len(waiting)):
                    with clock.span("prefill"):
                        entering, waiting = self._entering(cache, waiting, places, cache.capacity - len(lines))
                        noise[entering] = self._noise([places[i] for i in entering], decoding, draw)
                        prompts, counts = runs(places[i].prompt.ids for i in entering)
                        opened = torch.arange(len(prompts)).repeat_interleave(torch.tensor(counts)).to(device)
                        lines = torch.cat([lines, torch.tensor(entering, device=device)])
                        rows = torch.cat([rows, len(logits) + opened])
                        logits = torch.cat([logits, cache.admit(prompts)])
                with clock.span("decode"):
                    at = noise[lines, drawn.lengths[lines]] if decoding.temperature > 0 else None
                    chosen = choose(logits, decoding.temperature, rows, at)
                    running = drawn.add(lines, *chosen, stopping)
                    lines, rows, tokens = lines[running], rows[running], chosen[0][running]
                    rows, parents, tokens = parted(rows, tokens)
                    order = cache.fork(parents)
                    rows = torch.argsort(order)[rows]
                    logits = cache.step(tokens[order]) if len(order) else logits[:0]
        return drawn

    @staticmethod
    def _enters(cache: SharedPrefixCache | PlainCache, running: int, waiting: int) -> bool:
        """Whether waiting answers enter now: when a good part of the capacity is free, so that prompts run together."""
        if not cache.enters_late:
            return running == 0
        return cache.capacity - running >= min(ENTER_AT * cache.capacity, waiting)

    def _entering(
        self, cache: SharedPrefixCache | PlainCache, waiting: list[int], places: Sequence[Place], room: int
    ) -> tuple[list[int], list[int]]:
        """Who enters, and who waits on: as many as there is room for, and as a prefill of `tokens_at_once` holds."""
        if cache.enters_late and self.engine.tokens_at_once:
            prompts = [places[i].prompt.ids for i in waiting[:room]]
            fresh = [len(ids) * (i == 0 or ids != prompts[i - 1]) for i, ids in enumerate(prompts)]
            room = max(1, int(np.searchsorted(np.cumsum(fresh), self.engine.tokens_at_once, side="right")))
        return waiting[:room], waiting[room:]

    def _noise(self, places: Sequence[Place], decoding: Decoding, draw: str) -> Tensor:
        """The uniform numbers of these answers, one for each token they may have."""
        n = decoding.max_tokens
        if decoding.temperature == 0:
            return torch.zeros(len(places), n, dtype=torch.float64, device=self.model.device)
        drawn = np.stack([uniforms(draw, place.prompt.group_id, place.answer, n) for place in places])
        return torch.from_numpy(drawn).to(self.model.device)

    def _rollouts(self, places: Sequence[Place], drawn: _Drawn) -> list[Rollout]:
        lengths, stopped = drawn.lengths.tolist(), drawn.stopped.tolist()
        tokens, logprobs, entropies = drawn.tokens.tolist(), drawn.logprobs.tolist(), drawn.entropies.tolist()
        ids = [tuple(line[:n]) for line, n in zip(tokens, lengths, strict=True)]
        # What ends an answer is no part of its text, also where the tokenizer does not call it special.
        said = [list(i[:-1] if i and i[-1] in self.ends else i) for i in ids]
        texts = self.tokenizer.batch_decode(said, skip_special_tokens=True)
        return [
            Rollout(
                prompt=place.prompt,
                ids=ids[i],
                logprobs=tuple(logprobs[i][: lengths[i]]),
                text=texts[i],
                finish="stop" if stopped[i] else "length",
                entropies=tuple(entropies[i][: lengths[i]]),
                policy_version=self.version,
            )
            for i, place in enumerate(places)
        ]


def _places(asks: Iterable[Ask], before: Counter[tuple[str, str]]) -> Iterator[Place]:
    """`before` counts the answers to each prompt, so that a prompt asked twice is answered anew."""
    for ask in asks:
        first = before[ask.prompt.group_id]
        before[ask.prompt.group_id] += ask.n
        yield from (Place(ask.prompt, first + g) for g in range(ask.n))


def longest_first(places: Sequence[Place]) -> list[int]:
    """The order in which answers enter: prompts of like length together, so that little of their cache is padding."""
    return sorted(range(len(places)), key=lambda i: -len(places[i].prompt.ids))


def parted(rows: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Answers at these rows that go on with these tokens, as branches: the branch of each answer, and of each branch
    the row it grows from and its token. Answers that have all tokens in common are computed once."""
    base = int(tokens.max()) + 1 if len(tokens) else 1
    branches, branch = torch.unique(rows * base + tokens, return_inverse=True)
    return branch, branches // base, branches % base


def runs(prompts: Iterable[Ids]) -> tuple[list[Ids], list[int]]:
    """Neighbours that are equal, once, and how often each stood there."""
    grouped = [(prompt, len(list(its))) for prompt, its in groupby(prompts)]
    return [prompt for prompt, _ in grouped], [n for _, n in grouped]
