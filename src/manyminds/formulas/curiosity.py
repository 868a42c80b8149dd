"""A bonus for answers that the policy itself found unlikely."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def curiosity_bonus(
    rewards: Float[Tensor, "*lead"], surprise: Float[Tensor, "*lead"], kappa: float, alpha: float
) -> Float[Tensor, "*lead"]:
    """min(|r| / kappa, alpha B), with the surprise B = -(1/T) sum_t log pi(o_t) in nats per token.

    Limits: never negative; with kappa > 1 and a weight of at most 1, r + bonus has the sign of r; r = 0 gives 0; as
    alpha grows it is |r| / kappa whatever the answer. It is added to rewards and penalties alike.
    Source: CDE (arXiv 2509.09675), the actor's bonus.
    """
    return torch.minimum(rewards.abs() / kappa, alpha * surprise)
