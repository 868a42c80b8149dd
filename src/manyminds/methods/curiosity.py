"""Curiosity-driven exploration, the actor's side: a bonus for answers that the policy found unlikely.

    r~ = r + w min(|r| / kappa, alpha B),   B = -(1/|o|) sum_t log pi(o_t)         CDE (arXiv 2509.09675), eqs. 1 and 2

A part: the reward before any baseline. Among right answers the less likely gain more; among wrong ones the likelier
lose more. The critic's side needs value heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.formulas.curiosity import curiosity_bonus
from manyminds.methods.method import Method
from manyminds.records import Answers, Group, Progress, Rollout, Scored, Scores

BONUS = "curiosity_bonus"


class Curiosity(Method):
    """The bonus, weighted by a schedule over the share of the budget that is used.

    `reward_range`: "zero_one" reads rewards from 0 to 1, which verifiers here give, as the paper's -1 to 1; the result
    is in the reward's own units. With "as_given" a reward of 0 has no bonus.
    """

    paper: ClassVar[str] = "CDE: Curiosity-Driven Exploration for Efficient Reinforcement Learning in LLMs"
    arxiv: ClassVar[str] = "2509.09675"
    summary: ClassVar[str] = "A part: a clipped, annealed bonus on the reward of answers that were unlikely."

    name: Literal["curiosity"] = "curiosity"
    kappa: float = Field(3.0, gt=1)
    alpha: float = Field(1.0, ge=0)
    weight: float = Field(1.0, ge=0, le=1)
    schedule: Literal["staircase", "cosine", "linear", "constant"] = "staircase"
    until: float = Field(0.5, ge=0, le=1)
    reward_range: Literal["zero_one", "as_given"] = "zero_one"

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        weight = self.weight * self.remaining(progress.share)
        return tuple(replace(group, answers=tuple(self.curious(a, weight) for a in group.answers)) for group in groups)

    def curious(self, answers: Answers, weight: float) -> Answers:
        """The answers under their rewards and bonuses. A trace keeps its reward: its surprise is not the policy's."""
        own = set(map(id, answers.own))
        scored = (self.with_bonus(s, weight) if id(s) in own else s for s in answers.scored)
        return replace(answers, scored=tuple(scored))

    def remaining(self, share: float) -> float:
        """What is left of the weight: 1 up to `until` and then 0; or falling to 0 there, as a cosine or a line."""
        if self.schedule == "constant":
            return 1.0
        if share >= self.until:
            return 0.0
        falling = {"cosine": (1 + math.cos(math.pi * share / self.until)) / 2, "linear": 1 - share / self.until}
        return falling.get(self.schedule, 1.0)

    def with_bonus(self, scored: Scored, weight: float) -> Scored:
        """The answer under its reward and the bonus, which is also one of its parts."""
        unit = 2.0 if self.reward_range == "zero_one" else 1.0
        read = 2 * scored.reward - 1 if self.reward_range == "zero_one" else scored.reward
        pair = torch.tensor([read, surprise(scored.rollout)], dtype=torch.float64)
        bonus = weight * float(curiosity_bonus(pair[0], pair[1], self.kappa, self.alpha)) / unit
        parts = {**(scored.parts or {"verdict": scored.reward}), BONUS: bonus}
        return replace(scored, reward=scored.reward + bonus, parts=parts)


def surprise(rollout: Rollout) -> float:
    """The mean negative log-prob, in nats, of the tokens that the policy chose; 0 where that is not known."""
    mask = rollout.mask or (1,) * len(rollout.logprobs)
    chosen = [logprob for logprob, its in zip(rollout.logprobs, mask, strict=False) if its]
    return -sum(chosen) / len(chosen) if chosen else 0.0
