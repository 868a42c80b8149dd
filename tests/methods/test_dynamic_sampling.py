"""Dynamic sampling: which questions are kept, how often others are asked, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from hand import evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.dynamic_sampling import DynamicSampling
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.rft import RFT
from manyminds.records import Group
from test_step import rarely_mixed, step, weights
from toy import EXPERTS, Toy, ToyPolicy, judged

ANSWERS: dict[str, Sequence[Sequence[float]]] = {
    "all wrong": [[0, 0], [0, 0]],
    "all right": [[1, 1], [1, 1]],
    "one expert right, one wrong": [[1, 1], [0, 0]],
    "one expert mixed": [[0, 1], [0, 0]],
    "every expert mixed": [[0, 1], [1, 0]],
}
KEPT = {
    "any": {"one expert mixed", "every expert mixed"},
    "all": {"every expert mixed"},
    "pooled": {"one expert right, one wrong", "one expert mixed", "every expert mixed"},
}


def keeps(part: DynamicSampling, given: Group) -> bool:
    method = Composed(GRPO(experts=("e0", "e1"), parts=(part,)))
    return method.keeps(given, method.initial_memory())


@pytest.mark.parametrize("mixed", KEPT)
def test_which_questions_are_kept(mixed: Any) -> None:
    kept = {name for name, rewards in ANSWERS.items() if keeps(DynamicSampling(mixed=mixed), group(rewards))}
    assert kept == KEPT[mixed]


def test_with_one_expert_they_are_the_same() -> None:
    for rewards, kept in (([0, 0, 0], False), ([1, 1, 1], False), ([0, 1, 1], True), ([0, 0, 1], True)):
        for mixed in ("any", "all", "pooled"):
            assert keeps(DynamicSampling(mixed=mixed), group([rewards])) is kept


def test_the_verdict_counts_whatever_else_is_rewarded() -> None:
    """Rewards that differ among wrong answers carry no signal that the paper means."""
    given = group([[0.0, 0.2, 0.1]])
    assert not keeps(DynamicSampling(), given)
    (answers,) = given.answers
    verdicts = zip(answers.scored, (0.0, 1.0, 0.0), strict=True)
    told = [replace(s, reward=0.3, parts={"exact": verdict}) for s, verdict in verdicts]
    assert keeps(DynamicSampling(), replace(given, answers=(replace(answers, scored=tuple(told)),)))


def test_a_trace_is_nobodys_answer() -> None:
    """A right trace among wrong answers makes no mixed group."""
    given = group([[0.0, 0.0, 1.0]])
    (answers,) = given.answers
    *own, last = answers.scored
    trace = replace(last, rollout=replace(last.rollout, origin="trace:t"))
    for mixed in ("any", "all", "pooled"):
        with_trace = replace(given, answers=(replace(answers, scored=(*own, trace)),))
        assert not keeps(DynamicSampling(mixed=mixed), with_trace)


# In a step.


@pytest.mark.parametrize(("rounds", "asked", "usable"), [(1, 3, 0), (2, 6, 1), (4, 10, 2), (9, 13, 3)])
def test_rounds_are_bounded_and_what_is_refused_is_counted(rounds: int, asked: int, usable: int) -> None:
    """Gold answers come as 5 6 7, 8 9 1, 2 3, 4 5, 6, 7, 8, and 4 and 8 are mixed."""
    part = DynamicSampling(rounds=rounds)
    method = GRPO(experts=("alpha",), questions_per_step=3, answers_per_prompt=6, parts=(part,))
    sampler, _, _, metrics = step(method, judge=rarely_mixed)
    assert len(sampler.drawn) == 6 * asked
    assert metrics["groups/refused"] == asked - usable
    assert metrics["sampled_tokens"] == sum(len(r.ids) for r in sampler.drawn)
    assert metrics.get("trained_rows", 0) == 6 * usable


def test_nothing_is_refused_without_it() -> None:
    _, _, _, metrics = step(GRPO(experts=EXPERTS, questions_per_step=2), judge=rarely_mixed)
    assert metrics["groups/refused"] == 0


def test_where_no_question_is_mixed_a_step_ends_and_teaches_nothing() -> None:
    method = GRPO(experts=("alpha",), questions_per_step=2, parts=(DynamicSampling(rounds=3),))
    before = weights(ToyPolicy(Toy()))
    sampler, policy, _, metrics = step(method, judge=judged(lambda rollout: 1.0))
    assert len(sampler.drawn) == 3 * 2 * 8
    assert metrics["groups/refused"] == 6
    assert torch.equal(weights(policy), before)


# With others.


def test_meml_with_pooled_questions_keeps_the_lesson_of_the_best_for_the_worst() -> None:
    """One expert always right, one always wrong: no credit, but a mutual term. `any` would have thrown it away."""
    parts = (DynamicSampling(mixed="pooled"),)
    method = Composed(MEMLGRPO(experts=("e0", "e1"), hard_coefficient=0.0, mutual_coefficient=0.1, parts=parts))
    given = [group(rewards, [[-2.0] * 2] * 2, name="q" * (i + 1)) for i, rewards in enumerate(ANSWERS.values())]
    kept = [g for g in given if method.keeps(g, method.initial_memory())]
    assert len(kept) == 3
    lesson = lesson_of(method, kept)
    assert len(of_kind(lesson, "borrowed")) == 2 + 1  # of the third, both experts are equal
    told = evaluated(method, lesson.updates[0].examples, lambda prompt, ids: (-5.0,) if prompt[1] == 101 else (-2.0,))
    # e0 lends at log-prob -2, which e1 says at -5: a mean of 3 on two questions of three. The positive parts: A = 1/2
    # for one answer of e0 at -2 in the second question, and for one of e0 and one of e1 in the third; 12 rows.
    assert told.losses["mutual"] == pytest.approx(2.0)
    assert told.losses["policy"] == pytest.approx((0.5 * 2 + 0.5 * 2 + 0.5 * 5) / 12)


def test_it_says_so() -> None:
    said = Composed(build({"name": "meml_grpo", "with": [{"name": "dynamic_sampling"}]})).describe()
    assert said["keeps"] == "dynamic_sampling"
    assert (said["advantage"], said["term policy"], said["examples"]) == ("meml_grpo",) * 3


# Bad input.


def test_a_group_of_one_is_never_mixed() -> None:
    with pytest.raises(UserError) as error:
        RFT(answers_per_prompt=1, parts=(DynamicSampling(),)).settled(("alpha",), 4)
    assert str(error.value) == (
        "method.answers_per_prompt: dynamic_sampling compares answers with one another and needs 2 or more, not 1"
    )


@pytest.mark.parametrize("name", ["dynamic_sampling", "kl_to_reference"])
def test_a_part_is_no_method(name: str) -> None:
    with pytest.raises(UserError) as error:
        Composed(build({"name": name}))
    assert str(error.value) == (
        f"method.name: '{name}' is a part and asks nothing by itself; list it under `with:` of a method that does: "
        f"{{name: grpo, with: [{{name: {name}}}]}}"
    )


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'any', 'all' or 'pooled'"):
        build({"name": "grpo", "with": [{"name": "dynamic_sampling", "mixed": "some"}]})
