"""Credit for each answer of a group. The last axis is the group: the answers that share a baseline."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def centred(rewards: Float[Tensor, "*lead answers"]) -> Float[Tensor, "*lead answers"]:
    """A_g = r_g - mean(r): the reward above the group's mean, not divided by its spread.

    Limits: equal rewards and a group of one give exactly 0; a constant added to all rewards changes nothing;
    the advantages of a group sum to 0. Equal means: up to a few units in the last place (`_equal`).
    Source: Dr. GRPO (arXiv 2503.20783); the intra-expert advantage of MEML-GRPO (arXiv 2508.09670).
    """
    difference = rewards - rewards.mean(-1, keepdim=True)
    return torch.where(_equal(rewards), torch.zeros_like(rewards), difference)


def standardised(
    rewards: Float[Tensor, "*lead answers"], ddof: int = 1, floor: float = 1e-6
) -> Float[Tensor, "*lead answers"]:
    """A_g = (r_g - mean(r)) / (std(r) + floor), std(r)^2 = sum_g (r_g - mean(r))^2 / (answers - ddof).

    `ddof` is 1 for the sample's deviation (verl, TRL) and 0 for the population's; `floor` has the rewards' unit.
    Limits: equal rewards and a group of one give exactly 0. As floor -> 0, a factor on all rewards changes
    nothing; as floor grows, A -> centred(r) / floor.
    Source: GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.2); ddof and floor as in verl.
    """
    difference = centred(rewards)
    variance = difference.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    # Equal rewards are replaced last, so that floor = 0 leaves no 0 / 0 either.
    return torch.where(_equal(rewards), torch.zeros_like(rewards), difference / (variance.sqrt() + floor))


def positive_part(advantages: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """max(A, 0): learn from answers better than the baseline, ignore the others.

    Limits: the positive part of A less that of -A is A; a group of equal rewards stays 0.
    Source: the policy term of MEML-GRPO as printed (arXiv 2508.09670).
    """
    return advantages.clamp(min=0)


def _equal(rewards: Float[Tensor, "*lead answers"]) -> Bool[Tensor, "*lead 1"]:
    """Whether a group's rewards differ by rounding only: by less than 8 units in the last place of the largest.

    The mean of eight times 0.1 is not 0.1 in floating point. Without this test, such a group would keep a
    tiny advantage that division by its tiny spread makes visible, and its rows would not count as dead.
    Rewards that are not finite are never equal, so they stay visible in the result.
    """
    spread = rewards.amax(-1, keepdim=True) - rewards.amin(-1, keepdim=True)
    rounding = 8 * torch.finfo(rewards.dtype).eps * rewards.abs().amax(-1, keepdim=True)
    return (spread == 0) | (spread < rounding)
