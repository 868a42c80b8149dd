"""RLOO: REINFORCE with a leave-one-out baseline (Kool et al. 2019; for language models arXiv 2402.14740, eq. 8).

    A_g = r_g - 1/(G-1) sum_{j != g} r_j
    L   = - 1/n sum_i A_i log pi(o_i | q)                 an answer is one action: its log-prob is summed, not averaged

The baseline of an answer does not contain its own reward, so the gradient of the mean reward is estimated without bias.
Departures: the paper's KL penalty in the reward is off by default (`kl_coefficient`); as an option the loss is GRPO's
clipped one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from manyminds.formulas.advantages import leave_one_out
from manyminds.methods.grpo import GRPO
from manyminds.methods.reinforce import needed_for, policy_gradient
from manyminds.objective import Term
from manyminds.records import Progress


class RLOO(GRPO):
    """REINFORCE with the mean of the other answers as baseline.

    `policy_loss: clip` is the clipped surrogate, token by token, which allows several `epochs` and `minibatches`.
    """

    paper: ClassVar[str] = (
        "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs"
    )
    arxiv: ClassVar[str] = "2402.14740"
    summary: ClassVar[str] = "REINFORCE; an answer's baseline is the mean reward of the others."

    name: Literal["rloo"] = "rloo"
    scale: Literal["none"] = "none"
    average: Literal["over_sequences", "over_tokens", "mean_of_sums"] = "mean_of_sums"
    policy_loss: Literal["reinforce", "clip"] = "reinforce"
    kl_coefficient: float = Field(0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _only_with_a_ratio(self) -> RLOO:
        if self.policy_loss == "reinforce" and self.epochs * self.minibatches > 1:
            raise ValueError(
                "epochs and minibatches above 1 need a ratio to the policy that drew the answers: set policy_loss: clip"
            )
        if self.policy_loss == "clip" and self.kl_coefficient:
            raise ValueError("kl_coefficient is a part of policy_loss: reinforce; the clipped loss has none")
        return self

    @property
    def needs(self) -> frozenset[str]:
        return needed_for(self.kl_coefficient)

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        return leave_one_out(rewards)

    def policy_term(self) -> Term:
        if self.policy_loss == "clip":
            return super().policy_term()
        return policy_gradient(self.average, self.kl_coefficient)
