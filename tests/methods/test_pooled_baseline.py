"""The pooled baseline: credit against all experts' answers to a question."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from hand import START, group
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.pooled_baseline import PooledBaseline


def credit(rewards: list[list[float]], **fields: Any) -> list[list[Any]]:
    method = Composed(GRPO(experts=("e0", "e1"), parts=(PooledBaseline(**fields),)))
    (credited,) = method.credit([group(rewards)], method.initial_memory(), START)
    return [[one.advantage for one in answers.scored] for answers in credited.answers]


def test_all_experts_answers_share_a_baseline() -> None:
    """Three of four are wrong: the mean is 1/4, and the sample's deviation 1/2."""
    assert credit([[1, 0], [0, 0]], scale="none") == [[0.75, -0.25], [-0.25, -0.25]]
    assert credit([[1, 0], [0, 0]]) == [pytest.approx(row, rel=1e-5) for row in ([1.5, -0.5], [-0.5, -0.5])]


def test_a_rare_experts_right_answer_is_worth_more() -> None:
    rare, common = credit([[1, 0], [0, 0, 0, 0]])[0][0], credit([[1, 0], [1, 1, 0, 0]])[0][0]
    assert rare == pytest.approx((5 / 6) / sqrt(1 / 6), rel=1e-5)
    assert rare > common > 0


def test_groups_of_unequal_size_are_one_pool() -> None:
    assert credit([[1], [0, 0, 0]], scale="none") == [[0.75], [-0.25, -0.25, -0.25]]


def test_equal_rewards_give_exactly_nothing() -> None:
    for rewards in ([[1, 1], [1, 1]], [[0, 0], [0, 0]]):
        assert credit(rewards) == [[0, 0], [0, 0]]


def test_one_expert_is_grpo() -> None:
    alone = Composed(GRPO(experts=("e0",)))
    (credited,) = alone.credit([group([[1, 0, 0]])], alone.initial_memory(), START)
    assert credit([[1, 0, 0]]) == [[one.advantage for one in credited.answers[0].scored]]
