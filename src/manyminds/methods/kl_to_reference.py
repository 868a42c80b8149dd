"""KL to a reference (GRPO, arXiv 2402.03300, eq. 3 and 4), a part: the policy is held near what it was before RL.

    L_kl = 0.04 * 1/n sum_i 1/|o_i| sum_t  exp(u) - 1 - u,      u = log pi_ref(o_it) - log pi(o_it)     (k3)

over the answers that the policy drew, under the prompts that drew them; traces do not count. The reference is the
policy as RL begins; with adapters (LoRA) it is the model with its adapters off, which takes no memory, and which is the
model before the warm-up if the warm-up trained them.

`estimator` also names k1 and k2 (formulas/divergences.py). k1 as a loss does not pull towards the reference; it is here
because it is found elsewhere. In expectation over fresh answers k2 has the gradient of KL(pi || pi_ref) and k3 that of
KL(pi_ref || pi).

Departures: none known to us. The term keeps rows of advantage 0 alive, so they cost a forward pass.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from manyminds.methods.grpo import AVERAGES, sampled
from manyminds.methods.method import Method
from manyminds.methods.terms import DivergenceFromReference
from manyminds.objective import Term
from manyminds.records import Group, Lesson, Progress, Scores, Update


class KLToReference(Method):
    """A part: a term that keeps the policy near its reference on the answers that it draws."""

    paper: ClassVar[str] = "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models"
    arxiv: ClassVar[str] = "2402.03300"
    summary: ClassVar[str] = "A part: a penalty on the divergence from the policy before RL."

    name: Literal["kl_to_reference"] = "kl_to_reference"
    coefficient: float = Field(0.04, ge=0)  # beta
    estimator: Literal["k1", "k2", "k3"] = "k3"
    average: Literal["over_sequences", "over_tokens", "mean_of_sums"] = "over_sequences"

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        """The policy's answers, for a base that makes no examples of them; where it does, its own count."""
        return Lesson((Update(tuple(e for g in groups for answers in g.answers for e in sampled(answers))),), memory)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        loss, needs = DivergenceFromReference(self.estimator), frozenset({"reference_logprobs"})
        return (Term("kl", "sampled", loss, self.coefficient, AVERAGES[self.average], needs),)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"reference"})
