"""Losses per token. None of them averages: that is done by weights (formulas/averages.py)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyminds.formulas.ratios import importance_ratio


def clipped_surrogate(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "#B #T"],
    low: float,
    high: float,
) -> Float[Tensor, "B T"]:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) with rho = exp(logprobs - old_logprobs).

    `advantages` is one number per token, or per row with shape (B, 1).
    Limits: where rho = 1 the value is -A and the gradient is that of `policy_gradient`; the gradient is 0 where
    A > 0 and rho > 1 + high, and where A < 0 and rho < 1 - low. It is not 0 on the other side, so an answer
    that has become too likely (A < 0) or too unlikely (A > 0) is always pulled back.
    Source: PPO (arXiv 1707.06347, eq. 7), GRPO (arXiv 2402.03300, eq. 3); high > low is DAPO's clip-higher
    (arXiv 2503.14476, eq. 8).
    """
    return clipped(importance_ratio(logprobs, old_logprobs), advantages, low, high)


def clipped(
    ratio: Float[Tensor, "B #T"], advantages: Float[Tensor, "#B #T"], low: float, high: float
) -> Float[Tensor, "B T"]:
    """-min(ratio A, clip(ratio, 1 - low, 1 + high) A), whatever the ratio is one of: a token's, or a whole answer's.

    Limits: as `clipped_surrogate`. Source: there, and GSPO (arXiv 2507.18071, eq. 5).
    """
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def clipped_away(
    ratio: Float[Tensor, "B #T"], advantages: Float[Tensor, "#B #T"], low: float, high: float
) -> tuple[Bool[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Where `clipped` has no gradient: (ratio < 1 - low and A < 0, ratio > 1 + high and A > 0).

    Limits: nowhere at ratio 1, and nowhere at A = 0. Their shares of all tokens are the clip fractions of PPO's
    implementations and, by sign of A, of TRL.
    """
    return (ratio < 1 - low) & (advantages < 0), (ratio > 1 + high) & (advantages > 0)


def clipped_weight_policy_gradient(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "#B #T"],
    low: float,
    high: float,
) -> Float[Tensor, "B T"]:
    """-sg[clip(rho, 1 - low, 1 + high)] A log pi(y_t) with rho = exp(logprobs - old_logprobs).

    The clipped ratio is a weight, without gradient: every token keeps one, also where `clipped_surrogate` has none.
    `advantages` is one number per token, or per row with shape (B, 1); low >= 1 is no lower bound.
    Limits: rho = 1, or low = high = 0, is `policy_gradient`; inside the bounds the gradient is that of `-rho A`.
    Source: CISPO (MiniMax-M1, arXiv 2506.13585, eq. 4 and 5).
    """
    weight = importance_ratio(logprobs, old_logprobs).clamp(1 - low, 1 + high).detach()
    return weight * policy_gradient(logprobs, advantages)


def policy_gradient(logprobs: Float[Tensor, "B T"], advantages: Float[Tensor, "#B #T"]) -> Float[Tensor, "B T"]:
    """-A log pi(y_t): no ratio, no clip.

    `advantages` is one number per token, or per row with shape (B, 1).
    Limits: A = 1 is `cross_entropy`; A = 0 gives 0 and no gradient.
    Source: REINFORCE (Williams 1992); with A = max(A, 0) the policy term of MEML-GRPO (arXiv 2508.09670).
    """
    return -advantages * logprobs


def cross_entropy(logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """-log pi(y_t): supervised learning of the tokens that stand there. 0 only where the policy is certain."""
    return -logprobs
