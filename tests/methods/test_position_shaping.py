"""Position shaping: the golden numbers, the window, masked tokens, and the gradient it gives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.position_shaping import PositionShaping
from manyminds.records import Floats, Group, Ids, Progress, Prompt, Question, Rollout, Scored

PROMPT = Prompt(Question("q", "", "", prompt_ids={"e0": (1,)}), "e0")


def shaped(credit: float | Floats, n: int = 4, mask: Ids = (), **fields: Any) -> float | Floats:
    rollout = Rollout(PROMPT, tuple(range(n)), (-1.0,) * n, "", mask=mask)
    return PositionShaping(**fields).shaped(Scored(rollout, 0.0, advantage=credit))


@pytest.mark.parametrize(
    ("credit", "wanted"),
    [
        (1.5, (1.500055, 1.502298, 1.55, 1.597702)),
        (-0.5, (-0.500055, -0.502298, -0.55, -0.597702)),
        (0.1, (0.100055, 0.102298, 0.15, 0.15)),
    ],
)
def test_golden(credit: float, wanted: Floats) -> None:
    assert shaped(credit) == pytest.approx(wanted, abs=1e-6)


def test_other_numbers_by_hand() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    found = shaped(-2.0, 3, height=0.4, steepness=6.0, share=0.1)
    assert found == pytest.approx([-2 - min(0.4 * sigmoid(6 * (t / 3 - 0.5)), 0.2) for t in range(3)])
    by_token = shaped((1.0, -1.0), 2, height=0.2, steepness=0.0, share=1.0)
    assert by_token == pytest.approx((1.1, -1.1))


def test_limits() -> None:
    assert shaped(0.0) == (0.0,) * 4
    assert shaped(0.7, height=0.0) == pytest.approx((0.7,) * 4)
    assert shaped(0.7, share=0.0) == pytest.approx((0.7,) * 4)
    assert shaped(0.7, n=0) == 0.7


def test_tokens_that_the_policy_did_not_choose_do_not_count() -> None:
    found = shaped(1.5, 6, mask=(1, 0, 1, 0, 1, 1))
    assert found == pytest.approx((1.500055, 1.5, 1.502298, 1.5, 1.55, 1.597702), abs=1e-6)
    assert shaped(1.5, 2, mask=(0, 0)) == (1.5, 1.5)


@pytest.mark.parametrize(
    ("fields", "active"),
    [
        ({}, [True, True, True, True]),
        ({"start": 0.25}, [False, True, True, True]),
        ({"start": 0.25, "stop": 0.5}, [False, True, False, False]),
        ({"steps": (200, 300)}, [False, False, True, False]),
        ({"steps": (199, 202), "stop": 0.0}, [False, True, True, False]),
    ],
)
def test_the_window(fields: dict[str, Any], active: list[bool]) -> None:
    places = [Progress(1, 0.0), Progress(200, 0.25), Progress(201, 0.5), Progress(300, 0.75)]
    assert [PositionShaping(**fields).within(place) for place in places] == active
    method = Composed(build({"name": "grpo", "experts": ["e0"], "with": [{"name": "position_shaping", **fields}]}))
    base = Composed(build({"name": "grpo", "experts": ["e0"]}))
    one = group([[1, 0]], ids=[[(1, 2), (3,)]])
    for place, on in zip(places, active, strict=True):
        (found,) = method.credit((one,), method.initial_memory(), place)
        (plain,) = base.credit((one,), base.initial_memory(), place)
        assert (found != plain) is on


def with_part(base: str, experts: int = 1) -> Composed:
    names = [f"e{i}" for i in range(experts)]
    return Composed(build({"name": base, "experts": names, "with": [{"name": "position_shaping"}]}))


def test_the_gradient_of_a_token_is_its_own_credit() -> None:
    """GRPO's mean over two answers of the mean over their tokens; the ratio is 1."""
    method = with_part("grpo")
    one = group([[1, 0]], ids=[[(1, 2, 3, 4), (5,)]])
    rows = of_kind(lesson_of(method, (one,)), "sampled")
    told = evaluated(method, rows, lambda prompt, ids: (-1.0,) * len(ids))
    a = math.sqrt(0.5)
    late = [0.1 / (1 + math.exp(-15 * (t / 4 - 0.5))) for t in range(4)]
    assert told.gradients[0] == pytest.approx([-(a + b) / 8 for b in late], abs=1e-5)
    assert told.gradients[1] == pytest.approx([(a + late[0]) / 2], abs=1e-5)


def test_beside_meml_grpo_only_what_was_better_is_learnt_and_its_end_most() -> None:
    method = with_part("meml_grpo", 2)
    one = group([[1, 0], [0, 0]], ids=[[(1, 2), (3, 4)], [(5, 6), (7, 8)]])
    rows = of_kind(lesson_of(method, (one,)), "sampled")
    told = evaluated(method, rows, lambda prompt, ids: (-1.0,) * len(ids))
    bonus = (0.1 / (1 + math.exp(7.5)), 0.05)
    assert told.gradients[0] == pytest.approx([-(0.5 + b) / 2 / 4 for b in bonus])
    assert all(g == (0.0, 0.0) for g in told.gradients[1:])


def test_groups_without_a_signal_stay_dead() -> None:
    method = with_part("grpo")
    one: Group = replace(group([[1, 1]], ids=[[(1, 2), (3,)]]))
    (after,) = method.credit((one,), method.initial_memory(), START)
    assert all(not any(s.advantage) for s in after.answers[0].scored if isinstance(s.advantage, tuple))
