"""How much the clip of a loss cuts off, as TRL tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from manyminds.batch import Batch, counted
from manyminds.objective import Outputs, Term
from manyminds.records import Example


@runtime_checkable
class Clips(Protocol):
    """What a term computes per token, where it clips. `by_answer`: its ratio is a whole answer's."""

    cuts: ClassVar[tuple[str, ...]]

    @property
    def by_answer(self) -> bool: ...

    def cut(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """By metric name, where the clip takes effect ("B T"); at all tokens if the ratio is the whole answer's."""


class Clipping:
    """The shares of an update's tokens, or of its answers where the ratio is an answer's, that the clip cuts off.

    Of everything that the clipping terms read, also of rows without credit, which cost no forward pass and are never
    cut. Terms that need no old log-probs are left out: their ratio is 1.
    """

    def __init__(self, examples: Sequence[Example], terms: Sequence[Term]) -> None:
        self.terms: list[tuple[int, Clips]] = []
        self.of: dict[str, int] = {}
        self._seen: dict[str, list[Tensor]] = {}
        for k, term in enumerate(terms):
            if isinstance(term.per_token, Clips) and "old_logprobs" in term.needs:
                self.terms.append((k, term.per_token))
                lengths = [counted(example) for example in examples if example.kind == term.kind]
                all_of_it = len(lengths) if term.per_token.by_answer else sum(lengths)
                for name in term.per_token.cuts:
                    self.of[name] = self.of.get(name, 0) + all_of_it
                    self._seen[name] = []

    @torch.no_grad()
    def see(self, outputs: Outputs, batch: Batch) -> None:
        """Take in a batch."""
        for k, clips in self.terms:
            there = (batch.weights[k] != 0).to(outputs.logprobs.dtype)
            weights = there / batch.mask.sum(-1, keepdim=True).clamp(min=1) if clips.by_answer else there
            for name, cut in clips.cut(outputs, batch).items():
                self._seen[name].append((cut * weights).sum())

    @property
    def metrics(self) -> dict[str, float]:
        """The shares by name; 0 where nothing had credit, empty if nothing can be cut."""
        return {
            name: float(torch.stack(seen).sum()) / max(1, self.of[name]) if seen else 0.0
            for name, seen in self._seen.items()
        }
