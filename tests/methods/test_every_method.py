"""The contract that every built-in method passes, and every arm that is compared with it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from arms import ARMS
from hand import START
from manyminds.batch import Row, alive, weigh
from manyminds.config import dump
from manyminds.errors import UserError
from manyminds.memory import from_json, to_json
from manyminds.methods import METHODS, build, find
from manyminds.methods.compose import Composed
from manyminds.objective import Term, evaluate, needed, total
from manyminds.records import Lesson, Progress, Update
from manyminds.step import by_question, recall, scored
from toy import EXPERTS, QUESTIONS, Toy, ToyPolicy, ToySampler, parity


def test_every_method_has_an_arm() -> None:
    """A part is in that of a method that it is a part of."""
    assert {one["name"] for arm in ARMS.values() for one in (arm, *arm.get("with", ()))} == set(METHODS)


@pytest.fixture(params=ARMS)
def method(request: pytest.FixtureRequest) -> Composed:
    spec = {"experts": EXPERTS, "questions_per_step": 3, "answers_per_prompt": 5, **ARMS[request.param]}
    return Composed(build(spec))


def lesson_of(method: Composed, model: Toy, memory: Any = None) -> tuple[Lesson, tuple[Term, ...]]:
    """What a step learns from three questions, half of whose answers are right."""
    memory = method.initial_memory() if memory is None else memory
    asks = [ask for question in QUESTIONS[42:45] for ask in method.ask(question, memory, START)]
    answers = parity(ToySampler(model).sample(asks, "0/1"))
    asks = [ask for group in by_question(answers) for ask in method.follow_up(group, memory, START)]
    drawn = by_question(answers + parity(ToySampler(model).sample(asks, "0/1/follow-up")))
    scores = scored(ToyPolicy(model, reference=Toy(1)), method.wants(drawn))
    groups = method.credit(method.shape(drawn, scores, memory, START), memory, START)
    lesson = method.learn(groups, scores, memory, Random(0), START)
    terms = method.terms(START)
    return recall(lesson, terms, ToyPolicy(model, reference=Toy(1))), terms


def gradient(model: Toy, rows: Sequence[Row], terms: Sequence[Term], rows_at_once: int = 999) -> Tensor:
    """The gradient over all parameters as one vector."""
    own = copy.deepcopy(model)
    policy = ToyPolicy(own, rows_at_once=rows_at_once)
    for batch in policy.split(rows):
        shares = evaluate(terms, policy.forward(batch, needed(terms)), batch)
        if shares:
            policy.backward(total(terms, shares))
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in own.parameters()])


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-13) and bool(a.abs().max() > 1e-5)


def living(update: Update, terms: Sequence[Term]) -> list[Row]:
    return [row for row in weigh(update.examples, terms) if alive(row, terms)]


# The value.


def test_a_saved_method_loads_again(method: Composed) -> None:
    saved = json.loads(json.dumps(dump(method.base)))
    assert build(saved) == method.base
    assert type(build(saved)) is type(method.base)


def test_it_is_frozen_and_refuses_unknown_keys(method: Composed) -> None:
    with pytest.raises(ValueError, match="frozen"):
        method.base.name = "other"
    with pytest.raises(ValueError, match="answers_per_promt"):
        build({**dump(method.base), "answers_per_promt": 3})


@pytest.mark.parametrize("name", METHODS)
def test_it_says_what_it_is(name: str) -> None:
    kind = find(name)
    assert kind.model_fields["name"].default == name
    assert len(kind.paper) > 20
    assert re.fullmatch(r"\d{4}\.\d{5}", kind.arxiv) or kind.paper == "manyminds, docs/beyond.md"
    assert kind.summary.endswith(".")
    assert len(kind.summary) < 120
    assert kind.__doc__
    assert find(name)(experts=EXPERTS).settled(EXPERTS, 4).experts == EXPERTS


def test_mutual_learning_needs_two() -> None:
    with pytest.raises(UserError, match="meml_grpo needs 2 or more of them, not 1"):
        build({"name": "meml_grpo"}).settled(("alpha",), 4)


# What it teaches.


def test_no_example_goes_unread_and_no_term_without_examples(method: Composed) -> None:
    """Of two steps: what is remembered may be learnt in the next."""
    first, terms = lesson_of(method, Toy())
    second, _ = lesson_of(method, Toy(), first.memory)
    kinds = {example.kind for update in (*first.updates, *second.updates) for example in update.examples}
    assert kinds == {term.kind for term in terms}
    assert len({term.name for term in terms}) == len(terms)


def test_the_same_draws_teach_the_same(method: Composed) -> None:
    assert lesson_of(method, Toy()) == lesson_of(method, Toy())


def test_terms_are_values_that_depend_on_progress_alone(method: Composed) -> None:
    assert method.terms(START) == method.terms(Progress(1, 0.0))


def test_a_step_without_groups_teaches_nothing(method: Composed) -> None:
    lesson = method.learn((), {}, method.initial_memory(), Random(0), START)
    assert lesson.updates == ()
    assert lesson.memory == method.initial_memory()


def test_memory_survives_json(method: Composed) -> None:
    method = Composed(method.base.model_copy(update={"hard_capacity": 64} if method.base.name == "meml_grpo" else {}))
    memory = lesson_of(method, Toy())[0].memory
    assert from_json(json.loads(json.dumps(to_json(memory)))) == memory
    assert method.initial_memory() == from_json(to_json(method.initial_memory()))
    if method.base.name == "meml_grpo":
        assert len(memory[0]) > 3


# The gradient does not depend on how the rows are arranged.


def test_order_of_rows(method: Composed) -> None:
    model = Toy()
    lesson, terms = lesson_of(method, model)
    for update in lesson.updates:
        shuffled = Random(1).sample(update.examples, len(update.examples))
        turned = gradient(model, living(Update(tuple(shuffled)), terms), terms)
        assert close(gradient(model, living(update, terms), terms), turned)


@pytest.mark.parametrize("rows_at_once", [1, 3, 7])
def test_micro_batches(method: Composed, rows_at_once: int) -> None:
    model = Toy()
    lesson, terms = lesson_of(method, model)
    for update in lesson.updates:
        rows = living(update, terms)
        assert close(gradient(model, rows, terms), gradient(model, rows, terms, rows_at_once))


@pytest.mark.parametrize("ranks", [2, 5])
def test_number_of_ranks(method: Composed, ranks: int) -> None:
    """Weights are made over all rows; then each rank takes every so-manieth row, and gradients are added."""
    model = Toy()
    lesson, terms = lesson_of(method, model)
    for update in lesson.updates:
        rows = living(update, terms)
        parts = [gradient(model, rows[rank::ranks], terms) for rank in range(ranks)]
        assert close(gradient(model, rows, terms), torch.stack(parts).sum(0))


def test_dead_rows(method: Composed) -> None:
    """Rows without a gradient may be left out once the weights are made, not before."""
    model = Toy()
    lesson, terms = lesson_of(method, model)
    for update in lesson.updates:
        assert close(
            gradient(model, weigh(update.examples, terms), terms), gradient(model, living(update, terms), terms)
        )


def test_dropping_dead_rows_before_weights_are_made_would_be_wrong() -> None:
    model = Toy()
    lesson, terms = lesson_of(Composed(build({"name": "grpo", "experts": EXPERTS, "answers_per_prompt": 3})), model)
    (update,) = lesson.updates
    early = Update(tuple(e for e in update.examples if e.advantage != 0))
    assert len(early.examples) < len(update.examples)
    assert not close(gradient(model, living(update, terms), terms), gradient(model, living(early, terms), terms))
