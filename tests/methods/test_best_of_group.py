"""Best of group: by hand, its limits, and what it has in common with MaxRL."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.formulas.advantages import best_share
from manyminds.methods import build
from manyminds.methods.compose import Composed


def composed(**fields: Any) -> Composed:
    return Composed(build({"name": "best_of_group", "experts": ("e0", "e1")} | fields))


def credits(method: Composed, *rewards: list[float]) -> list[list[float]]:
    (credited,) = method.credit([group(rewards)], method.initial_memory(), START)
    return [[scored.advantage for scored in answers.scored] for answers in credited.answers]


def test_the_best_share_one_unit_of_credit() -> None:
    rows = credits(composed(), [1, 0, 0, 0], [1, 1, 0, 1])
    assert rows[0] == [0.75, -0.25, -0.25, -0.25]
    assert rows[1] == pytest.approx([1 / 12, 1 / 12, -1 / 4, 1 / 12])
    assert sum(rows[1]) == pytest.approx(0)
    assert credits(composed(), [1] + [0] * 7)[0][0] == 7 / 8
    assert credits(composed(), [1] * 7 + [0])[0][0] == pytest.approx(1 / 56)


def test_only_which_are_best_counts() -> None:
    assert credits(composed(), [0.3, 0.2, -5]) == credits(composed(), [9, 1, 1])


def test_equal_rewards_give_exactly_nothing() -> None:
    for below in (0.0, 0.5, 1.0):
        assert credits(composed(below=below), [1, 1, 1], [0, 0, 0]) == [[0.0] * 3, [0.0] * 3]
        assert credits(composed(below=below), [0.1 + 0.2, 0.3, 0.3]) == [[0.0] * 3]
        assert not best_share(torch.tensor([[0.7]]), below).any()


def test_below_scales_what_the_others_lose() -> None:
    assert credits(composed(below=0.0), [1, 0], [0, 1]) == [[0.5, 0.0], [0.0, 0.5]]
    assert credits(composed(below=0.5), [1, 0], [0, 1]) == [[0.5, -0.25], [-0.25, 0.5]]


@pytest.mark.parametrize("right", range(1, 9))
def test_with_rewards_of_0_and_1_it_is_maxrl(right: int) -> None:
    """(r - mean r) / mean r, divided by the group's size."""
    rewards = [1.0] * right + [0.0] * (8 - right)
    mean = right / 8
    assert credits(composed(), rewards)[0] == pytest.approx([(r - mean) / mean / 8 for r in rewards])


def test_it_is_the_gradient_of_the_log_of_the_solve_rate() -> None:
    """Where every answer of a softmax policy is drawn as often as it is likely, beside autograd."""
    counts, right = torch.tensor([5.0, 2.0, 1.0]).double(), torch.tensor([0, 1, 1])
    logits = counts.log().requires_grad_()
    torch.autograd.backward((logits.softmax(-1) * right).sum().log())
    drawn = torch.repeat_interleave(torch.arange(3), counts.long())
    other = counts.log().requires_grad_()
    torch.autograd.backward((best_share(right[drawn].double()) * other.log_softmax(-1)[drawn]).sum())
    torch.testing.assert_close(other.grad, logits.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_stay_visible(bad: float) -> None:
    for rewards in (torch.tensor([bad, 0.0]), torch.tensor([bad, bad])):
        assert not torch.isfinite(best_share(rewards)).all()


def test_what_is_not_overridden_is_grpo() -> None:
    assert composed().terms(START) == Composed(build({"name": "grpo"})).terms(START)


def test_in_meml_grpo_it_is_the_credit_and_nothing_else() -> None:
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0}
    plain, joined = (Composed(build(spec | {"with": parts})) for parts in ([], [{"name": "best_of_group"}]))
    assert joined.terms(START) == plain.terms(START)
    sampled = of_kind(lesson_of(joined, [group([[1, 0, 0, 0], [1, 1, 1, 0]])]), "sampled")
    told = evaluated(joined, sampled, lambda prompt, ids: (-1.0,))
    assert told.losses["policy"] == pytest.approx((3 / 4 + 3 / 12) / 8)


@pytest.mark.parametrize("bad", [{"below": -1}, {"below": math.inf}, {"scale": "std"}])
def test_bad_fields_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        build({"name": "best_of_group", **bad})
