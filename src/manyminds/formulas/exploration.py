"""How much a policy explores: the uncertainty of its tokens, and the questions that it never gets right."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FEW = 64
"""So many of the likeliest tokens nearly always hold the nucleus; sorting all of a large vocabulary costs far more."""
ROUNDING = 1e-12
"""What a sum of exact probabilities may miss a share by; those of fewer digits may miss it by `ULPS` of theirs."""
ULPS = 4


def nucleus_sizes(probabilities: Float[Tensor, "*lead V"], share: float = 0.95) -> Int[Tensor, "*lead"]:
    """Rollout branching factor of a token: how many of the likeliest ones together have at least `share` of the mass.

    The smallest k with p_(1) + ... + p_(k) >= share - tolerance, p_(i) in falling order, summed in float64; the
    tolerance is 1e-12 for float64, and 4 times the spacing at 1 for fewer digits (4.8e-7 for float32).
    Limits: 1 where one token has `share` or more; V where probabilities are equal and share is 1.
    Raises ValueError unless 0 < share <= 1. Source: arXiv 2508.07534, with share 0.95.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the nucleus holds a share of the mass in (0, 1], not {share}")
    rows, words = probabilities.reshape(-1, probabilities.shape[-1]), probabilities.shape[-1]
    sizes = _sizes(rows.topk(min(FEW, words)).values, share)
    larger = sizes > min(FEW, words)
    if bool(larger.any()) and words > FEW:
        sizes[larger] = _sizes(rows[larger].sort(descending=True).values, share)
    # where all of the mass, by rounding, is less than the share of it that is wanted
    return sizes.clamp(max=words).reshape(probabilities.shape[:-1])


def _sizes(falling: Tensor, share: float) -> Tensor:
    """The sizes by these probabilities in falling order; one more than their number where they are not enough."""
    rounding = max(ROUNDING, ULPS * torch.finfo(falling.dtype).eps)
    return (falling.double().cumsum(-1) < share - rounding).sum(-1) + 1


def perplexity(logprobs: Float[Tensor, " T"]) -> Float[Tensor, ""]:
    """exp(-(1/T) sum_t log pi(o_t)) of one answer. Limits: 1 where every token was certain; never below.

    Raises ValueError for an answer without a token. Source: arXiv 2508.07534 (instance perplexity).
    """
    if not len(logprobs):
        raise ValueError("an answer without a token has no perplexity")
    return (-logprobs.mean()).exp()


def uncertainty(logprobs: Float[Tensor, "n V"], targets: Int[Tensor, " n"]) -> Float[Tensor, "n F"]:
    """Of each row of log-probs over the vocabulary: that of the target, the entropy in nats, and the nucleus' size.

    H = -sum_v pi_v log pi_v. Source: arXiv 2508.07534.
    """
    said = logprobs.gather(-1, targets[:, None]).squeeze(-1)
    probabilities = logprobs.exp()
    entropies = -(probabilities * logprobs.clamp(min=-1e4)).sum(-1)
    return torch.stack([said, entropies, nucleus_sizes(probabilities).to(said.dtype)], -1)


def unsolved(right: Bool[Tensor, "rows n"], k: int) -> Bool[Tensor, " rows"]:
    """U_k: of each row of answers (those to a question) whether none of the first k is right.

    Raises ValueError unless 1 <= k <= n. Source: arXiv 2508.07534 (k-rollout unsolvable set).
    """
    if not 1 <= k <= right.shape[1]:
        raise ValueError(f"U_k needs 1 <= k <= n, not k = {k} with {right.shape[1]} answers")
    return ~right[:, :k].any(1)
