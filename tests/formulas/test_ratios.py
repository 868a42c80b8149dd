"""Importance ratios: numbers, gradient, and no infinity."""

from __future__ import annotations

import math

import pytest
import torch

from manyminds.formulas.ratios import LARGEST_LOG_RATIO, importance_ratio


def test_golden() -> None:
    new = torch.tensor([[0.6, 0.5, 0.1]], dtype=torch.float64).log()
    old = torch.tensor([[0.3, 0.5, 0.4]], dtype=torch.float64).log()
    assert importance_ratio(new, old).tolist()[0] == pytest.approx([2.0, 1.0, 0.25], rel=1e-12)


def test_the_gradient_is_the_ratio_and_the_old_policy_gets_none() -> None:
    new = torch.tensor([[-1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-1.0, -3.0]], dtype=torch.float64, requires_grad=True)
    importance_ratio(new, old).sum().backward()
    assert new.grad is not None
    assert new.grad.tolist()[0] == pytest.approx([1.0, math.e], rel=1e-12)
    assert old.grad is None


def test_extreme_differences_stay_finite() -> None:
    new = torch.tensor([[0.0, -math.inf]], requires_grad=True)
    ratio = importance_ratio(new, torch.tensor([[-200.0, -1.0]]))
    assert ratio.tolist()[0] == pytest.approx([math.exp(LARGEST_LOG_RATIO), 0.0], rel=1e-5)
    (0.0 * ratio).sum().backward()
    assert new.grad is not None
    assert new.grad.tolist() == [[0.0, 0.0]]
