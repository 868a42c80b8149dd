"""REINFORCE++: the policy gradient with global advantage normalisation (arXiv 2501.03262).

    A'_g = r_g                                            or less the group's mean, or the mean of the others
    A    = (A' - mean A') / std A'                        over all tokens of the whole step, not inside a group
    L    = - 1/n sum_i 1/|o_i| sum_t min(rho A, clip(rho, 1 - low, 1 + high) A)

A group's own deviation depends on the rewards that it divides; over a large step that dependence vanishes. Without a
baseline a group that is all wrong is learnt from too, since the step's mean is not its own.
Departures: no KL penalty (a term: `with: [{name: kl_to_reference}]`), so the credit is the same for all of an answer's
tokens; the mean and the deviation still count each answer as often as it has tokens, as the authors' OpenRLHF does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from manyminds.errors import UserError
from manyminds.formulas.advantages import centred, leave_one_out
from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.methods.reinforce import standardised_over_step
from manyminds.records import Group, Progress


class REINFORCEPP(GRPO):
    """REINFORCE with PPO's clipped loss and credit that is standardised over the whole step.

    `baseline: group` is the paper's "REINFORCE++ with baseline".
    """

    paper: ClassVar[str] = (
        "REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global Advantage Normalization"
    )
    arxiv: ClassVar[str] = "2501.03262"
    summary: ClassVar[str] = "The clipped policy gradient; credit is standardised over the whole step, not in a group."

    name: Literal["reinforce_pp"] = "reinforce_pp"
    scale: Literal["none"] = "none"
    baseline: Literal["none", "group", "leave_one_out"] = "none"
    normalise_over: Literal["tokens", "answers"] = "tokens"
    ddof: Literal[0, 1] = 0

    @classmethod
    def least_answers(cls) -> int:
        return 1

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        if self.baseline != "none" and self.answers_per_prompt < 2:
            raise UserError(
                f"method.answers_per_prompt: the baseline '{self.baseline}' of {self.name} compares answers with one "
                "another and needs 2 or more; with one answer set baseline: none"
            )
        return super().settled(experts, max_tokens)

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        if self.baseline == "none":
            return rewards
        return centred(rewards) if self.baseline == "group" else leave_one_out(rewards)

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        return standardised_over_step(groups, self.normalise_over, self.ddof)
