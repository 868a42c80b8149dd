"""Adaptive sampling: what is drawn first, where the rest follows, and what is paid for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hand import START, group
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.adaptive_sampling import AdaptiveSampling
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import Ask
from test_step import step
from toy import EXPERTS, QUESTIONS, Toy
from toy_methods import OneGreedy


def adaptive(first: int = 2, answers: int = 5, *parts: Any, **fields: Any) -> Composed:
    """GRPO on two experts with the part, as a recipe settles it."""
    base = GRPO(answers_per_prompt=answers, parts=(AdaptiveSampling(first=first), *parts), **fields)
    return Composed(base.settled(("e0", "e1"), 4))


def asked(asks: tuple[Ask, ...]) -> list[tuple[str, int]]:
    return [(ask.prompt.expert, ask.n) for ask in asks]


def test_a_few_answers_come_first() -> None:
    method = adaptive()
    given = group([[1, 1], [1, 1]])
    assert asked(method.ask(given.question, method.initial_memory(), START)) == [("e0", 2), ("e1", 2)]


@pytest.mark.parametrize(
    ("rewards", "more"),
    [
        ([[1, 1], [1, 1]], []),
        ([[1, 0], [1, 1]], [("e0", 3)]),
        ([[0, 0], [0, 1]], [("e0", 3), ("e1", 3)]),
    ],
)
def test_the_rest_follows_where_one_of_them_is_wrong(rewards: list[list[float]], more: list[tuple[str, int]]) -> None:
    method = adaptive()
    assert asked(method.follow_up(group(rewards), method.initial_memory(), START)) == more


def test_the_step_draws_whole_groups_of_the_questions_that_are_not_all_right() -> None:
    """The toy's answers are right where their first token is even; what is not drawn is not paid for."""
    base = GRPO(
        experts=("alpha",), questions_per_step=12, answers_per_prompt=6, parts=(AdaptiveSampling(answers_per_prompt=6),)
    )
    sampler, _, _, metrics = step(base, model=Toy())
    assert sampler.draws == ["0/1", "0/1/follow-up"]
    sizes = Counter(rollout.prompt.question.id for rollout in sampler.drawn)
    first = {id: [r for r in sampler.drawn if r.prompt.question.id == id][:2] for id in sizes}
    assert set(sizes.values()) == {2, 6}
    assert metrics["sampled_tokens"] == sum(len(rollout.ids) for rollout in sampler.drawn)
    assert all((sizes[id] == 2) == all(r.ids[0] % 2 == 0 for r in its) for id, its in first.items())


def test_an_ask_that_is_no_larger_stays_as_it_is() -> None:
    """Who asks one answer on purpose is not asked for more."""
    method = adaptive(2, 5, OneGreedy())
    (ask,) = method.ask(group([[0]]).question, method.initial_memory(), START)
    assert ask.n == 1
    assert ask.decoding is not None
    assert method.follow_up(group([[0]]), method.initial_memory(), START) == ()


def test_several_parts_follow_up() -> None:
    """Union: tutors are asked where both first answers are wrong, and the student gives the rest."""
    student = TutoredGRPO(traces="never", tutor_answers=3)
    base = RSGRPO(answers_per_prompt=5, parts=(student, AdaptiveSampling()))
    method = Composed(base.settled(EXPERTS, 4))
    assert asked(method.asks_if_all_fail(QUESTIONS[3])) == [
        ("plain", 2),
        *((name, 3) for name in EXPERTS),
        ("plain", 3),
    ]
    assert method.describe()["follow_up"] == "tutored_grpo + adaptive_sampling"
    assert method.describe()["trim"] == "adaptive_sampling"


@pytest.mark.parametrize("first", [5, 6])
def test_nothing_to_add_is_refused(first: int) -> None:
    with pytest.raises(UserError, match=f"draws {first} answers first, and 'grpo' has 5 in all; lower `first`"):
        adaptive(first)


def test_alone_it_asks_nothing() -> None:
    with pytest.raises(UserError, match="'adaptive_sampling' is a part and asks nothing by itself"):
        Composed(build({"name": "adaptive_sampling"}))


def test_it_is_written_and_read() -> None:
    spec = {"name": "grpo", "answers_per_prompt": 4, "with": [{"name": "adaptive_sampling", "first": 3}]}
    assert build(spec).parts == (AdaptiveSampling(first=3),)
