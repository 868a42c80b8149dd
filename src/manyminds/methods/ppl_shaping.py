"""Perplexity shaping: more credit, to either side, for answers that were likely within their group.

    A~ = A clip(1 - alpha z, 1 - bound, 1 + bound),   z the standardised log-perplexity        arXiv 2508.07534

A part. In the released code (`ppl_delta`) this weight is computed and never multiplied into the advantage; only its
opposite, which favours unlikely answers, is. `as_released` says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.formulas.shaping import perplexity_weights
from manyminds.methods.curiosity import surprise
from manyminds.methods.method import Method
from manyminds.records import Answers, Floats, Group, Progress, Scored


class PerplexityShaping(Method):
    """The credit of each answer times a weight by how likely it was among those of its group.

    Log-probs are those with which it was drawn. A trace has none of the policy's: it keeps its credit and does not
    count in the group's mean.
    """

    paper: ClassVar[str] = "From Trial-and-Error to Improvement: A Systematic Analysis of LLM Exploration in RLVR"
    arxiv: ClassVar[str] = "2508.07534"
    summary: ClassVar[str] = "A part: more credit, to either side, for answers that were likely within their group."

    name: Literal["ppl_shaping"] = "ppl_shaping"
    alpha: float = Field(0.01, ge=0)
    bound: float = Field(0.2, ge=0, lt=1)
    favour: Literal["low", "high"] = "low"
    as_released: bool = False

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        if self.as_released and self.favour == "low":
            return tuple(groups)
        return tuple(group.with_advantages(tuple(map(self.weighted, group.answers))) for group in groups)

    def weighted(self, answers: Answers) -> tuple[float | Floats, ...]:
        """The credit of a group's answers under their weights."""
        read = [scored for scored in answers.own if scored.rollout.ids]
        if not read:
            return tuple(scored.advantage for scored in answers.scored)
        alpha = self.alpha if self.favour == "low" else -self.alpha
        measured = torch.tensor([surprise(scored.rollout) for scored in read], dtype=torch.float64)
        weights = dict(zip(map(id, read), perplexity_weights(measured, alpha, self.bound).tolist(), strict=True))
        return tuple(times(scored, weights.get(id(scored), 1.0)) for scored in answers.scored)


def times(scored: Scored, weight: float) -> float | Floats:
    """The answer's credit, one number or one per token, times the weight."""
    credit = scored.advantage
    return tuple(one * weight for one in credit) if isinstance(credit, tuple) else credit * weight
