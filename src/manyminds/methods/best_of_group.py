"""Best of group: the best answers of a group share one unit of credit. Ours; with 0/1 rewards MaxRL (arXiv 2602.02710).

    A_g = 1/m - 1/G      for the m answers of the highest reward
    A_g = - below / G    for the others

A lone right answer among eight gets 7/8, each of seven right ones 1/56: what is rare teaches most. With `below` 1 and
rewards 0 and 1 it is (r - mean r) / (G mean r), but for the factor 1/G MaxRL's estimate of the gradient of the log of
the solve rate. The loss is GRPO's.
Departures: MaxRL is for rewards 0 and 1; here any reward has a highest, and equal ones give 0.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from manyminds.formulas.advantages import best_share
from manyminds.methods.grpo import GRPO
from manyminds.records import Progress


class BestOfGroup(GRPO):
    """GRPO in which a group's best answers share one unit of credit; `below` scales what the others lose."""

    paper: ClassVar[str] = "Maximum Likelihood Reinforcement Learning"
    arxiv: ClassVar[str] = "2602.02710"
    summary: ClassVar[str] = "The best answers of a group share one unit of credit; with 0/1 rewards it is MaxRL."

    name: Literal["best_of_group"] = "best_of_group"
    scale: Literal["none"] = "none"
    below: float = Field(1.0, ge=0, allow_inf_nan=False)

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        return best_share(rewards, self.below)
