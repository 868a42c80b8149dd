"""How much likelier a response has become since it was drawn."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

LARGEST_LOG_RATIO = 60.0
"""Log-ratios are cut here (a ratio of 1e26): an infinite ratio times a zero advantage or mask would be nan."""


def importance_ratio(logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """rho_t = pi(y_t) / pi_old(y_t) = exp(logprobs_t - old_logprobs_t), token by token.

    Limits: 1 where the policies agree, and there d rho / d logprobs = 1; exact up to exp(LARGEST_LOG_RATIO),
    above which it is constant. `old_logprobs` is a constant: no gradient passes into it.
    Source: PPO (arXiv 1707.06347, section 3), per token as in GRPO (arXiv 2402.03300, eq. 3).
    """
    return (logprobs - old_logprobs.detach()).clamp(max=LARGEST_LOG_RATIO).exp()
