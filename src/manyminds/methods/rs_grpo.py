"""RS-GRPO: risk-sensitive policy gradient (arXiv 2509.24261, ICLR 2026): GRPO with the credit of another objective.

    J_beta = E_x 1/beta log E_y exp(beta r(y))           beta -> 0 the mean reward, beta -> inf the best one
    A_g    = (exp(beta (r_g - s)) - 1) / beta            s = 1/beta log( 1/G sum_j exp(beta r_j) )
    L      = - 1/n sum_i 1/|o_i| sum_t min(rho A, clip(rho, 1 - low, 1 + high) A)

A pretrained policy is peaked: the mean reward pulls it to the answers it gives already, and pass@k stalls. A positive
beta moves credit to rare right answers: with 0/1 rewards a group weighs most at an accuracy of 1 / (1 + exp(beta/2)),
27 % for beta 2, where the plain mean has 50 %. A negative beta avoids risk. The paper draws G = 16 answers and leaves
out groups that are all right or all wrong: `with: [{name: dynamic_sampling}]`.
What we do not know of the paper, and what is ours, is in docs/papers.md.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from manyminds.formulas.advantages import risk_sensitive
from manyminds.methods.grpo import GRPO
from manyminds.records import Progress


class RSGRPO(GRPO):
    """GRPO with risk-sensitive advantages: `beta` is in units of 1 / reward, so fix the rewards' range first."""

    paper: ClassVar[str] = "Risk-Sensitive RL for Alleviating Exploration Dilemmas in Large Language Models"
    arxiv: ClassVar[str] = "2509.24261"
    summary: ClassVar[str] = "GRPO whose credit seeks risk: between the mean reward and the best one."

    name: Literal["rs_grpo"] = "rs_grpo"
    answers_per_prompt: int = Field(16, ge=1)
    scale: Literal["none"] = "none"
    clip_high: float = Field(0.28, ge=0)
    beta: float = Field(2.0, allow_inf_nan=False)

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        return risk_sensitive(rewards, self.beta)
