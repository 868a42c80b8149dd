"""Metrics with numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hand import group
from manyminds.metrics import Metrics, of_groups, of_rollouts
from manyminds.records import Group

GROUPS = (
    group([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]], name="q"),
    group([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], name="qq"),
)


def test_groups() -> None:
    told = of_groups(GROUPS)
    assert told == {
        "reward": pytest.approx(5 / 16),
        "reward_std": pytest.approx((0 + (3 / 16) ** 0.5 + 0 + 0) / 4),
        "frac_reward_zero_std": 0.75,
        "groups/all_wrong": 0.5,
        "groups/all_right": 0.25,
        "groups/mixed": 0.25,
        "groups/pooled_all_wrong": 0.5,
        "groups/pooled_all_right": 0.0,
        "experts/e0/reward": 0.5,
        "experts/e0/frac_all_wrong": 0.5,
        "experts/e0/frac_all_right": 0.5,
        "experts/e1/reward": 0.125,
        "experts/e1/frac_all_wrong": 0.5,
        "experts/e1/frac_all_right": 0.0,
    }


def test_parts_count_where_they_apply() -> None:
    (answers,) = group([[1.0, 0.0, 0.0]]).answers
    parts = ({"exact": 1.0, "form": None}, {"exact": 0.0, "form": 0.5}, {"exact": 0.0, "form": None})
    scored = tuple(replace(s, parts=p) for s, p in zip(answers.scored, parts, strict=True))
    told = of_groups([Group(answers.prompt.question, (replace(answers, scored=scored),))])
    assert told["rewards/exact/mean"] == pytest.approx(1 / 3)
    assert told["rewards/exact/std"] == pytest.approx((2 / 9) ** 0.5)
    assert (told["rewards/form/mean"], told["rewards/form/std"]) == (0.5, 0.0)


def test_rollouts() -> None:
    (answers,) = group([[0.0, 0.0]], ids=[[(1,), (2, 3, 4)]]).answers
    short, long = (s.rollout for s in answers.scored)
    drawn = (replace(short, entropies=(0.3,)), replace(long, finish="length", entropies=(0.1, 0.2, 0.6)))
    assert of_rollouts(drawn) == {
        "completions/mean_length": 2,
        "completions/min_length": 1,
        "completions/max_length": 3,
        "completions/clipped_ratio": 0.5,
        "entropy": pytest.approx(0.3),
    }
    assert "entropy" not in of_rollouts((short, long))


def test_nothing_drawn_tells_nothing() -> None:
    assert of_groups(()) == of_rollouts(()) == {}


def test_counts_add_up_and_the_rest_is_the_latest() -> None:
    metrics = Metrics()
    metrics.add({"trained_tokens": 3, "lr": 0.1})
    metrics.add({"trained_tokens": 4, "lr": 0.2})
    assert metrics.values == {"trained_tokens": 7, "lr": 0.2}


def test_the_budget_adds_up_over_rounds() -> None:
    metrics = Metrics()
    for groups in (GROUPS, GROUPS[:1]):
        metrics.sampled([s.rollout for g in groups for a in g.answers for s in a.scored])
    assert metrics.values["sampled_tokens"] == 16 + 8
