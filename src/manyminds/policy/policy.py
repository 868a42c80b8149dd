"""What the training step asks of the model it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from manyminds.batch import Batch, Row
from manyminds.objective import Outputs
from manyminds.records import Scores, Span


@runtime_checkable
class Policy(Protocol):
    """A model with its optimiser. `version` counts optimiser steps."""

    version: int

    def split(self, rows: Sequence[Row]) -> list[Batch]:
        """The rows as micro-batches that fit in memory; every row in exactly one."""

    def forward(self, batch: Batch, needs: frozenset[str]) -> Outputs:
        """Log-probs of the targets (with gradient), and what `needs` names."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`."""

    def update(self, lr_scale: float) -> dict[str, float]:
        """One optimiser step with the gradient gathered; returns "grad_norm" and "lr".

        Raises NotFinite, the weights unchanged, for a gradient that is not finite.
        """

    def forget(self) -> None:
        """Drop the gradient gathered so far."""

    def finite(self) -> bool:
        """Whether the gradient gathered so far is."""

    def score(self, spans: Sequence[Span], model: str = "policy") -> Scores:
        """The spans under the policy or another model it holds ("reference"), without gradient, by span key."""
