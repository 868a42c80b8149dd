"""GSPO: group sequence policy optimisation (arXiv 2507.18071): one ratio for a whole answer.

    s_i = (pi(o_i) / pi_old(o_i))^(1/|o_i|) = exp(1/|o_i| sum_t log rho_it)                            eq. 7
    L   = - 1/n sum_i min(s_i A_i, clip(s_i, 1 - 3e-4, 1 + 4e-4) A_i)                                  eq. 5

`level: token` is GSPO-token (eq. 13, 14): s_it = sg[s_i] pi(o_it) / sg[pi(o_it)] in place of s_i, under 1/|o_i| sum_t.
Value, clipping and gradient are the same where an answer has one advantage; where a part makes it one per token,
`token` gives each token its own, `sequence` gives all of them the mean.

Departures: the advantage's deviation and floor are GRPO's here. As in the paper a step's answers are cut into four
mini-batches with an optimiser step on each; with one (and one epoch) every ratio is 1, and GSPO is GRPO.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from manyminds.methods.grpo import GRPO
from manyminds.methods.terms import SequenceSurrogate
from manyminds.objective import Term
from manyminds.records import Progress


class GSPO(GRPO):
    """GRPO whose ratio and clip are of whole answers; `level` says whose ratio moves a token."""

    paper: ClassVar[str] = "Group Sequence Policy Optimization"
    arxiv: ClassVar[str] = "2507.18071"
    summary: ClassVar[str] = "GRPO with one likelihood ratio, and one narrow clip, for a whole answer."

    name: Literal["gspo"] = "gspo"
    level: Literal["sequence", "token"] = "sequence"
    clip_low: float = Field(3e-4, ge=0)
    clip_high: float = Field(4e-4, ge=0)
    minibatches: int = Field(4, ge=1)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        loss = SequenceSurrogate(self.clip_low, self.clip_high, per_token=self.level == "token")
        return (replace(self.policy_term(), per_token=loss),)
