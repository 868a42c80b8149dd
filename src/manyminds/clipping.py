"""How much the clip of a loss cuts off, as TRL tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from manyminds.batch import Batch, counted
from manyminds.objective import Outputs, Term
from manyminds.records import Example


@runtime_checkable
class Clips(Protocol):
    """What a term computes per token, where it clips."""

    def cut(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """By metric name, where the clip takes effect ("B T"); at all tokens if the ratio is the whole answer's."""


class Clipping:
    """The shares of an update's tokens that the clip cuts off.

    Of everything that the clipping terms read, also of rows without credit, which cost no forward pass and are never
    cut. Nothing is told where an update has no old log-probs: the ratio is 1 there.
    """

    def __init__(self, examples: Sequence[Example], terms: Sequence[Term]) -> None:
        self.terms = [(k, term) for k, term in enumerate(terms) if isinstance(term.per_token, Clips)]
        kinds = {term.kind for _, term in self.terms}
        self.tokens = sum(counted(example) for example in examples if example.kind in kinds)
        self._seen: dict[str, list[Tensor]] = defaultdict(list)

    @torch.no_grad()
    def see(self, outputs: Outputs, batch: Batch) -> None:
        """Take in a batch."""
        if "old_logprobs" not in batch.planes:
            return
        for k, term in self.terms:
            assert isinstance(term.per_token, Clips)
            for name, cut in term.per_token.cut(outputs, batch).items():
                self._seen[name].append((cut & (batch.weights[k] != 0)).sum())

    @property
    def metrics(self) -> dict[str, float]:
        """The shares by name; empty if nothing was seen."""
        return {name: float(torch.stack(seen).sum()) / max(1, self.tokens) for name, seen in self._seen.items()}
