"""Pooled baseline: an answer is compared with all experts' answers to its question, not with its own expert's alone.

    A = (r - mean r) / (std r + floor)          mean and std over every answer to the question, whoever gave it

A part, ours (docs/beyond.md). A right answer is worth more where the others fail, and where one expert is right a whole
group of wrong answers has a signal. Every question weighs alike, not every expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch

from manyminds.formulas.advantages import centred, standardised
from manyminds.methods.method import Method
from manyminds.records import Floats, Group, Progress


class PooledBaseline(Method):
    """Credit against all answers to the question; `scale` as in `grpo`. It replaces whatever credit there was."""

    paper: ClassVar[str] = "manyminds, docs/beyond.md"
    summary: ClassVar[str] = "A part: an answer is compared with all experts' answers to its question."

    name: Literal["pooled_baseline"] = "pooled_baseline"
    scale: Literal["std", "none"] = "std"

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        return tuple(group.with_advantages(self.pooled(group)) for group in groups)

    def pooled(self, group: Group) -> tuple[Floats, ...]:
        """The credit of every answer to the question, one tuple per expert."""
        rewards = torch.tensor([reward for answers in group.answers for reward in answers.rewards], dtype=torch.float64)
        credit = iter((standardised(rewards) if self.scale == "std" else centred(rewards)).tolist())
        return tuple(tuple(next(credit) for _ in answers.scored) for answers in group.answers)
