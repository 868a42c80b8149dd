"""Log-probs of chosen tokens by the head: as log_softmax and gather say, with the gradient of every part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from manyminds.policy import head
from manyminds.policy.head import divergence, selected

ROWS, WIDTH, VOCABULARY = 7, 5, 11
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "soft cap": {"softcap": 2.0},
    "both": {"temperature": 1.7, "softcap": 3.0},
}
CHUNKS = {"one row": 1, "three rows": 3 * VOCABULARY + 1, "all rows": 1 << 22}
"""How many logits there may be at once."""


def parts(dtype: torch.dtype = torch.float64, *, bias: bool = True) -> tuple[nn.Linear, Tensor, Tensor]:
    """A head, hidden states and targets, one token chosen twice."""
    linear = nn.Linear(WIDTH, VOCABULARY, bias=bias, dtype=dtype)
    hidden = torch.randn(ROWS, WIDTH, dtype=dtype).mul_(2).requires_grad_()
    return linear, hidden, torch.tensor([3, 0, 10, 3, 5, 1, 7])


def plainly(
    linear: nn.Linear, hidden: Tensor, targets: Tensor, temperature: float = 1.0, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies with the logits of all rows at once."""
    logits = linear(hidden)
    logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
    each = (logits / temperature).log_softmax(-1)
    return each.gather(-1, targets[:, None]).squeeze(-1), -(each.exp() * each).sum(-1)


def gradients(loss: Tensor, *tensors: Tensor | None) -> list[Tensor]:
    """Of these tensors, as they lie in `.grad` afterwards."""
    present = [t for t in tensors if t is not None]
    for t in present:
        t.grad = None
    loss.backward()
    return [t.grad.clone() for t in present if t.grad is not None]


