"""pass@k against brute force, against its expectation, at its limits, and without overflow."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
import torch

from manyminds.formulas.pass_at_k import pass_at_k


def test_golden() -> None:
    assert pass_at_k(5, 2, 2).item() == pytest.approx(0.7, abs=1e-12)
    assert pass_at_k(24, 1, 8).item() == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("n", range(1, 9))
def test_is_the_share_of_subsets_with_a_right_answer(n: int) -> None:
    for right in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations([True] * right + [False] * (n - right), k))
            expected = sum(any(subset) for subset in subsets) / len(subsets)
            assert pass_at_k(n, right, k).item() == pytest.approx(expected, abs=1e-12)


def test_is_unbiased() -> None:
    n, k, p = 8, 4, 0.3
    rights = torch.arange(n + 1)
    chances = torch.tensor([comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)], dtype=torch.float64)
    assert (chances * pass_at_k(n, rights, k)).sum().item() == pytest.approx(1 - (1 - p) ** k, abs=1e-12)
    naive = 1 - (1 - rights.double() / n) ** k
    assert (chances * naive).sum().item() < 1 - (1 - p) ** k - 0.03


def test_a_tensor_of_counts() -> None:
    n, right = torch.tensor([[8, 8], [24, 16]]), torch.tensor([[0, 3], [5, 16]])
    together = pass_at_k(n, right, 4)
    assert together.shape == (2, 2)
    assert together.dtype == torch.float64
    for i in range(2):
        for j in range(2):
            alone = pass_at_k(int(n[i, j]), int(right[i, j]), 4)
            assert together[i, j].item() == alone.item()
    assert pass_at_k(8, torch.tensor([0, 8]), 4).tolist() == [0.0, 1.0]


def test_limits_are_exact() -> None:
    assert pass_at_k(10, 0, 10).item() == 0.0
    assert pass_at_k(10, 7, 4).item() == 1.0
    assert pass_at_k(10, 1, 10).item() == 1.0
    assert pass_at_k(8, torch.arange(9), 1).tolist() == pytest.approx([c / 8 for c in range(9)], abs=1e-15)


def test_large_counts_do_not_overflow() -> None:
    n, right, k = 20_000, 3, 10_000
    expected = 1 - comb(n - right, k) / comb(n, k)
    assert pass_at_k(n, right, k).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", [0, -1, 9])
def test_k_must_lie_between_1_and_n(k: int) -> None:
    with pytest.raises(ValueError, match="1 <= k <= n"):
        pass_at_k(8, 2, k)


def test_one_question_with_too_few_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="1 <= k <= n"):
        pass_at_k(torch.tensor([8, 3]), torch.tensor([1, 1]), 4)


@pytest.mark.parametrize("right", [-1, 9])
def test_right_must_lie_between_0_and_n(right: int) -> None:
    with pytest.raises(ValueError, match="between 0 and n"):
        pass_at_k(8, right, 4)
