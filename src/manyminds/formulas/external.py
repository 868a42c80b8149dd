"""Learning from answers that the policy did not write: how much each of their tokens counts."""

from __future__ import annotations

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor


def multiple_importance_ratio(
    logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"], other: float = 1.0
) -> Float[Tensor, "B T"]:
    """r_t = 2 pi(e_t) / (guess + pi_old(e_t)),  guess = pi_old(e_t) / 2 + other / 2,  for tokens of an unknown writer.

    The guess stands for the writer's probability: half the old policy, half `other`, which the authors set to 1.
    Limits: with other = 1 it lies between 0 and 4; it is 1 where both policies are certain of the token, and goes to
    4 pi / other as both become small. `old_logprobs` is a constant. d r / d logprobs = r.
    Source: RL-PLUS (arXiv 2508.00222), multiple importance sampling.
    """
    return 2 * logprobs.exp() / (1.5 * old_logprobs.detach().exp() + 0.5 * other)


def focal_weight(logprobs: Float[Tensor, "B T"], focus: float) -> Float[Tensor, "B T"]:
    """C_t = (1 - sg[pi(e_t)])^focus: tokens that the policy finds unlikely count more. sg is the stop-gradient.

    Limits: focus = 0 gives 1; near 1 for a token the policy would not write, 0 for one it is certain of (also where
    rounding puts its probability above 1).
    Source: RL-PLUS (arXiv 2508.00222), the exploration-based advantage.
    """
    return (1 - logprobs.detach().exp()).clamp(min=0).pow(focus)


def shaped_ratio(
    logprobs: Float[Tensor, "B T"], writer_logprobs: Float[Tensor, "B T"], gamma: float
) -> Float[Tensor, "B T"]:
    """f(x) = x / (x + gamma) with x = pi(e_t) / pi_writer(e_t); log-probs of 0 for the writer give f(pi(e_t)).

    Limits: between 0 and 1; f(0) = 0, f(gamma) = 1/2. d f / d logprobs = gamma x / (x + gamma)^2, at most 1/4 (at
    x = gamma): against a ratio without f, unlikely tokens gain and likely ones lose.
    Source: LUFFY (arXiv 2504.14945), policy shaping; AMPO (arXiv 2510.02227) has it with the teacher's probability.
    """
    # The sigmoid is f without an exponential that could overflow.
    return (logprobs - writer_logprobs.detach() - math.log(gamma)).sigmoid()


def clipped(
    ratio: Float[Tensor, "B T"], advantages: Float[Tensor, "#B #T"], low: float, high: float
) -> Float[Tensor, "B T"]:
    """-min(r A, clip(r, 1 - low, 1 + high) A) for any ratio r.

    Limits: with low = high = inf it is -r A. For r < 1 and A > 0 the clip never bites.
    Source: PPO (arXiv 1707.06347, eq. 7); on a shaped ratio AMPO (arXiv 2510.02227, eq. 7).
    """
    return -(ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)


def comprehension(
    logprobs: Float[Tensor, "*lead T"], mean: Literal["geometric", "arithmetic"] = "geometric"
) -> Float[Tensor, "*lead"]:
    """How likely the policy finds the reference answer after a teacher's reasoning: the mean probability of its tokens.

    Geometric: exp(mean_t log pi(y_t)); arithmetic: mean_t pi(y_t). Both are cut to [0, 1].
    Limits: equal token probabilities give that probability in both; geometric is never above arithmetic, and 0 if one
    token is impossible.
    Source: AMPO (arXiv 2510.02227, eq. 4); its release takes the arithmetic mean.
    """
    value = logprobs.mean(-1).exp() if mean == "geometric" else logprobs.exp().mean(-1)
    return value.clamp(0, 1)
