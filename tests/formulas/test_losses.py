"""Losses per token: numbers by hand, where the gradient is and is not, and what each reduces to."""

from __future__ import annotations

import math

import pytest
import torch

from manyminds.formulas.advantages import centred, positive_part
from manyminds.formulas.losses import clipped_surrogate, cross_entropy, policy_gradient


def surrogate_and_slope(ratio: float, advantage: float, low: float = 0.2, high: float = 0.28) -> tuple[float, float]:
    """The loss at this ratio, and its derivative with respect to the log-prob."""
    logprobs = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-1.0]], dtype=torch.float64)
    loss = clipped_surrogate(logprobs, old, torch.tensor([[advantage]], dtype=torch.float64), low, high)
    (slope,) = torch.autograd.grad(loss.sum(), logprobs)
    return loss.item(), slope.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.0, -2.0, 2.0, 2.0),
        (1.2, 2.0, -2.4, -2.4),  # inside: rho A
        (1.5, 2.0, -2.56, 0.0),  # clipped at 1 + high
        (0.5, 2.0, -1.0, -1.0),  # too unlikely for a good answer: pulled back
        (0.5, -2.0, 1.6, 0.0),  # clipped at 1 - low
        (1.5, -2.0, 3.0, 3.0),  # too likely for a bad answer: pulled back
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate_golden(ratio: float, advantage: float, loss: float, slope: float) -> None:
    assert surrogate_and_slope(ratio, advantage) == pytest.approx((loss, slope), abs=1e-12)


def test_low_and_high_are_not_swapped() -> None:
    assert surrogate_and_slope(1.3, 1.0, low=0.1, high=0.5)[0] == pytest.approx(-1.3)
    assert surrogate_and_slope(0.7, -1.0, low=0.5, high=0.1)[0] == pytest.approx(0.7)


def test_on_policy_it_has_the_policy_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    logprobs = -torch.rand(3, 4, generator=generator, dtype=torch.float64)
    advantages = torch.randn(3, 1, generator=generator, dtype=torch.float64)
    new, plain = logprobs.clone().requires_grad_(), logprobs.clone().requires_grad_()
    loss = clipped_surrogate(new, logprobs, advantages, 0.2, 0.2)
    assert torch.equal(loss, -advantages.expand(3, 4))
    (slope,) = torch.autograd.grad(loss.sum(), new)
    (expected,) = torch.autograd.grad(policy_gradient(plain, advantages).sum(), plain)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=0)


def test_an_advantage_per_row_is_the_same_as_per_token() -> None:
    generator = torch.Generator().manual_seed(2)
    new, old = (-torch.rand(2, 3, generator=generator) for _ in range(2))
    advantages = torch.tensor([[0.5], [-1.0]])
    per_token = advantages.expand(2, 3)
    assert clipped_surrogate(new, old, advantages, 0.2, 0.2).shape == (2, 3)
    assert torch.equal(
        clipped_surrogate(new, old, advantages, 0.2, 0.2), clipped_surrogate(new, old, per_token, 0.2, 0.2)
    )
    assert torch.equal(policy_gradient(new, advantages), policy_gradient(new, per_token))


@pytest.mark.parametrize("advantage", [1.0, 0.0])
def test_a_ratio_beyond_all_bounds_gives_no_nan(advantage: float) -> None:
    logprobs = torch.tensor([[0.0]], requires_grad=True)
    loss = clipped_surrogate(logprobs, torch.tensor([[-1000.0]]), torch.tensor([[advantage]]), 0.2, 0.2)
    (slope,) = torch.autograd.grad(loss.sum(), logprobs)
    assert loss.item() == pytest.approx(-1.2 * advantage)
    assert slope.item() == 0.0


def test_policy_gradient_of_the_paper_s_example() -> None:
    rewards = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]])
    logprobs = torch.tensor([[-3.0, -3, -3, -3], [-2, -3, -1, -4], [-5, -2, -1, -3]])
    positive = policy_gradient(logprobs, positive_part(centred(rewards))).mean(-1)
    assert positive.tolist() == [0.0, 0.5625, 0.375]
    assert positive.mean().item() == pytest.approx(0.3125)
    assert policy_gradient(logprobs, centred(rewards)).mean(-1).tolist() == [0.0, 0.375, -0.1875]


def test_cross_entropy_is_the_policy_gradient_at_advantage_one() -> None:
    logprobs = torch.tensor([[-8.0, -10.0, 0.0]], requires_grad=True)
    loss = cross_entropy(logprobs)
    assert loss.tolist() == [[8.0, 10.0, 0.0]]
    assert torch.equal(loss, policy_gradient(logprobs, torch.ones(1, 1)))
    (slope,) = torch.autograd.grad(loss.sum(), logprobs)
    assert slope.tolist() == [[-1.0, -1.0, -1.0]]
