"""A method and two parts of one's own, in a file outside the package.

    PYTHONPATH=examples manyminds train examples/custom.yaml

ByRank is GRPO with another credit: how many answers of the group an answer beats, less how many beat it,

    A_g = (worse - better) / G,        scaled by `below` where it is negative.

Only the order of the rewards counts, not their scale. Limits: equal rewards give exactly 0; with `below` 1 a group's
advantages add up to 0; with rewards 0 and 1 it is then r - mean r, the credit of Dr. GRPO.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.records import Ask, Group, Progress


class ByRank(GRPO):
    """GRPO with an answer's rank in its group as credit; `below` scales what those below the middle lose."""

    summary: ClassVar[str] = "An answer's rank in its group is its credit."

    below: float = Field(1.0, ge=0)

    def advantage(self, rewards: Tensor, progress: Progress) -> Tensor:
        """One number per answer; a row is what one expert answered to one question."""
        credit = (rewards[..., :, None] - rewards[..., None, :]).sign().mean(-1)
        return torch.where(credit < 0, self.below * credit, credit)


class NotTooEasy(Method):
    """A part: keep a question only if at most this share of all answers to it is right, and ask others in its place."""

    summary: ClassVar[str] = "Questions that are nearly always answered right are replaced."

    rounds: int = Field(3, ge=1)
    most: float = Field(0.75, ge=0, le=1)

    def keeps(self, group: Group, memory: Any) -> bool:
        """Whether the question is worth the time."""
        return fmean(answers.mean for answers in group.answers) <= self.most


class AskAgain(Method):
    """A part: every prompt that had no right answer to a question gives `more`."""

    summary: ClassVar[str] = "Prompts without a right answer to a question answer it again."

    more: int = Field(8, ge=1)

    def follow_up(self, group: Group, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        return tuple(Ask(answers.prompt, self.more) for answers in group.answers if not answers.right)
