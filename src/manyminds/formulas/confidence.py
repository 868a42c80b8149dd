"""How sure a policy is of given tokens, and rewards made from that. All of them are constants: no gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def mean_probability(logprobs: Float[Tensor, " T"]) -> Float[Tensor, ""]:
    """(1/T) sum_t p(y_t), from log-probs in nats.

    Limits: in [0, 1]; one unlikely token costs at most 1/T of it, which a product would not forgive; no token gives 0.
    Source: RLPR's reward, which DARL's (arXiv 2601.14700) is made from.
    """
    return logprobs.exp().sum() / max(len(logprobs), 1)


def product_probability(logprobs: Float[Tensor, " T"]) -> Float[Tensor, ""]:
    """prod_t p(y_t): the probability of the whole span. No token gives 0. Source: an alternative in RLPR's code."""
    return logprobs.sum().exp() if len(logprobs) else logprobs.sum()


def geometric_probability(logprobs: Float[Tensor, " T"]) -> Float[Tensor, ""]:
    """(prod_t p(y_t))^(1/T) = exp(-cross entropy), never more than `mean_probability`. No token gives 0.

    Source: an alternative in RLPR's code.
    """
    return logprobs.mean().exp() if len(logprobs) else logprobs.sum()


CONFIDENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": mean_probability,
    "product": product_probability,
    "geometric": geometric_probability,
}


def gain(confidence: Float[Tensor, "*lead"], without: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """max(confidence - without, 0): how much likelier reasoning made the reference than it was without any.

    Limits: 0 where reasoning did not help, however much it harmed; never above `confidence`.
    Source: RLPR's debiased reward (`threshold_0` in its code).
    """
    return (confidence - without).clamp(min=0)


def shortfall(reference: Float[Tensor, "*lead"], own: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """max(reference - own, 0): by how much the policy is less sure of its own answer than of the reference.

    Source: DARL's Delta r (arXiv 2601.14700).
    """
    return (reference - own).clamp(min=0)


def within(shortfalls: Float[Tensor, "*lead"], bounds: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """The shortfalls that are not above their bound; 0 for the others. Equal but for rounding counts as not above.

    With the bound reference / gamma it is DARL's dynamic gate (arXiv 2601.14700): the surer the policy is of the
    reference, the further its own answer may be from it, and the bonus is never more than reference / gamma.
    """
    rounding = 8 * torch.finfo(shortfalls.dtype).eps
    return torch.where(shortfalls <= bounds + rounding, shortfalls, torch.zeros_like(shortfalls))
