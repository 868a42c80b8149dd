"""Curiosity: the golden numbers, the limits, the schedule, and what it does to a loss beside others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.formulas.curiosity import curiosity_bonus
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.curiosity import Curiosity, surprise
from manyminds.records import Group, Progress, Prompt, Question, Rollout

AS_GIVEN = {"reward_range": "as_given", "schedule": "constant"}


def composed(base: str = "grpo", experts: int = 1, **fields: Any) -> Composed:
    names = [f"e{i}" for i in range(experts)]
    return Composed(build({"name": base, "experts": names, "with": [{"name": "curiosity", **fields}]}))


def shaped(rewards: Sequence[float], surprises: Sequence[float], progress: Progress = START, **fields: Any) -> Group:
    """The group under its rewards and bonuses."""
    method = composed(**fields)
    one = group([rewards], [[-b for b in surprises]])
    (after,) = method.shape((one,), {}, method.initial_memory(), progress)
    return after


def rewards_of(*args: Any, **fields: Any) -> tuple[float, ...]:
    return shaped(*args, **fields).answers[0].rewards


def test_golden() -> None:
    after = shaped([1, 1, -1, -1], [0.2, 0.8, 0.2, 0.8], **AS_GIVEN)
    assert after.answers[0].rewards == pytest.approx((1.2, 4 / 3, -0.8, -2 / 3))
    bonuses = [s.parts["curiosity_bonus"] for s in after.answers[0].scored]
    assert bonuses == pytest.approx([0.2, 1 / 3, 0.2, 1 / 3])
    method = composed(**AS_GIVEN)
    (credited,) = method.credit((after,), method.initial_memory(), START)
    found = [s.advantage for s in credited.answers[0].scored]
    assert found == pytest.approx([0.806499, 0.921714, -0.921714, -0.806499], abs=2e-6)
    (plain,) = method.credit((group([[1, 1, -1, -1]]),), method.initial_memory(), START)
    assert [s.advantage for s in plain.answers[0].scored] == pytest.approx([0.866025] * 2 + [-0.866025] * 2, abs=2e-6)


def test_golden_of_zero_one_rewards_and_of_the_surprise() -> None:
    assert rewards_of([1, 0, 0, 0], [0.2, 0.8, 0.2, 0.8], **AS_GIVEN) == pytest.approx((1.2, 0, 0, 0))
    said = tuple(map(math.log, (0.5, 0.25, 1.0)))
    prompt = Prompt(Question("q", "", ""), "e")
    assert surprise(Rollout(prompt, (1, 2, 3), said, "")) == pytest.approx(0.693147, abs=1e-6)
    # A token that the policy did not choose does not surprise it.
    assert surprise(Rollout(prompt, (1, 2, 3), said, "", mask=(1, 0, 1))) == pytest.approx(math.log(2) / 2)
    assert surprise(Rollout(prompt, (), (), "")) == 0


def test_zero_one_rewards_are_read_as_the_papers() -> None:
    """r in {0, 1} is (R + 1) / 2 with R in {-1, 1}: standardised, the credit is that of R."""
    zero_one = composed(schedule="constant")
    paper = composed(**AS_GIVEN)
    surprises = [[-0.1, -0.9, -0.25, -0.7]]
    found = []
    for method, rewards in ((zero_one, [1, 1, 0, 0]), (paper, [1, 1, -1, -1])):
        groups = method.shape((group([rewards], surprises),), {}, method.initial_memory(), START)
        (credited,) = method.credit(groups, method.initial_memory(), START)
        found.append([s.advantage for s in credited.answers[0].scored])
    assert found[0] == pytest.approx(found[1], abs=1e-5)  # the floor of the spread is not halved
    assert rewards_of([1, 0], [0.3, 0.3], schedule="constant") == pytest.approx((1.15, 0.15))


@pytest.mark.parametrize("kappa", [1.0001, 3.0, 50.0])
def test_no_reward_changes_its_sign(kappa: float) -> None:
    rewards = torch.linspace(-1, 1, 21, dtype=torch.float64)
    for b in (0.0, 0.1, 7.0, 1e9):
        after = rewards + curiosity_bonus(rewards, torch.full_like(rewards, b), kappa, 1.0)
        assert torch.equal(after.sign(), rewards.sign())
        assert bool((after >= rewards).all())


@pytest.mark.parametrize("fields", [{"kappa": 1.0}, {"kappa": 0.5}, {"weight": 1.5}, {"weight": -0.1}, {"alpha": -1.0}])
def test_what_could_turn_a_reward_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Curiosity(**fields)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, [1, 1, 0, 0]),
        ({"until": 0.8}, [1, 1, 1, 0]),
        ({"schedule": "linear", "until": 1.0}, [1, 0.75, 0.5, 0.0]),
        ({"schedule": "linear"}, [1, 0.5, 0, 0]),
        ({"schedule": "cosine", "until": 1.0}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, 0]),
        ({"schedule": "constant"}, [1, 1, 1, 1]),
        ({"schedule": "linear", "until": 0.0}, [0, 0, 0, 0]),
    ],
)
def test_the_schedule(fields: dict[str, Any], wanted: list[float]) -> None:
    part = Curiosity(**fields)
    assert [part.remaining(share) for share in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(wanted)
    for share, weight in zip((0.0, 0.25, 0.5, 1.0), wanted, strict=True):
        found = rewards_of([1, 0], [0.2, 9.0], Progress(3, share), **{"weight": 0.5, **fields})
        assert found == pytest.approx((1 + 0.5 * weight * 0.1, 0.5 * weight / 6))


def test_without_weight_it_is_the_base() -> None:
    """After the staircase too; the verdict is always the verifier's."""
    one = group([[1, 0, 1]], [[-0.1, -2.0, -0.5]])
    base = Composed(build({"name": "grpo", "experts": ["e0"]}))
    for method, progress in ((composed(weight=0.0), START), (composed(), Progress(9, 0.5))):
        (after,) = method.shape((one,), {}, method.initial_memory(), progress)
        (credited,) = method.credit((after,), method.initial_memory(), progress)
        (plain,) = base.credit((one,), base.initial_memory(), progress)
        assert [s.advantage for s in credited.answers[0].scored] == [s.advantage for s in plain.answers[0].scored]
    (after,) = composed().shape((one,), {}, (None, None), START)
    assert [s.verdict for s in after.answers[0].scored] == [1, 0, 1]


