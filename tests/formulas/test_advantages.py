"""Advantages: golden numbers, limits, and what a shift, a scale or an order may not change."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyminds.formulas.advantages import centred, positive_part, standardised

ONE_RIGHT = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
quarters = st.lists(st.integers(-40, 40), min_size=1, max_size=9).map(
    lambda xs: torch.tensor(xs, dtype=torch.float64) / 4
)


def test_centred_golden() -> None:
    assert centred(ONE_RIGHT).tolist() == [0.75, -0.25, -0.25, -0.25]


def test_centred_of_the_three_experts_of_the_paper_s_example() -> None:
    rewards = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]])
    expected = [[0.0, 0, 0, 0], [0.25, 0.25, -0.75, 0.25], [-0.25, 0.75, -0.25, -0.25]]
    assert centred(rewards).tolist() == expected


def test_standardised_golden() -> None:
    floored = 0.75 / (0.5 + 1e-6)
    torch.testing.assert_close(
        standardised(ONE_RIGHT), torch.tensor([floored, *[-floored / 3] * 3], dtype=torch.float64), rtol=1e-12, atol=0
    )
    assert standardised(ONE_RIGHT).tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=3.1e-6)


def test_standardised_by_the_population_s_deviation() -> None:
    deviation = math.sqrt(3) / 4
    expected = [0.75 / (deviation + 1e-6), *[-0.25 / (deviation + 1e-6)] * 3]
    assert standardised(ONE_RIGHT, ddof=0).tolist() == pytest.approx(expected, rel=1e-12)
    assert standardised(ONE_RIGHT, ddof=0).tolist() == pytest.approx([1.732047, *[-0.577349] * 3], abs=1e-6)


def test_the_floor_is_added_to_the_deviation() -> None:
    assert standardised(ONE_RIGHT, floor=0.5).tolist() == [0.75, -0.25, -0.25, -0.25]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1 / 3, 1.0, 1e6])
@pytest.mark.parametrize("answers", [1, 2, 3, 8, 24])
def test_equal_rewards_give_exactly_zero(value: float, answers: int, dtype: torch.dtype) -> None:
    rewards = torch.full((2, answers), value, dtype=dtype)
    assert not centred(rewards).any()
    assert not standardised(rewards).any()
    assert not standardised(rewards, ddof=0).any()
    assert not standardised(rewards, floor=0.0).any()


def test_rewards_equal_but_for_rounding_give_exactly_zero() -> None:
    rewards = torch.tensor([0.1 + 0.2, 0.3, 0.3, 0.6 / 2], dtype=torch.float64)
    assert rewards.unique().numel() > 1
    assert not centred(rewards).any()
    assert not standardised(rewards).any()


def test_a_small_true_difference_is_kept() -> None:
    rewards = torch.tensor([1.0, 1.0, 1.0, 1.001])
    assert centred(rewards).tolist() == pytest.approx([-0.00025] * 3 + [0.00075], abs=2e-7)
    assert standardised(rewards)[-1].item() == pytest.approx(1.5, abs=5e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_stay_visible(bad: float) -> None:
    for rewards in (torch.tensor([bad, 0.0]), torch.tensor([bad, bad])):
        assert not torch.isfinite(centred(rewards)).all()
        assert not torch.isfinite(standardised(rewards)).all()


def test_every_group_has_its_own_baseline() -> None:
    rewards = torch.rand(3, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rewards[1, 1] = 0.1
    for formula in (centred, standardised):
        together = formula(rewards)
        assert together.shape == rewards.shape
        for i in range(3):
            for j in range(2):
                torch.testing.assert_close(together[i, j], formula(rewards[i, j]), rtol=1e-12, atol=1e-15)
        assert not together[1, 1].any()
        assert together[0, 0].all()


def test_positive_part() -> None:
    assert positive_part(torch.tensor([0.25, 0.0, -0.75])).tolist() == [0.25, 0.0, 0.0]


@settings(deadline=None, max_examples=50)
@given(quarters, st.integers(-8, 8), st.randoms(use_true_random=False))
def test_shift_order_and_sum(rewards: torch.Tensor, shift: int, random: Random) -> None:
    order = list(range(len(rewards)))
    random.shuffle(order)
    for formula in (centred, standardised):
        advantages = formula(rewards)
        torch.testing.assert_close(formula(rewards + shift), advantages, rtol=0, atol=1e-9)
        torch.testing.assert_close(formula(rewards[order]), advantages[order], rtol=0, atol=1e-9)
        assert advantages.sum().item() == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(quarters, st.integers(1, 64))
def test_scale(rewards: torch.Tensor, factor: int) -> None:
    torch.testing.assert_close(centred(factor * rewards), factor * centred(rewards), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        standardised(factor * rewards, floor=0.0), standardised(rewards, floor=0.0), rtol=1e-9, atol=1e-9
    )
    variance = standardised(rewards, floor=0.0).square().sum().item() / max(len(rewards) - 1, 1)
    assert variance == pytest.approx(0.0 if rewards.unique().numel() == 1 else 1.0, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(quarters)
def test_the_two_parts_make_the_whole(rewards: torch.Tensor) -> None:
    advantages = centred(rewards)
    assert torch.equal(positive_part(advantages) - positive_part(-advantages), advantages)
