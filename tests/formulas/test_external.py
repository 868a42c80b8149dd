"""Ratios and weights for answers that the policy did not write."""

from __future__ import annotations

from math import exp, inf, log

import pytest
import torch
from torch import Tensor

from manyminds.formulas.external import clipped, comprehension, focal_weight, multiple_importance_ratio, shaped_ratio


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def slope(function: object, *probabilities: float) -> list[float]:
    """The gradient in the log-probs."""
    x = logs(*probabilities).requires_grad_()
    torch.autograd.backward(function(x).sum())  # type: ignore[operator]
    assert x.grad is not None
    return list(x.grad[0].tolist())


# RL-PLUS.


def test_golden_ratio_and_focal_weight() -> None:
    now, old = logs(0.2, 0.9, 0.01, 0.5, 1.0), logs(0.25, 0.9, 0.01, 0.01, 1.0)
    ratio = multiple_importance_ratio(now, old)[0].tolist()
    assert ratio == pytest.approx([0.457143, 0.972973, 0.038835, 1.941748, 1.0], abs=5e-7)
    weight = focal_weight(now, 0.5)[0].tolist()
    assert weight == pytest.approx([0.894427, 0.316228, 0.994987, 0.707107, 0.0], abs=5e-7)


def test_the_ratio_of_other_probabilities() -> None:
    """2 pi over half the old policy, half the other one's guess, and the old policy."""
    assert multiple_importance_ratio(logs(0.3), logs(0.6), 0.5).item() == pytest.approx(
        2 * 0.3 / ((0.6 + 0.5) / 2 + 0.6)
    )
    assert multiple_importance_ratio(logs(1.0), logs(1e-9)).item() == pytest.approx(4, rel=1e-6)


def test_the_ratio_passes_no_gradient_into_the_old_policy_and_its_slope_is_itself() -> None:
    old = logs(0.25, 0.9).requires_grad_()
    assert slope(lambda x: multiple_importance_ratio(x, old), 0.2, 0.9) == pytest.approx(
        multiple_importance_ratio(logs(0.2, 0.9), old)[0].tolist()
    )
    assert old.grad is None


def test_the_focal_weight_is_a_constant() -> None:
    assert not focal_weight(logs(0.3).requires_grad_(), 0.5).requires_grad
    assert focal_weight(logs(0.3, 0.9), 0.0)[0].tolist() == [1.0, 1.0]
    assert focal_weight(logs(0.3), 2.0).item() == pytest.approx(0.49)


def test_a_probability_above_one_by_rounding_is_no_nan() -> None:
    assert focal_weight(torch.tensor([[1e-7]]), 0.5).item() == 0.0


# LUFFY, AMPO.


def test_golden_shaped_ratio() -> None:
    p = (0.01, 0.2, 0.5, 1.0)
    none = torch.zeros(1, 4, dtype=torch.float64)
    assert shaped_ratio(logs(*p), none, 0.1)[0].tolist() == pytest.approx(
        [0.090909, 0.666667, 0.833333, 0.909091], abs=5e-7
    )
    assert slope(lambda x: shaped_ratio(x, none, 0.1), 0.01, 0.1, 0.2, 0.9) == pytest.approx(
        [0.082645, 0.25, 0.222222, 0.09], abs=5e-7
    )


def test_the_shaped_ratio_of_a_known_writer() -> None:
    x = 0.3 / 0.6
    assert shaped_ratio(logs(0.3), logs(0.6), 0.1).item() == pytest.approx(x / (x + 0.1))
    assert shaped_ratio(logs(0.3), logs(0.6), 2.0).item() == pytest.approx(x / (x + 2))
    far = shaped_ratio(torch.tensor([[0.0]]), torch.tensor([[-1e4]]), 0.1)
    assert far.item() == 1.0


def test_clipping_any_ratio() -> None:
    ratio = torch.tensor([[0.5, 1.0, 1.5]])
    assert clipped(ratio, torch.tensor([[2.0]]), 0.2, 0.2)[0].tolist() == pytest.approx([-1.0, -2.0, -2.4])
    assert clipped(ratio, torch.tensor([[-2.0]]), 0.2, 0.2)[0].tolist() == pytest.approx([1.6, 2.0, 3.0])
    assert clipped(ratio, torch.tensor([[-2.0]]), inf, inf)[0].tolist() == pytest.approx([1.0, 2.0, 3.0])


def test_golden_comprehension() -> None:
    assert comprehension(logs(0.9, 0.5)).item() == pytest.approx(0.670820, abs=5e-7)
    assert comprehension(logs(0.9, 0.5), "arithmetic").item() == pytest.approx(0.7)


def test_comprehension_elsewhere() -> None:
    assert comprehension(logs(0.2, 0.3, 0.9)).item() == pytest.approx((0.2 * 0.3 * 0.9) ** (1 / 3))
    assert comprehension(logs(0.5, 0.0)).item() == 0.0
    assert comprehension(torch.tensor([1e-3])).item() == 1.0
    assert comprehension(torch.tensor([log(0.4)] * 5)).item() == pytest.approx(exp(log(0.4)))
