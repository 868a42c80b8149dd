"""Credit to credit: by how likely an answer was, and by where in it a token stands."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def within_group(log_perplexities: Float[Tensor, " answers"]) -> Float[Tensor, " answers"]:
    """z = (l - mean) / std over the group's answers, l = -(1/T) sum_t log pi(o_t).

    Mean and std (the population's; 1 where it is at most 1e-6) are those of the answers within [Q1 - 1.5 IQR,
    Q3 + 1.5 IQR], quartiles interpolated; an outlier has its z all the same.
    Limits: equal answers and a group of one give 0. Source: the code of arXiv 2508.07534.
    """
    quartiles = torch.quantile(log_perplexities, log_perplexities.new_tensor([0.25, 0.75]))
    reach = 1.5 * (quartiles[1] - quartiles[0])
    rounding = 64 * torch.finfo(log_perplexities.dtype).eps * (1 + log_perplexities.abs().max())
    inside = (log_perplexities >= quartiles[0] - reach - rounding) & (
        log_perplexities <= quartiles[1] + reach + rounding
    )
    kept = log_perplexities[inside]
    spread = kept.std(correction=0)
    return (log_perplexities - kept.mean()) / torch.where(spread <= 1e-6, torch.ones_like(spread), spread)


def perplexity_weights(
    log_perplexities: Float[Tensor, " answers"], alpha: float, bound: float
) -> Float[Tensor, " answers"]:
    """clip(1 - alpha z, 1 - bound, 1 + bound), z of `within_group`: what an answer's credit is multiplied by.

    Limits: alpha = 0 gives 1; alpha > 0 favours likely answers, alpha < 0 unlikely ones; with bound < 1 no credit
    changes its sign. Source: arXiv 2508.07534; the bounds are its code's.
    """
    return (1 - alpha * within_group(log_perplexities)).clamp(1 - bound, 1 + bound)


def later_tokens(
    advantages: Float[Tensor, " T"], relative: Float[Tensor, " T"], height: float, steepness: float, share: float
) -> Float[Tensor, " T"]:
    """A + sign(A) min(height sigmoid(steepness (x - 1/2)), share |A|), x in [0, 1) the place in the answer.

    Limits: 0 stays 0, and no credit changes its sign; height = 0 changes nothing; early tokens are left as they are.
    Source: the code of arXiv 2508.07534, with height 0.1, steepness 15, share 0.5.
    """
    bonus = height * torch.sigmoid(steepness * (relative - 0.5))
    return advantages + advantages.sign() * torch.minimum(bonus, share * advantages.abs())
