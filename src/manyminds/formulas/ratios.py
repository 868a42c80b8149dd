"""How much likelier a response has become since it was drawn."""

from __future__ import annotations

import torch
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


def sequence_ratio(
    logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"], mask: Float[Tensor, "B T"]
) -> Float[Tensor, "B 1"]:
    """s = (pi(y) / pi_old(y))^(1/|y|) = exp(mean over the |y| tokens of logprobs_t - old_logprobs_t), one for each row.

    `mask` is 1 at the tokens that count, of which there are |y|. Limits: 1 where the policies agree, and in a row
    without tokens; a row of one token has `importance_ratio`. ds / d logprobs_t = s / |y| at every token. Exact up to
    exp(LARGEST_LOG_RATIO). `old_logprobs` is a constant.
    Source: GSPO (arXiv 2507.18071, eq. 7): the geometric mean, so that long and short answers share one clip range.
    """
    difference = torch.where(mask > 0, logprobs - old_logprobs.detach(), torch.zeros_like(logprobs))
    mean = difference.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return mean.clamp(max=LARGEST_LOG_RATIO).exp()


def sequence_ratio_per_token(
    logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"], mask: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """s_t = sg[s] pi(y_t) / sg[pi(y_t)]: the value of `sequence_ratio` at every token, the gradient at its own.

    Limits: ds_t / d logprobs_t = s, and 0 in the log-probs of other tokens. With one advantage a row, the mean over its
    tokens of s_t A has the value and the gradient of s A. Source: GSPO-token (arXiv 2507.18071, eq. 14).
    """
    return sequence_ratio(logprobs, old_logprobs, mask).detach() * (logprobs - logprobs.detach()).exp()
