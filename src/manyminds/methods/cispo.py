"""CISPO: clipped importance-sampling-weight policy optimisation (MiniMax-M1, arXiv 2506.13585).

No token is clipped away:

    L = - 1/sum_i |o_i|  sum_i sum_t sg[clip(rho, 1 - low, 1 + high)] A log pi(o_it)                   eq. 4, 5

The clipped ratio is a weight without gradient. Where PPO's clip ends the gradient of a token that has become much
likelier, here it goes on, with a weight of 1 + high.

Departures: the paper has no lower bound (`clip_low` 1) and tuned the upper one; its value is not known to us, 1 + 4 is
ours. The token mean is over the optimiser step, where the paper's is over the group; deviation and floor of the
advantage are GRPO's here. The paper also has DAPO's dynamic sampling, which is a part here
(`with: [{name: dynamic_sampling}]`), and DAPO's punishment for length, which is left out.
`minibatches` is 4, where the paper speaks of 16 rounds of updates; with one (and one epoch) every weight is 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from manyminds.methods.grpo import GRPO
from manyminds.methods.terms import ClippedWeight
from manyminds.objective import Term
from manyminds.records import Progress


class CISPO(GRPO):
    """GRPO's advantages with a policy gradient whose weight is the clipped ratio; `clip_low` 1 is no lower bound."""

    paper: ClassVar[str] = "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention"
    arxiv: ClassVar[str] = "2506.13585"
    summary: ClassVar[str] = "A policy gradient weighed by the clipped ratio, so that no token loses its gradient."

    name: Literal["cispo"] = "cispo"
    clip_low: float = Field(1.0, ge=0)
    clip_high: float = Field(4.0, ge=0)
    average: Literal["over_sequences", "over_tokens", "mean_of_sums"] = "over_tokens"
    minibatches: int = Field(4, ge=1)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (replace(self.policy_term(), per_token=ClippedWeight(self.clip_low, self.clip_high)),)
