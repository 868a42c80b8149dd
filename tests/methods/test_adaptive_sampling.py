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
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.method import Method
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import Ask, Decoding, Progress, Question
from test_step import step
from toy import EXPERTS, QUESTIONS, Toy
from toy_methods import OneGreedy


class Hot(Method):
    """A part: every prompt is asked `n` times, at a temperature of its own."""

    name: str = "hot"
    n: int = 5

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        asks = GRPO(experts=("e0",), answers_per_prompt=self.n).ask(question, memory, progress)
        return tuple(Ask(ask.prompt, ask.n, Decoding(temperature=1.5)) for ask in asks)


def adaptive(*parts: Method, first: int = 2, answers: int = 5) -> Composed:
    """GRPO on two experts with the part, as a recipe settles it."""
    base = GRPO(answers_per_prompt=answers, parts=(AdaptiveSampling(first=first), *parts))
    return Composed(base.settled(("e0", "e1"), 4))


def asked(asks: tuple[Ask, ...]) -> list[tuple[str, int]]:
    return [(ask.prompt.expert, ask.n) for ask in asks]


def rest(method: Composed, rewards: list[list[float]]) -> list[tuple[str, int]]:
    return asked(method.rest(group(rewards), method.initial_memory(), START))


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
        ([[1], [0]], [("e1", 3)]),  # a judge left answers out
    ],
)
def test_the_rest_follows_where_one_of_them_is_wrong(rewards: list[list[float]], more: list[tuple[str, int]]) -> None:
    assert rest(adaptive(), rewards) == more


def test_without_it_there_is_no_rest() -> None:
    assert rest(Composed(GRPO(experts=("e0", "e1"), answers_per_prompt=5)), [[0], [0]]) == []


def test_the_step_draws_whole_groups_of_the_questions_that_are_not_all_right() -> None:
    """The toy's answers are right where their first token is even; what is not drawn is not paid for."""
    base = GRPO(experts=("alpha",), questions_per_step=12, answers_per_prompt=6, parts=(AdaptiveSampling(),))
    sampler, _, _, metrics = step(base, model=Toy())
    assert sampler.draws == ["0/1", "0/1/rest"]
    sizes = Counter(rollout.prompt.question.id for rollout in sampler.drawn)
    first = {id: [r for r in sampler.drawn if r.prompt.question.id == id][:2] for id in sizes}
    assert set(sizes.values()) == {2, 6}
    assert metrics["sampled_tokens"] == sum(len(rollout.ids) for rollout in sampler.drawn)
    assert all((sizes[id] == 2) == all(r.ids[0] % 2 == 0 for r in its) for id, its in first.items())


def test_an_ask_that_is_no_larger_stays_as_it_is() -> None:
    """Who asks one answer on purpose is not asked for more; nor two."""
    method = adaptive(OneGreedy())
    (ask,) = method.ask(group([[0]]).question, method.initial_memory(), START)
    assert ask.n == 1
    assert ask.decoding is not None
    assert rest(method, [[0]]) == []
    assert rest(adaptive(Hot(n=2)), [[0, 0]]) == []


def test_the_rest_is_drawn_as_its_ask_says() -> None:
    method = adaptive(Hot())
    given = group([[0, 1]])
    both = method.ask(given.question, (None,) * 3, START) + method.rest(given, (None,) * 3, START)
    assert [(ask.n, ask.decoding) for ask in both] == [(2, Decoding(temperature=1.5)), (3, Decoding(temperature=1.5))]


def test_who_asks_says_how_many_there_are() -> None:
    """MEML-GRPO may split its answers among the experts; a part that asks may have a number of its own."""
    base = MEMLGRPO(answers_per_prompt=8, split_answers=True, parts=(AdaptiveSampling(),))
    assert rest(Composed(base.settled(("e0", "e1"), 4)), [[0, 1], [1, 1]]) == [("e0", 2)]
    student = TutoredGRPO(student="e0", answers_per_prompt=4, traces="last")
    base = RSGRPO(answers_per_prompt=8, parts=(student, AdaptiveSampling()))
    assert rest(Composed(base.settled(("e0", "e1"), 4)), [[0, 1]]) == [("e0", 2)]


def test_tutors_are_asked_when_the_student_has_answered_in_full() -> None:
    """One right of four is stuck; while it is one of two nobody could know."""
    student = TutoredGRPO(traces="never", tutor_answers=3, stuck=0.25)
    method = RSGRPO(questions_per_step=12, answers_per_prompt=4, parts=(student, AdaptiveSampling()))
    sampler, _, _, metrics = step(method.settled(EXPERTS, 4), model=Toy())
    assert sampler.draws == ["0/1", "0/1/rest", "0/1/follow-up"]
    plain: dict[str, list[bool]] = {}
    for one in sampler.drawn:
        if one.prompt.expert == "plain":
            plain.setdefault(one.prompt.question.id, []).append(one.ids[0] % 2 == 0)
    stuck = {id for id, right in plain.items() if sum(right) <= 1}
    assert all(len(plain[id]) == 4 for id in stuck)
    assert {one.prompt.question.id for one in sampler.drawn if one.prompt.expert != "plain"} == stuck
    assert metrics["tutoring/stuck"] == len(stuck) > 0
    assert any(sum(plain[id][:2]) == 1 for id in stuck)


def test_the_most_that_a_question_costs_is_known_before() -> None:
    student = TutoredGRPO(traces="never", tutor_answers=3)
    base = RSGRPO(answers_per_prompt=5, parts=(student, AdaptiveSampling()))
    method = Composed(base.settled(EXPERTS, 4))
    assert asked(method.asks_if_all_fail(QUESTIONS[3])) == [("plain", 5), *((name, 3) for name in EXPERTS)]
    says = method.describe()
    assert (says["begin"], says["finish"], says["follow_up"]) == (*["adaptive_sampling"] * 2, "tutored_grpo")


@pytest.mark.parametrize("first", [5, 6])
def test_nothing_to_add_is_refused(first: int) -> None:
    with pytest.raises(UserError, match=f"draws {first} answers first, and 'grpo' has 5 in all; lower `first`"):
        adaptive(first=first)


def test_alone_it_asks_nothing() -> None:
    with pytest.raises(UserError, match="'adaptive_sampling' is a part and asks nothing by itself"):
        Composed(build({"name": "adaptive_sampling"}))


def test_it_is_written_and_read() -> None:
    spec = {"name": "grpo", "answers_per_prompt": 4, "with": [{"name": "adaptive_sampling", "first": 3}]}
    assert build(spec).parts == (AdaptiveSampling(first=3),)
