"""Traces have log-probs of the policy before the first update, computed once, and keep those that they bring."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hand import START
from manyminds.batch import collate, weigh
from manyminds.methods.compose import Composed
from manyminds.methods.rl_plus import RLPlus
from manyminds.records import Example, Group, Lesson, Update
from manyminds.step import by_question, learn, recall
from toy import EXPERTS, QUESTIONS, Toy, ToyPolicy, ToySampler, exact

METHOD = Composed(RLPlus(experts=EXPERTS, answers_per_prompt=2, epochs=2))


def groups_of(model: Toy) -> tuple[Group, ...]:
    asks = [ask for question in QUESTIONS[:2] for ask in METHOD.ask(question, (None,), START)]
    drawn = by_question(exact(ToySampler(model).sample(asks, "0/1")))
    return METHOD.credit(METHOD.shape(drawn, {}, (None,), START), (None,), START)


def test_old_logprobs_are_computed_once_before_the_first_of_two_updates() -> None:
    model = Toy()
    policy, groups = ToyPolicy(model, lr=1.0), groups_of(model)
    terms = METHOD.terms(START)
    lesson = recall(METHOD.learn(groups, {}, (None,), Random(0), START), terms, policy)
    rows = {(e.prompt_ids, e.ids) for e in lesson.updates[0].examples}
    assert policy.scored == len(rows)
    assert sum(e.kind == "trace" for e in lesson.updates[0].examples) == 6
    assert lesson.updates[0] == lesson.updates[1]

    before = now(policy, lesson.updates[0])
    learn(lesson.updates[0], terms, policy)
    after = now(policy, lesson.updates[1])
    old = [e.planes["old_logprobs"] for e in lesson.updates[1].examples if e.kind == "trace"]
    assert old == [pytest.approx(row, abs=1e-12) for row in before]
    assert max(abs(a - o) for a, o in zip(after[0], old[0], strict=True)) > 1e-3
    assert policy.scored == len(rows)


def now(policy: ToyPolicy, update: Update) -> list[tuple[float, ...]]:
    rows = [e for e in update.examples if e.kind == "trace"]
    with torch.no_grad():
        logprobs = policy.forward(collate(weigh(rows, METHOD.terms(START)), dtype=torch.float64), frozenset()).logprobs
    return [tuple(line[: len(e.ids)]) for line, e in zip(logprobs.tolist(), rows, strict=True)]


def test_an_example_keeps_the_log_probs_that_it_brings() -> None:
    """A teacher's own, or those of the step that drew it: recalling the policy's would forget who wrote it."""
    mine = {"old_logprobs": (-9.0, -9.0)}
    rows = (Example("trace", (11, 1, 2), (3, 10), planes=mine), Example("trace", (11, 1, 2), (4, 10)))
    policy = ToyPolicy(Toy())
    (update,) = recall(Lesson((Update(rows),)), METHOD.terms(START), policy).updates
    assert update.examples[0].planes == mine
    assert update.examples[1].planes["old_logprobs"] != mine["old_logprobs"]
    assert policy.scored == 1
