"""How far the student (the policy under one prompt) is from a teacher. The teacher never gets a gradient.

The teacher may be the same weights under another prompt: without the stop-gradient the teacher would also
move towards the student. sg[.] is the stop-gradient.

`log_ratio_from_teacher`, `k3` and `full_kl` are KL(teacher || student); those `..._to_reference` are
KL(student || reference), on tokens that the student drew.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyminds.formulas.ratios import LARGEST_LOG_RATIO


def log_ratio_from_teacher(
    teacher_logprobs: Float[Tensor, "B T"], logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """sg[log p_teacher(y_t)] - log p_student(y_t), on responses that the teacher wrote.

    Summed over a response drawn from the teacher, it is the one-sample estimate of KL(teacher || student) over
    sequences. Limits: 0 where they agree; may be negative token by token; its gradient is that of
    `cross_entropy` on the teacher's tokens.
    Source: the mutual term of MEML-GRPO (arXiv 2508.09670) with its sign corrected: the printed expression
    is the negative of this and, when minimised, makes the teacher's answer less likely for the student.
    """
    return teacher_logprobs.detach() - logprobs


def k3(teacher_logprobs: Float[Tensor, "B T"], logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """exp(u) - 1 - u with u = log p_student(y_t) - sg[log p_teacher(y_t)], on tokens that the teacher drew.

    An unbiased estimate of KL(teacher || student) per token with less variance than -u.
    Limits: never negative; 0 with zero gradient where they agree, about u^2 / 2 near there.
    The gradient exp(u) - 1 in log p_student grows without bound where the student is far likelier.
    Source: Schulman, "Approximating KL divergence" (2020), estimator k3. GRPO (arXiv 2402.03300, eq. 4)
    has the same form with the roles exchanged: there the student draws the tokens (`k3_to_reference`).
    """
    u = logprobs - teacher_logprobs.detach()
    return torch.expm1(u) - u


def full_kl(teacher_logits: Float[Tensor, "*places V"], logits: Float[Tensor, "*places V"]) -> Float[Tensor, "*places"]:
    """KL(p_teacher || p_student) = sum_v p_teacher(v) (log p_teacher(v) - log p_student(v)), at every token.

    Limits: never negative but for rounding; 0 where they agree; d/d logits = softmax(logits) - p_teacher.
    A token the teacher rules out (logit -inf) adds 0, ruled out by the student or not; one that only the
    student rules out makes it infinite. Adding a constant to either side's logits changes nothing.
    Source: Kullback and Leibler 1951; the per-token form of the mutual term of MEML-GRPO is ours.
    """
    teacher = teacher_logits.detach().log_softmax(-1)
    each = teacher.exp() * (teacher - logits.log_softmax(-1))
    return torch.where(teacher.isneginf(), torch.zeros_like(each), each).sum(-1)


def k1_to_reference(logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """log p(y_t) - sg[log p_reference(y_t)], on tokens that the student drew.

    An unbiased estimate of KL(student || reference) per token; may be negative. As a loss it does not do what its name
    says: its gradient is that of log p, the reference has no part in it, and over fresh draws it is 0 on average.
    Source: Schulman, "Approximating KL divergence" (2020), estimator k1.
    """
    return logprobs - reference_logprobs.detach()


def k2_to_reference(logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """(log p(y_t) - sg[log p_reference(y_t)])^2 / 2, on tokens that the student drew.

    A biased estimate of KL(student || reference) per token, whose gradient over fresh draws is that of the divergence.
    Limits: never negative; 0 with zero gradient where they agree. Source: as `k1_to_reference`, estimator k2.
    """
    return (logprobs - reference_logprobs.detach()).square() / 2


def k3_to_reference(logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """exp(u) - 1 - u with u = sg[log p_reference(y_t)] - log p(y_t), on tokens that the student drew.

    An unbiased estimate of KL(student || reference) per token with less variance than -u. Its gradient 1 - exp(u) in
    log p is, over fresh draws, that of KL(reference || student).
    Limits: never negative; 0 with zero gradient where they agree, about u^2 / 2 near there; exp(u) is cut at
    exp(LARGEST_LOG_RATIO). Source: GRPO (arXiv 2402.03300, eq. 4); as `k1_to_reference`, estimator k3.
    """
    u = reference_logprobs.detach() - logprobs
    return torch.expm1(u.clamp(max=LARGEST_LOG_RATIO)) - u
