"""Log-probs of chosen tokens, and divergences, without the logits of all rows: the head, some of them at a time.

Peak memory is that of `LOGITS_AT_ONCE` numbers and does not grow with rows times vocabulary. Nothing of size V is kept
for the backward pass, which makes the logits again, and the head's gradient is added where it lives.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyminds.formulas.divergences import full_kl

LOGITS_AT_ONCE = 1 << 24
"""64 MiB of float32 logits: with a vocabulary of 150,000 some hundred rows, enough for full-speed products."""


def capped(logits: Tensor, softcap: float | None) -> Tensor:
    """softcap * tanh(logits / softcap), as Gemma 2 has it; without one, the logits as they are."""
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


class _Selected(torch.autograd.Function):
    """log p and, if wanted, entropy of softmax(cap(h W^T + b) / temperature).

    With p the probabilities and H the entropy:  d log p_y / d z = e_y - p,  d H / d z = -p (log p + H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        softcap: float | None,
        wants_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.temperature, ctx.softcap, ctx.wants_entropy = temperature, softcap, wants_entropy
        wide = torch.promote_types(hidden.dtype, torch.float32)
        logprobs = torch.empty(len(targets), dtype=wide, device=hidden.device)
        entropies = torch.zeros_like(logprobs)
        for rows in chunks(len(targets), len(weight)):
            each = _logprobs(hidden[rows], weight, bias, ctx)[0]
            logprobs[rows] = each.gather(-1, targets[rows, None]).squeeze(-1)
            if wants_entropy:
                entropies[rows] = -(each.exp() * each.clamp(min=-1e4)).sum(-1)
        ctx.mark_non_differentiable(*() if wants_entropy else (entropies,))
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, by_logprob: Tensor, by_entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for rows in chunks(len(targets), len(weight)):
            each, bend = _logprobs(hidden[rows], weight, bias, ctx)
            slope = _selected_slope(each, by_logprob[rows, None], by_entropy[rows, None] if ctx.wants_entropy else None)
            slope.scatter_add_(-1, targets[rows, None], by_logprob[rows, None])
            del each  # the next chunk's logits take its place, not one beside it
            _pass_on(ctx, slope, bend, hidden[rows], None if of_hidden is None else of_hidden[rows])
            del slope, bend
        return of_hidden, None, None, None, None, None, None


def _selected_slope(each: Tensor, by_logprob: Tensor, by_entropy: Tensor | None) -> Tensor:
    """-p (by_logprob + by_entropy (log p + H)), written over the log-probs."""
    if by_entropy is None:
        return each.exp_().mul_(-by_logprob)
    p = each.clamp_(min=-1e4).exp()
    entropy = -(p * each).sum(-1, keepdim=True)
    return each.add_(entropy).mul_(by_entropy).add_(by_logprob).mul_(p).neg_()


class _Divergence(torch.autograd.Function):
    """KL(p_teacher || p) with p of softmax(cap(h W^T + b) / temperature):  d KL / d z = p - p_teacher.

    The teacher is the same head on other hidden states, and has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        teacher: Tensor,
        temperature: float,
        softcap: float | None,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, teacher)
        ctx.temperature, ctx.softcap = temperature, softcap
        each = torch.empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        for rows in chunks(len(hidden), len(weight)):
            taught, said = (_logprobs(states[rows], weight, bias, ctx)[0] for states in (teacher, hidden))
            each[rows] = full_kl(taught, said)
        return each

    @staticmethod
    def backward(ctx: Any, by_divergence: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, teacher = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for rows in chunks(len(hidden), len(weight)):
            said, bend = _logprobs(hidden[rows], weight, bias, ctx)
            taught = _logprobs(teacher[rows], weight, bias, ctx)[0]
            slope = said.exp_().sub_(taught.exp_()).mul_(by_divergence[rows, None])
            del said, taught
            _pass_on(ctx, slope, bend, hidden[rows], None if of_hidden is None else of_hidden[rows])
            del slope, bend
        return of_hidden, None, None, None, None, None


def _pass_on(ctx: Any, slope: Tensor, bend: Tensor | None, hidden: Tensor, of_hidden: Tensor | None) -> None:
    """The gradient in tempered logits, back through temperature and cap to the hidden states, weight and bias."""
    _, weight, bias, _ = ctx.saved_tensors
    if ctx.temperature != 1:
        slope /= ctx.temperature
    if bend is not None:
        slope *= bend
    slope = slope.to(hidden.dtype)
    if of_hidden is not None:
        of_hidden.copy_(slope @ weight.to(slope.dtype))
    if ctx.needs_input_grad[1]:
        _grad(weight).addmm_(slope.T.to(weight.dtype), hidden.to(weight.dtype))
    if bias is not None and ctx.needs_input_grad[2]:
        _grad(bias).add_(slope.sum(0))


def _logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, ctx: Any) -> tuple[Tensor, Tensor | None]:
    """Log-probs of every token, and the derivative of the cap, if there is one."""
    logits = nn.functional.linear(hidden, weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype))
    logits = capped(logits.to(torch.promote_types(logits.dtype, torch.float32)), ctx.softcap)
    bend = None if ctx.softcap is None else 1 - (logits / ctx.softcap).square()
    return torch.log_softmax(logits if ctx.temperature == 1 else logits.div_(ctx.temperature), -1), bend


def chunks(rows: int, vocabulary: int) -> list[slice]:
    """Slices of so many rows that a chunk's logits are at most `LOGITS_AT_ONCE` numbers, or one row's."""
    size = max(1, LOGITS_AT_ONCE // vocabulary)
    return [slice(first, first + size) for first in range(0, rows, size)]


def _grad(parameter: Tensor) -> Tensor:
    """Where the parameter's gradient lives: adding to it there, a gradient of the head is held once."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def selected(
    head: nn.Linear,
    hidden: Float[Tensor, "n W"],
    targets: Int[Tensor, " n"],
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]:
    """Log-prob of each target under the tempered softmax of the head, and the entropies in nats if wanted.

    The gradient of the head's own weights is added to their `.grad` directly; that of `hidden` flows on.
    """
    apply: Any = _Selected.apply
    logprobs, entropies = apply(hidden, head.weight, head.bias, targets, temperature, softcap, entropy)
    return logprobs, entropies if entropy else None


def divergence(
    head: nn.Linear,
    hidden: Float[Tensor, "n W"],
    teacher: Float[Tensor, "n W"],
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Float[Tensor, " n"]:
    """KL(p_teacher || p) in nats over the vocabulary, each the tempered softmax of the head on its hidden states.

    Gradients flow as in `selected`; none to the teacher. Formula: `formulas.divergences.full_kl`.
    """
    apply: Any = _Divergence.apply
    each: Tensor = apply(hidden, head.weight, head.bias, teacher, temperature, softcap)
    return each
