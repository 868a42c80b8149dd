"""What terms compute per token, as comparable values: two terms are equal if they mean the same.

Each is called with (outputs, batch) and gives "B T", to be minimised; the formulas are in formulas/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from manyminds.batch import Batch
from manyminds.formulas import advantages, divergences, losses, ratios
from manyminds.objective import Outputs

SIDES = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
"""What the clip cuts off below, above, and in all: TRL's names."""


def by_side(low: Tensor, high: Tensor) -> Mapping[str, Tensor]:
    return dict(zip(SIDES, (low, high, low | high), strict=True))


@dataclass(frozen=True, slots=True)
class ClippedSurrogate:
    """The clipped policy loss. On the first update of fresh answers the old policy is the current one."""

    cuts: ClassVar = SIDES
    by_answer: ClassVar = False

    low: float
    high: float

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        return losses.clipped(self.ratio(outputs, batch), batch.advantages, self.low, self.high)

    def ratio(self, outputs: Outputs, batch: Batch) -> Tensor:
        return ratios.importance_ratio(outputs.logprobs, batch.plane("old_logprobs", outputs.logprobs.detach()))

    def cut(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return by_side(*losses.clipped_away(self.ratio(outputs, batch), batch.advantages, self.low, self.high))


@dataclass(frozen=True, slots=True)
class SequenceSurrogate:
    """The clipped policy loss with one ratio for a whole answer; `per_token`: its gradient token by token."""

    cuts: ClassVar = SIDES

    low: float
    high: float
    per_token: bool = False

    @property
    def by_answer(self) -> bool:
        return not self.per_token

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        return losses.clipped(self.ratio(outputs, batch), batch.advantages, self.low, self.high)

    def ratio(self, outputs: Outputs, batch: Batch) -> Tensor:
        old = batch.plane("old_logprobs", outputs.logprobs.detach())
        ratio = ratios.sequence_ratio_per_token if self.per_token else ratios.sequence_ratio
        return ratio(outputs.logprobs, old, batch.mask)

    def cut(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return by_side(*losses.clipped_away(self.ratio(outputs, batch), batch.advantages, self.low, self.high))


@dataclass(frozen=True, slots=True)
class ClippedWeight:
    """-A log p, weighed by the clipped ratio, which has no gradient."""

    cuts: ClassVar = ("cispo_clip_ratio",)
    by_answer: ClassVar = False

    low: float
    high: float

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        old = batch.plane("old_logprobs", outputs.logprobs.detach())
        return losses.clipped_weight_policy_gradient(outputs.logprobs, old, batch.advantages, self.low, self.high)

    def cut(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        ratio = ratios.importance_ratio(outputs.logprobs, batch.plane("old_logprobs", outputs.logprobs.detach()))
        _, above = losses.clipped_away(ratio, batch.advantages, self.low, self.high)
        return {"cispo_clip_ratio": above}


@dataclass(frozen=True, slots=True)
class DivergenceFromReference:
    """The divergence from the reference, estimated on the tokens that the policy drew."""

    estimator: Literal["k1", "k2", "k3"] = "k3"

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        estimators = {
            "k1": divergences.k1_to_reference,
            "k2": divergences.k2_to_reference,
            "k3": divergences.k3_to_reference,
        }
        return estimators[self.estimator](outputs.logprobs, batch.planes["reference_logprobs"])


@dataclass(frozen=True, slots=True)
class PositivePart:
    """-max(A, 0) log p: no ratio, no clip, nothing learnt from what was worse than the group."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        return losses.policy_gradient(outputs.logprobs, advantages.positive_part(batch.advantages))


@dataclass(frozen=True, slots=True)
class PolicyGradient:
    """-A log p: no ratio, no clip. With `kl` above 0 the credit of an answer is A - kl * log(p / p_reference) of it.

    That log-ratio is the whole answer's, and without gradient: the penalty is part of the reward.
    """

    kl: float = 0.0

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        if not self.kl:
            return losses.policy_gradient(outputs.logprobs, batch.advantages)
        now = outputs.logprobs.detach()
        drift = ((now - batch.plane("reference_logprobs", now)) * batch.mask).sum(-1, keepdim=True)
        return losses.policy_gradient(outputs.logprobs, batch.advantages - self.kl * drift)


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """-log p of the given tokens."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        return losses.cross_entropy(outputs.logprobs)


@dataclass(frozen=True, slots=True)
class LogRatioFromWriter:
    """log p_writer - log p, the writer's side fixed: the divergence from whoever wrote the answer, sampled at it."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        writer = batch.plane("writer_logprobs", outputs.logprobs.detach())
        return divergences.log_ratio_from_teacher(writer, outputs.logprobs)


@dataclass(frozen=True, slots=True)
class K3FromWriter:
    """exp(u) - 1 - u with u = log p - log p_writer: the same divergence, never negative."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        writer = batch.plane("writer_logprobs", outputs.logprobs.detach())
        return divergences.k3(writer, outputs.logprobs)


@dataclass(frozen=True, slots=True)
class FullDivergence:
    """KL(teacher || student) over the whole vocabulary at every position; the teacher reads `teacher_prompt_ids`."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        if outputs.teacher_kl is None:
            raise ValueError("FullDivergence needs 'teacher_kl'")
        return outputs.teacher_kl


@dataclass(frozen=True, slots=True)
class LogProbability:
    """+log p: minimising it makes the given tokens less likely."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        return outputs.logprobs