def test_a_trace_keeps_its_reward() -> None:
    one = group([[1, 0]], [[-0.1, -2.0]])
    trace = replace(one.answers[0].scored[0].rollout, origin="trace:teacher")
    scored = (replace(one.answers[0].scored[0], rollout=trace), one.answers[0].scored[1])
    one = replace(one, answers=(replace(one.answers[0], scored=scored),))
    (after,) = composed().shape((one,), {}, (None, None), START)
    assert after.answers[0].rewards == pytest.approx((1, 1 / 6))


def test_beside_meml_grpo_the_policy_loss_is_that_of_the_shaped_rewards() -> None:
    """By hand: positive part of the centred reward, over all six answers; who teaches whom is the verifier's matter."""
    method = composed("meml_grpo", 2, schedule="constant")
    one = group([[1, 0, 0], [0, 0, 0]], [[-0.2, -0.6, -2.0], [-0.1, -0.5, -3.0]])
    (after,) = method.shape((one,), {}, method.initial_memory(), START)
    bonus = [[0.1, 1 / 6, 1 / 6], [0.05, 1 / 6, 1 / 6]]
    due = []
    for row, its in zip(([1, 0, 0], [0, 0, 0]), bonus, strict=True):
        rewards = [r + b for r, b in zip(row, its, strict=True)]
        due += [max(r - sum(rewards) / 3, 0.0) for r in rewards]
    lesson = lesson_of(method, (after,))
    rows = of_kind(lesson, "sampled")
    told = evaluated(method, rows, lambda prompt, ids: (-0.7,))
    assert told.losses["policy"] == pytest.approx(sum(0.7 * a for a in due) / 6)
    assert [g[0] for g in told.gradients] == pytest.approx([-a / 6 for a in due])
    assert lesson.metrics["mutual/pairs/e0->e1"] == 1
    assert [e.ids for e in of_kind(lesson, "borrowed")] == [(0,)]


def test_it_is_no_method_by_itself() -> None:
    with pytest.raises(UserError, match="'curiosity' is a part"):
        Composed(build({"name": "curiosity"}))
