"""RL-PLUS (arXiv 2508.00222): one external trace in every group, with a ratio that needs not know its writer.

    A   = (r - mean r) / (std r + floor)                                        over drawn answers and the trace
    r^m = 2 pi(e_t) / (1.5 pi_old(e_t) + 0.5)                                   multiple importance sampling
    C_t = (1 - sg[pi(e_t)])^focus                                               unlikely right tokens count more
    L   = - mean over answers of GRPO's clipped surrogate - mean over traces of 1/|e| sum_t r^m A C_t

`variant: release` is what the authors' code does: A not divided by std, no clip on either side, tokens of answers and
traces summed over one constant length, an entropy bonus of 0.001. Departures: docs/papers.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from manyminds.batch import Batch
from manyminds.formulas.external import focal_weight, multiple_importance_ratio
from manyminds.methods.external import OneTrace
from manyminds.objective import Outputs, Term
from manyminds.records import Progress


@dataclass(frozen=True, slots=True)
class FocalTrace:
    """-r^m A C. On the first update of a step the old policy is the current one."""

    focus: float

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        old = batch.plane("old_logprobs", outputs.logprobs.detach())
        ratio = multiple_importance_ratio(outputs.logprobs, old)
        return -ratio * batch.advantages * focal_weight(outputs.logprobs, self.focus)


class RLPlus(OneTrace):
    """GRPO with one external trace in every group; its unlikely tokens count more.

    `focus` is gamma of the focal weight; 0 turns it off.
    """

    paper: ClassVar[str] = (
        "RL-PLUS: Countering Capability Boundary Collapse of LLMs in Reinforcement Learning with Hybrid-policy "
        "Optimization"
    )
    arxiv: ClassVar[str] = "2508.00222"
    summary: ClassVar[str] = "One expert's trace in every group; tokens of it that are unlikely count more."

    name: Literal["rl_plus"] = "rl_plus"
    focus: float = Field(0.5, ge=0)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(), self.trace_term(FocalTrace(self.focus)), *self.entropy_terms())
