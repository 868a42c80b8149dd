"""LUFFY (arXiv 2504.14945): mixed-policy GRPO with policy shaping; one external trace in every group.

    A = (r - mean r) / (std r + floor)                                  over drawn answers and the trace
    f = x / (x + 0.1),  x = pi(e_t) / pi_writer(e_t), the writer taken as certain: x = pi(e_t)
    L = - 1/Z [ sum over answers and tokens of the clipped surrogate + sum over traces and tokens of f A ]

Z is the number of tokens of answers and traces together. `variant: release` is what the authors' code does: A not
divided by std, no clip on the answers, one constant length in place of Z, an entropy bonus. Departures: docs/papers.md.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from manyminds.methods.external import Averages, OneTrace, ShapedRatio
from manyminds.objective import Term
from manyminds.records import Progress


class LUFFY(OneTrace):
    """GRPO with one external trace in every group, under a shaped ratio.

    `shaping` is gamma of f: the probability at which a token's gradient is largest.
    """

    paper: ClassVar[str] = "Learning to Reason under Off-Policy Guidance"
    arxiv: ClassVar[str] = "2504.14945"
    summary: ClassVar[str] = "One expert's trace in every group, learnt under the shaped ratio p / (p + 0.1)."

    name: Literal["luffy"] = "luffy"
    average: Averages = "over_tokens"
    joint_average: bool = True
    shaping: float = Field(0.1, gt=0)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(), self.trace_term(ShapedRatio(self.shaping)), *self.entropy_terms())
