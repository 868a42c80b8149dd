"""Position shaping: more credit, to either side, for the later tokens of an answer.

    A~_t = A + sign(A) min(height sigmoid(steepness (x_t - 1/2)), share |A|),   x_t = (t - 1) / |o|    arXiv 2508.07534

A part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.formulas.shaping import later_tokens
from manyminds.methods.method import Method
from manyminds.records import Floats, Group, Progress, Scored


class PositionShaping(Method):
    """Credit that grows towards the end of an answer, while training stands within a window.

    The window is from `start` on and before `stop`, in shares of the budget; or, if `steps` are given, strictly between
    two steps, as the released code has it (200 and 300). Tokens that the policy did not choose do not count.
    """

    paper: ClassVar[str] = "From Trial-and-Error to Improvement: A Systematic Analysis of LLM Exploration in RLVR"
    arxiv: ClassVar[str] = "2508.07534"
    summary: ClassVar[str] = "A part: more credit, to either side, for the later tokens of an answer."

    name: Literal["position_shaping"] = "position_shaping"
    height: float = Field(0.1, ge=0)
    steepness: float = Field(15.0, ge=0)
    share: float = Field(0.5, ge=0)
    start: float = Field(0.0, ge=0, le=1)
    stop: float = Field(1.0, ge=0, le=1)
    steps: tuple[int, int] | None = None

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        if not self.within(progress):
            return tuple(groups)
        return tuple(
            group.with_advantages(tuple(tuple(map(self.shaped, answers.scored)) for answers in group.answers))
            for group in groups
        )

    def within(self, progress: Progress) -> bool:
        """Whether training stands within the window."""
        if self.steps is not None:
            return self.steps[0] < progress.step < self.steps[1]
        return self.start <= progress.share < self.stop

    def shaped(self, scored: Scored) -> float | Floats:
        """The credit of the answer, one number per token; without tokens as it was."""
        rollout, credit = scored.rollout, scored.advantage
        if not rollout.ids:
            return credit
        mask = torch.tensor(rollout.mask or (1,) * len(rollout.ids), dtype=torch.float64)
        before = torch.tensor(credit, dtype=torch.float64).expand(len(mask))
        relative = (mask.cumsum(0) - 1) / mask.sum().clamp(min=1)
        after = later_tokens(before, relative, self.height, self.steepness, self.share)
        return tuple(torch.where(mask > 0, after, before).tolist())
