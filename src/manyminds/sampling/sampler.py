"""What the training step asks of whatever draws answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from manyminds.policy.policy import Policy
from manyminds.records import Ask, Rollout


@runtime_checkable
class Sampler(Protocol):
    """Draws answers from the policy it was last loaded with."""

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        """All answers, in the order of the asks.

        Random numbers are keyed by (draw, question, expert, answer, position), so that an answer does not depend on
        what else is in the batch; `draw` names the seed and the step.
        """

    def load(self, policy: Policy) -> None:
        """Draw from this policy from now on."""
