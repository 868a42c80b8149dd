"""Dr. GRPO (Understanding R1-Zero-Like Training, arXiv 2503.20783): GRPO without its two biases.

A_g = r_g - mean r            no division by the standard deviation: easy and hard questions weigh alike
L   = 1/n sum_i 1/M sum_t …   M a constant (the generation budget), not |o_i|: long wrong answers weigh fully
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from manyminds.formulas.advantages import centred
from manyminds.formulas.averages import over_fixed_length
from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.objective import Term
from manyminds.records import Progress


class DrGRPO(GRPO):
    """GRPO with centred advantages and a constant length in the average.

    `fixed_length` is M in tokens; the recipe fills in the sampler's `max_tokens`.
    """

    paper: ClassVar[str] = "Understanding R1-Zero-Like Training: A Critical Perspective"
    arxiv: ClassVar[str] = "2503.20783"
    summary: ClassVar[str] = "GRPO with centred advantages and an average over a constant length."

    name: Literal["dr_grpo"] = "dr_grpo"
    scale: Literal["none"] = "none"
    fixed_length: int = Field(256, ge=1)

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        settled = super().settled(experts, max_tokens)
        given = "fixed_length" in self.model_fields_set
        return settled if given else settled.model_copy(update={"fixed_length": max_tokens})

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        return centred(rewards)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (replace(self.policy_term(), average=over_fixed_length(self.fixed_length)),)