@pytest.fixture(params=CHUNKS.values(), ids=CHUNKS)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", request.param)
    return int(request.param)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_values_and_gradients_are_those_of_the_softmax(settings: dict[str, Any], bias: bool, at_once: int) -> None:
    linear, hidden, targets = parts(bias=bias)
    by_logprob, by_entropy = torch.randn(2, ROWS, dtype=torch.float64)
    theirs = plainly(linear, hidden, targets, **settings)
    wanted = gradients((by_logprob * theirs[0] + by_entropy * theirs[1]).sum(), hidden, linear.weight, linear.bias)
    logprobs, entropies = selected(linear, hidden, targets, **settings, entropy=True)
    assert entropies is not None
    assert torch.allclose(logprobs, theirs[0], rtol=0, atol=1e-12)
    assert torch.allclose(entropies, theirs[1], rtol=0, atol=1e-12)
    loss = (by_logprob * logprobs + by_entropy * entropies).sum()
    ours = gradients(loss, hidden, linear.weight, linear.bias)
    assert len(ours) == len(wanted) == 2 + bias
    for one, other in zip(ours, wanted, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
        assert other.abs().max() > 1e-2


@pytest.mark.parametrize("reads", ["log-probs", "entropies"])
def test_a_loss_may_read_one_of_the_two(reads: str, at_once: int) -> None:
    linear, hidden, targets = parts()
    place = ["log-probs", "entropies"].index(reads)
    wanted = gradients(plainly(linear, hidden, targets)[place].sum(), hidden, linear.weight, linear.bias)
    read = selected(linear, hidden, targets, entropy=True)[place]
    assert read is not None
    for one, other in zip(gradients(read.sum(), hidden, linear.weight, linear.bias), wanted, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_entropies_are_there_if_wanted(at_once: int) -> None:
    linear, hidden, targets = parts()
    logprobs, entropies = selected(linear, hidden, targets)
    assert entropies is None
    wanted = gradients(plainly(linear, hidden, targets)[0].sum(), hidden, linear.weight, linear.bias)
    for one, other in zip(gradients(logprobs.sum(), hidden, linear.weight, linear.bias), wanted, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_the_heads_gradient_is_added_to_what_is_there(at_once: int) -> None:
    """As over micro-batches, and where embeddings are tied: part of the gradient comes from elsewhere."""
    linear, hidden, targets = parts()
    once = gradients(plainly(linear, hidden, targets)[0].sum(), linear.weight, linear.bias)
    linear.weight.grad, linear.bias.grad = torch.ones_like(linear.weight), torch.full_like(linear.bias, 2.0)
    for _ in range(2):
        selected(linear, hidden, targets)[0].sum().backward()
    assert torch.allclose(linear.weight.grad, 1 + 2 * once[0], rtol=0, atol=1e-12)
    assert torch.allclose(linear.bias.grad, 2 + 2 * once[1], rtol=0, atol=1e-12)


def test_tied_weights_have_the_gradient_of_both_uses(at_once: int) -> None:
    embedding = nn.Embedding(VOCABULARY, WIDTH, dtype=torch.float64)
    linear = nn.Linear(WIDTH, VOCABULARY, bias=False)
    linear.weight = embedding.weight
    tokens, targets = torch.tensor([1, 4, 4, 0]), torch.tensor([4, 2, 4, 10])
    (wanted,) = gradients(plainly(linear, embedding(tokens).tanh(), targets)[0].sum(), linear.weight)
    (ours,) = gradients(selected(linear, embedding(tokens).tanh(), targets)[0].sum(), linear.weight)
    assert torch.allclose(ours, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("frozen", ["weight", "bias", "hidden"])
def test_what_is_frozen_has_no_gradient_and_leaves_the_others_as_they_are(frozen: str, at_once: int) -> None:
    linear, hidden, targets = parts()
    named = {"hidden": hidden, "weight": linear.weight, "bias": linear.bias}
    whole = dict(zip(named, gradients(plainly(linear, hidden, targets)[0].sum(), *named.values()), strict=True))
    for tensor in named.values():
        tensor.grad = None
    named[frozen].requires_grad_(False)
    selected(linear, hidden, targets)[0].sum().backward()
    assert named[frozen].grad is None
    for name in named.keys() - {frozen}:
        grad = named[name].grad
        assert grad is not None
        assert torch.allclose(grad, whole[name], rtol=0, atol=1e-12)


def test_without_gradient_nothing_is_kept(at_once: int) -> None:
    linear, hidden, targets = parts()
    with torch.no_grad():
        logprobs, entropies = selected(linear, hidden, targets, entropy=True)
    assert entropies is not None
    assert not logprobs.requires_grad
    assert not entropies.requires_grad
    assert torch.allclose(logprobs, plainly(linear, hidden, targets)[0].detach(), rtol=0, atol=1e-12)


class Sizes(TorchDispatchMode):
    """How many numbers the largest result of any operation has."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for result in out if isinstance(out, tuple | list) else (out,):
            if isinstance(result, Tensor):
                self.largest = max(self.largest, result.numel())
        return out


@pytest.mark.parametrize("rows_at_once", [1, 4, 100])
def test_logits_of_all_rows_are_never_there(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither forward nor backward: the largest thing is the head's weight, the hidden states, or what is allowed."""
    rows, width, vocabulary = 100, 3, 50
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", rows_at_once * vocabulary)
    linear, hidden = nn.Linear(width, vocabulary), torch.randn(rows, width, requires_grad=True)
    with Sizes() as sizes:
        logprobs, entropies = selected(linear, hidden, torch.arange(rows) % vocabulary, entropy=True)
        assert entropies is not None
        (logprobs + entropies).sum().backward()
    assert sizes.largest == max(rows_at_once * vocabulary, vocabulary * width, rows * width)
    with Sizes() as sizes:
        divergence(linear, hidden, torch.randn(rows, width)).sum().backward()
    assert sizes.largest == max(rows_at_once * vocabulary, vocabulary * width, rows * width)


def test_a_certain_token_has_finite_gradients(at_once: int) -> None:
    """One logit far above all others, and one token ruled out: entropy 0, nothing is nan."""
    linear, hidden, targets = parts()
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([2e4, *[0.0] * (VOCABULARY - 2), -torch.inf]))
    targets = targets.clamp(max=0)
    logprobs, entropies = selected(linear, hidden, targets, entropy=True)
    assert entropies is not None
    assert logprobs.tolist() == entropies.tolist() == [0.0] * ROWS
    for grad in gradients((logprobs + entropies).sum(), hidden, linear.weight, linear.bias):
        assert torch.equal(grad, torch.zeros_like(grad))


def test_half_precision_is_summed_in_single() -> None:
    """Hidden states in bfloat16, weights in float32: as exact as the product of bfloat16 numbers."""
    linear, hidden, targets = parts(torch.float32)
    low = hidden.detach().to(torch.bfloat16).requires_grad_()
    logprobs, entropies = selected(linear, low, targets, entropy=True)
    assert entropies is not None
    assert logprobs.dtype == entropies.dtype == torch.float32
    theirs = plainly(linear, low.detach().float().requires_grad_(), targets)
    assert torch.allclose(logprobs, theirs[0], rtol=0, atol=0.05)
    wanted = gradients(theirs[0].sum(), linear.weight)[0]
    ours, of_hidden = gradients(logprobs.sum(), linear.weight, low)
    assert of_hidden.dtype == torch.bfloat16
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, wanted, rtol=0, atol=0.02 * float(wanted.abs().max()))


# Divergence from a teacher.


def divergence_plainly(
    linear: nn.Linear, hidden: Tensor, teacher: Tensor, temperature: float = 1.0, softcap: float | None = None
) -> Tensor:
    """With the logits of all rows at once."""
    raw = [linear(teacher).detach(), linear(hidden)]
    capped = raw if softcap is None else [torch.tanh(logits / softcap) * softcap for logits in raw]
    taught, said = ((logits / temperature).log_softmax(-1) for logits in capped)
    return (taught.exp() * (taught - said)).sum(-1)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_divergence_and_its_gradient_are_those_of_the_softmax(
    settings: dict[str, Any], bias: bool, at_once: int
) -> None:
    linear, hidden, _ = parts(bias=bias)
    teacher = torch.randn_like(hidden).mul_(2).requires_grad_()
    by = torch.randn(ROWS, dtype=torch.float64)
    theirs = divergence_plainly(linear, hidden, teacher, **settings)
    wanted = gradients((by * theirs).sum(), hidden, linear.weight, linear.bias)
    ours = divergence(linear, hidden, teacher, **settings)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    for one, other in zip(gradients((by * ours).sum(), hidden, linear.weight, linear.bias), wanted, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
        assert other.abs().max() > 1e-2
    assert teacher.grad is None


def test_a_divergence_from_itself_is_nothing() -> None:
    linear, hidden, _ = parts()
    ours = divergence(linear, hidden, hidden)
    assert torch.allclose(ours, torch.zeros(ROWS, dtype=torch.float64), rtol=0, atol=1e-12)
    (slope,) = gradients(ours.sum(), hidden)
    assert torch.allclose(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)
