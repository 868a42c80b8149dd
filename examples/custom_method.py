"""A method and a part of one's own, in a file outside the package.

    PYTHONPATH=examples manyminds train examples/custom.yaml

BestOfGroup is GRPO with another credit. In a group of G answers, m of which share the highest reward,

    A_g = 1/m - 1/G   for those m,        A_g = -below / G   for the others.

A lone right answer among eight gets 7/8, each of seven right ones 1/56: what is rare teaches most. Limits: equal
rewards (m = G) give exactly 0; with `below` 1 a group's advantages add up to 0.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.records import Group, Progress


class BestOfGroup(GRPO):
    """GRPO in which a group's best answers share one unit of credit; `below` scales what the others lose."""

    summary: ClassVar[str] = "The best answers of a group share one unit of credit."

    below: float = Field(1.0, ge=0)

    def advantage(self, rewards: Tensor, progress: Progress) -> Tensor:
        """One number per answer; a row is what one expert answered to one question."""
        answers = rewards.shape[-1]
        best = (rewards == rewards.amax(-1, keepdim=True)).to(rewards.dtype)
        m = best.sum(-1, keepdim=True)
        credit = best / m - (best + (1 - best) * self.below) / answers
        return torch.where(m == answers, torch.zeros_like(credit), credit)


class MixedGroups(Method):
    """A part: keep a question only if some expert answered it both right and wrong, and ask others in its place."""

    summary: ClassVar[str] = "Questions on which no expert's answers differ are replaced."

    rounds: int = Field(3, ge=1)

    def keeps(self, group: Group, memory: Any) -> bool:
        """Whether the question carries a signal."""
        return any(0 < answers.wrong < len(answers.scored) for answers in group.answers)
