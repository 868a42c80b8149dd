"""Estimators of KL(student || reference): values, expectations and gradients over a small vocabulary, by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import pytest
import torch
from torch import Tensor

from manyminds.formulas.divergences import k1_to_reference, k2_to_reference, k3_to_reference

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
KL = sum(p * log(p / q) for p, q in zip(P.tolist(), REFERENCE.tolist(), strict=True))
Estimator = Callable[[Tensor, Tensor], Tensor]


def at(logprob: float, reference: float, estimator: Estimator) -> tuple[float, float]:
    """Value and gradient at one token."""
    own = torch.tensor([[logprob]], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([[reference]], dtype=torch.float64, requires_grad=True)
    value = estimator(own, ref)
    value.sum().backward()
    assert ref.grad is None, "nothing is learnt by the reference"
    assert own.grad is not None
    return float(value.detach()), float(own.grad)


@pytest.mark.parametrize(
    ("estimator", "value", "gradient"),
    [
        (k1_to_reference, 0.5, 1.0),
        (k2_to_reference, 0.125, 0.5),
        (k3_to_reference, exp(-0.5) - 1 + 0.5, 1 - exp(-0.5)),  # 0.106531, 0.393469
    ],
)
def test_one_token(estimator: Estimator, value: float, gradient: float) -> None:
    assert at(-1.0, -1.5, estimator) == pytest.approx((value, gradient))
    assert at(-1.5, -1.5, estimator) == pytest.approx((0.0, 1.0 if estimator is k1_to_reference else 0.0))


def test_the_papers_form() -> None:
    """GRPO eq. 4: pi_ref / pi - log pi_ref / pi - 1."""
    for own, ref in ((0.1, 0.4), (0.9, 0.2), (0.5, 0.5)):
        assert at(log(own), log(ref), k3_to_reference)[0] == pytest.approx(ref / own - log(ref / own) - 1, abs=1e-15)


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    """Over all tokens, each as often as the student draws it."""
    means = [
        float((P * estimator(P.log()[None], REFERENCE.log()[None])[0]).sum())
        for estimator in (k1_to_reference, k2_to_reference, k3_to_reference)
    ]
    assert means == [pytest.approx(KL), pytest.approx(0.7 / 2 * log(2.5) ** 2), pytest.approx(KL)]
    assert abs(means[1] - KL) > 0.01


def expected_gradient(estimator: Estimator) -> list[float]:
    """In the student's logits: sum over tokens of p(v) times the gradient at v, the draw itself held fixed."""
    logits = P.log().clone().requires_grad_()
    logprobs = logits.log_softmax(-1)
    (P * estimator(logprobs[None], REFERENCE.log()[None])[0]).sum().backward()
    assert logits.grad is not None
    return logits.grad.tolist()


def test_whose_gradient_each_has() -> None:
    """By hand: dKL(p || q) / dz_v = p_v (log p_v / q_v - KL), dKL(q || p) / dz_v = p_v - q_v."""
    p, q = P.tolist(), REFERENCE.tolist()
    assert expected_gradient(k1_to_reference) == pytest.approx([0.0] * 3, abs=1e-15)
    due = [a * (log(a / b) - KL) for a, b in zip(p, q, strict=True)]
    assert expected_gradient(k2_to_reference) == pytest.approx(due)
    assert expected_gradient(k3_to_reference) == pytest.approx([a - b for a, b in zip(p, q, strict=True)])


def test_far_away_it_stays_finite() -> None:
    value, gradient = at(-900.0, 0.0, k3_to_reference)
    assert value < 1e27
    assert gradient == 1.0
