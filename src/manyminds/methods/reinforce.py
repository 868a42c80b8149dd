"""REINFORCE (Williams 1992): the plain policy gradient; for language models arXiv 2402.14740, eq. 5.

    A_i = r_i                                             or (r_i - mean r) / std r over the whole step
    L   = - 1/n sum_i A_i log pi(o_i | q)                 an answer is one action: its log-prob is summed, not averaged

`normalise: batch` is the form of Crossing the Reward Bridge (arXiv 2503.23829), where equal rewards give 0, and so is
`kl_coefficient`, a penalty inside the reward: A_i - kl log(pi(o_i) / pi_reference(o_i)).
Departures: no moving-average baseline; what both papers leave open is in docs/papers.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from manyminds.formulas.advantages import batch_standardised
from manyminds.methods.grpo import AVERAGES, GRPO
from manyminds.methods.terms import PolicyGradient
from manyminds.objective import Term
from manyminds.records import Floats, Group, Progress, Scored


class REINFORCE(GRPO):
    """The policy gradient with the reward itself as credit, or its z-score over the step's answers.

    `ddof` is 0 for the population's deviation, 1 for the sample's. Without a ratio there is one update a step.
    """

    paper: ClassVar[str] = (
        "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs"
    )
    arxiv: ClassVar[str] = "2402.14740"
    summary: ClassVar[str] = "The plain policy gradient; the credit is the reward, or its z-score over the step."

    name: Literal["reinforce"] = "reinforce"
    scale: Literal["none"] = "none"
    average: Literal["over_sequences", "over_tokens", "mean_of_sums"] = "mean_of_sums"
    epochs: Literal[1] = 1
    minibatches: Literal[1] = 1
    normalise: Literal["none", "batch"] = "none"
    ddof: Literal[0, 1] = 0
    kl_coefficient: float = Field(0.0, ge=0, allow_inf_nan=False)

    @classmethod
    def least_answers(cls) -> int:
        return 1

    @property
    def needs(self) -> frozenset[str]:
        return needed_for(self.kl_coefficient)

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        return rewards

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        return standardised_over_step(groups, "answers", self.ddof) if self.normalise == "batch" else tuple(groups)

    def policy_term(self) -> Term:
        return policy_gradient(self.average, self.kl_coefficient)


def policy_gradient(average: str, kl: float) -> Term:
    """REINFORCE's loss on the answers this policy drew, with a penalty of `kl` for leaving the reference."""
    return Term(
        "policy",
        "sampled",
        PolicyGradient(kl),
        average=AVERAGES[average],
        needs=frozenset({"reference_logprobs"}) if kl else frozenset(),
        credit="any" if kl else "nonzero",
    )


def needed_for(kl: float) -> frozenset[str]:
    """What a run must provide for that penalty."""
    return frozenset({"reference"}) if kl else frozenset()


def standardised_over_step(
    groups: Sequence[Group], over: Literal["answers", "tokens"], ddof: int = 0
) -> tuple[Group, ...]:
    """The groups with their credit less its mean over the whole step, divided by its deviation.

    `over` says what is counted: every answer once, or every token that the policy chose.
    """
    scored = [one for group in groups for answers in group.answers for one in answers.scored]
    told = [_credit_and_counts(one, over) for one in scored]
    flat = iter(
        batch_standardised(
            torch.tensor([value for credit, _ in told for value in credit], dtype=torch.float64),
            torch.tensor([count for _, counts in told for count in counts], dtype=torch.float64),
            ddof,
        ).tolist()
    )
    rows = [tuple(next(flat) for _ in credit) for credit, _ in told]
    new = iter(row if isinstance(one.advantage, tuple) else row[0] for one, row in zip(scored, rows, strict=True))
    return tuple(g.with_advantages(tuple(tuple(next(new) for _ in a.scored) for a in g.answers)) for g in groups)


def _credit_and_counts(scored: Scored, over: Literal["answers", "tokens"]) -> tuple[Floats, Floats]:
    """An answer's credit, one number or one per token, and how often each of these counts."""
    mask = tuple(map(float, scored.rollout.mask or (1,) * len(scored.rollout.ids)))
    if isinstance(scored.advantage, tuple):
        tokens = max(sum(mask), 1.0)
        return scored.advantage, mask if over == "tokens" else tuple(m / tokens for m in mask)
    return (scored.advantage,), (sum(mask) if over == "tokens" else 1.0,)
