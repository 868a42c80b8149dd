"""DARL: RLPR with a bonus for answers that the policy is a little less sure of (arXiv 2601.14700).

    d = max(r* - r(y), 0)                     r(y) the mean probability of the policy's own answer y, r* as in RLPR
    r = alpha r* + beta d [d <= r* / gamma]   the rest is RLPR's

The reward for the reference alone teaches its wording by heart; the bonus, at most beta r* / gamma, lets answers live
that differ from it. After two reviews of the paper that agree on the formulas; departures are in docs/papers.md.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.formulas.confidence import shortfall, within
from manyminds.methods.rlpr import RLPR, Confidence, spread
from manyminds.records import Group, Lesson, Progress, Scores

BONUS = "diversity_bonus"


class DARL(RLPR):
    """RLPR's reward as it stands before debiasing, and the gated bonus. An answer that cannot be read has no bonus."""

    paper: ClassVar[str] = "DARL: Encouraging Diverse Answers for General Reasoning without Verifiers"
    arxiv: ClassVar[str] = "2601.14700"
    summary: ClassVar[str] = "RLPR with a gated bonus for answers that the policy is a little less sure of."

    name: str = "darl"
    debias: Literal["rlpr", "none"] = "none"
    alpha: float = Field(1.0, ge=0)
    beta: float = Field(0.01, ge=0)
    gate: Literal["dynamic", "static"] = "dynamic"
    gamma: float = Field(10.0, gt=0)
    tau: float = Field(0.05, ge=0)

    def worth(self, sure: Confidence) -> tuple[float, dict[str, float | None]]:
        """Shortfall and gate are of the probabilities as they are, whatever `debias` makes of the reference's."""
        due, parts = super().worth(sure)
        bonus = 0.0 if sure.own is None else self.beta * self.allowed(sure.reference, sure.own)
        return self.alpha * due + bonus, {**parts, "own_probability": sure.own, BONUS: bonus}

    def allowed(self, reference: float, own: float) -> float:
        """The shortfall of the own answer, 0 if it is too large."""
        due, said = torch.tensor([reference, own], dtype=torch.float64)
        bound = due / self.gamma if self.gate == "dynamic" else torch.full_like(due, self.tau)
        return float(within(shortfall(due, said), bound))

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        lesson = super().examples(groups, scores, memory, rng, progress)
        return replace(lesson, metrics={**lesson.metrics, **told(groups)}) if groups else lesson


def told(groups: Sequence[Group]) -> dict[str, float]:
    """How many answers have a bonus, how large it is, and how much of a group's spread is the bonus's."""
    rows = [
        (answers, [s.parts.get(BONUS) or 0.0 for s in answers.own]) for group in groups for answers in group.answers
    ]
    every = [bonus for _, its in rows for bonus in its]
    shares = [stdev(its) / spread(answers) for answers, its in rows if len(its) > 1 and spread(answers) > 0]
    return {
        "darl/gate_rate": fmean(bonus > 0 for bonus in every),
        "darl/bonus_mean": fmean(every),
        "darl/bonus_share_of_std": fmean(shares) if shares else 0.0,
    }
