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


def leave_one_out(rewards: Float[Tensor, "*lead answers"]) -> Float[Tensor, "*lead answers"]:
    """A_g = r_g - mean of the other answers' rewards: a baseline that does not contain the answer it is for.

    The same as centred(r) * answers / (answers - 1). Limits: equal rewards and a group of one, which has no others,
    give exactly 0; the advantages of a group sum to 0.
    Source: RLOO (Kool et al. 2019; arXiv 2402.14740, eq. 8).
    """
    answers = rewards.shape[-1]
    return centred(rewards) * (answers / max(answers - 1, 1))


def exponential_utility(rewards: Float[Tensor, "*lead answers"], beta: float) -> Float[Tensor, "*lead 1"]:
    """J = 1/beta log mean_g exp(beta r_g): what a group is worth to who seeks risk (beta > 0) or avoids it.

    `beta` has the unit of 1 / reward. Limits: beta = 0 is the mean; beta -> +-inf the largest or smallest reward; equal
    rewards are worth what each is; a constant added to all rewards is added to J. Nothing overflows: the exponents
    count from the largest, and none is above 0.
    Source: RS-GRPO (arXiv 2509.24261).
    """
    if beta == 0:
        return rewards.mean(-1, keepdim=True)
    top = rewards.amax(-1, keepdim=True) if beta > 0 else rewards.amin(-1, keepdim=True)
    return top + torch.expm1(beta * (rewards - top)).mean(-1, keepdim=True).log1p() / beta


def risk_sensitive(rewards: Float[Tensor, "*lead answers"], beta: float) -> Float[Tensor, "*lead answers"]:
    """A_g = (exp(beta (r_g - J)) - 1) / beta with J = exponential_utility(r, beta); not divided by a spread.

    Limits: beta = 0 is `centred`; as beta grows, A -> (answers / m - 1) / beta for the m best answers and -1 / beta for
    the others; -1 / beta <= A <= (answers - 1) / beta for beta > 0. A group's advantages sum to 0, equal rewards and a
    group of one give exactly 0, a constant added to all rewards changes nothing. A factor c on all rewards is one on
    beta: A(c r, beta) = c A(r, c beta). So the rewards' range comes before the choice of beta.
    Source: RS-GRPO (arXiv 2509.24261), in the form that does not overflow.
    """
    if beta == 0:
        return centred(rewards)
    credit = torch.expm1(beta * (rewards - exponential_utility(rewards, beta))) / beta
    # 0 * r makes rewards that are not finite visible, as everywhere here.
    return torch.where(_equal(rewards), torch.zeros_like(rewards), credit + 0 * rewards)


def best_share(rewards: Float[Tensor, "*lead answers"], below: float = 1.0) -> Float[Tensor, "*lead answers"]:
    """A_g = 1/m - 1/answers for the m answers that share the highest reward, -below / answers for the others.

    Limits: equal rewards (m = answers) and a group of one give exactly 0; with below = 1 the advantages of a group sum
    to 0; only which answers are best counts, not by how much. With rewards 0 and 1 and below = 1 it is
    centred(r) / (mean(r) answers), and 0 in a group without a right answer.
    Source: with rewards 0 and 1, MaxRL (arXiv 2602.02710) divided by the group's size.
    """
    answers = rewards.shape[-1]
    best = (rewards == rewards.amax(-1, keepdim=True)).to(rewards.dtype)
    m = best.sum(-1, keepdim=True)
    credit = best / m - (best + (1 - best) * below) / answers
    return torch.where(_equal(rewards), torch.zeros_like(rewards), credit + 0 * rewards)


def batch_standardised(
    credit: Float[Tensor, " rows"], weights: Float[Tensor, " rows"], ddof: int = 0
) -> Float[Tensor, " rows"]:
    """z_i = (c_i - mean) / std over all rows of a step, where row i stands for w_i equal ones.

    mean = sum_i w_i c_i / W and std^2 = sum_i w_i (c_i - mean)^2 / (W - ddof), with W = sum_i w_i. The `weights` are
    counts: 1 each for statistics over answers, the answers' lengths for those over tokens.
    Limits: if all rows that count have equal credit, all get exactly 0; a constant added to the credit and a factor
    above 0 on it change nothing; no row at all is no error. There is no floor.
    Source: over answers Crossing the Reward Bridge (arXiv 2503.23829), over tokens REINFORCE++ (arXiv 2501.03262).
    """
    counting = credit[weights > 0]
    if not counting.numel() or bool(_equal(counting)):
        return torch.zeros_like(credit)
    total = weights.sum()
    difference = credit - (weights * credit).sum() / total
    variance = (weights * difference.square()).sum() / (total - ddof)
    return difference / variance.sqrt()


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
