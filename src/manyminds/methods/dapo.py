"""DAPO: decoupled clip and dynamic sampling policy optimisation (arXiv 2503.14476), GRPO with four changes.

    L = - 1/sum_i |o_i|  sum_i sum_t min(rho A, clip(rho, 1 - 0.2, 1 + 0.28) A)                        eq. 8
    subject to  0 < |{right answers}| < G                                                              eq. 8, 11
    r = verdict + 1/2 soft_overlong(|o|)                                                               eq. 7, 13

Clip-higher leaves unlikely tokens room to grow. Dynamic sampling replaces questions without a signal, see
methods/dynamic_sampling.py. The token mean lets long answers weigh by their length. The soft overlong punishment grows
over the last `overlong_cache` tokens before `overlong_length`, the longest answer that can be drawn.

Departures: the punishment has half the weight, because rewards are 0 and 1 here, not -1 and 1: standardised, that is
the same. Dynamic sampling is bounded by `rounds`. The token mean is over the optimiser step, where the paper's is over
the group. `minibatches` is 4, where the paper takes 16 optimiser steps on 512 questions. With several experts, a group
without a signal that stays because another expert's has one is still told apart by length; `mixed: all` has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.errors import UserError
from manyminds.formulas.lengths import soft_overlong
from manyminds.methods.dynamic_sampling import Mixed, has_signal
from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.objective import Term
from manyminds.records import Group, Progress, Scored, Scores

CACHE_SHARE = 5
"""The paper's 4,096 tokens of 20,480."""


class DAPO(GRPO):
    """GRPO with clip-higher, dynamic sampling, the token mean, and a soft punishment for overlong answers.

    `overlong_length` and `overlong_cache` are in tokens; the recipe fills in the sampler's `max_tokens` and a fifth of
    it. `overlong_weight` 0 leaves the punishment out.
    """

    paper: ClassVar[str] = "DAPO: An Open-Source LLM Reinforcement Learning System at Scale"
    arxiv: ClassVar[str] = "2503.14476"
    summary: ClassVar[str] = (
        "GRPO with clip-higher, dynamic sampling, a token mean and softly punished overlong answers."
    )

    name: Literal["dapo"] = "dapo"
    clip_high: float = Field(0.28, ge=0)
    average: Literal["over_sequences", "over_tokens", "mean_of_sums"] = "over_tokens"
    minibatches: int = Field(4, ge=1)
    rounds: int = Field(10, ge=1)
    mixed: Mixed = "any"
    overlong_weight: float = Field(0.5, ge=0)
    overlong_length: int = Field(20480, ge=1)  # L_max
    overlong_cache: int = Field(4096, ge=0)  # L_cache

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        longest = self.overlong_length if "overlong_length" in self.model_fields_set else max_tokens
        cache = self.overlong_cache if "overlong_cache" in self.model_fields_set else longest // CACHE_SHARE
        if cache > longest:
            raise UserError(
                f"method.overlong_cache: {cache} tokens are more than the longest answer has, {longest}; give fewer, "
                "or raise sampling.max_tokens"
            )
        lengths = {"overlong_length": longest, "overlong_cache": cache}
        return super().settled(experts, max_tokens).model_copy(update=lengths)

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        return tuple(g.with_rewards(tuple(tuple(map(self.punished, a.scored)) for a in g.answers)) for g in groups)

    def punished(self, scored: Scored) -> float:
        """The reward with the punishment for length in tokens that the policy chose; a trace is as long as it is."""
        rollout = scored.rollout
        if rollout.is_trace:
            return scored.reward
        length = sum(rollout.mask) if rollout.mask else len(rollout.ids)
        least = soft_overlong(torch.tensor(float(length)), self.overlong_length, self.overlong_cache)
        return scored.reward + self.overlong_weight * float(least)

    def keeps(self, group: Group, memory: Any) -> bool:
        return has_signal(group, self.mixed)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(),)
