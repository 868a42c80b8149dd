"""In which order questions, experts and answers come: no method's gradient depends on it, with the exceptions below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given

from manyminds.methods import METHODS
from manyminds.methods.compose import Composed
from manyminds.records import Group
from properties.arrangements import SEEDS
from properties.learning import Told, added, differences, learnt, weighed
from properties.subjects import Spec, composed, whole
from properties.workload import SHAPES, Shape, Workload, few, made

Groups = tuple[Group, ...]


def questions(groups: Groups, rng: Random) -> Groups:
    """The step's questions in another order."""
    return tuple(rng.sample(groups, len(groups)))


def experts(groups: Groups, rng: Random) -> Groups:
    """Every question's experts in another order, the same for all, as a recipe would list them."""
    order = rng.sample(range(len(groups[0].answers)), len(groups[0].answers))
    return tuple(replace(group, answers=tuple(group.answers[i] for i in order)) for group in groups)


def answers(groups: Groups, rng: Random) -> Groups:
    """Every expert's answers in another order."""
    return tuple(
        replace(g, answers=tuple(replace(a, scored=tuple(rng.sample(a.scored, len(a.scored)))) for a in g.answers))
        for g in groups
    )


ORDERS: dict[str, Callable[[Groups, Random], Groups]] = {
    "questions": questions,
    "experts": experts,
    "answers": answers,
}
EXCEPTIONS: dict[tuple[str, str], tuple[Spec, str]] = {
    ("grpo, minibatches", "questions"): ({"minibatches": 2}, "a mini-batch is of questions in their order"),
    ("ampo", "answers"): ({}, "the first answers that fail make room for traces"),
    ("meml_grpo", "experts"): ({}, "of several best (or worst) experts the first is taken (mutual_ties: lowest)"),
    ("meml_grpo, hard_capacity", "questions"): (
        {"hard_capacity": 2, "hard_wrong": 1, "hard_probability": 1.0},
        "the buffer gives back first what came first",
    ),
    ("meml_grpo, mutual_answers", "answers"): ({"mutual_answers": 1}, "only the first right answers are lent"),
    ("rft, most", "answers"): ({"most": 1}, "only the first verified answers are learnt"),
    ("rft, most", "experts"): ({"most": 1}, "only the first verified answers are learnt"),
}
"""Where the order counts, by method (and the field that makes it so), with what shows it, and why.

A method that is not here promises all three orders.
"""
TIED = (("wrong", "wrong", "right"), ("mixed", "right", "right"))
"""Questions on which several experts do equally well, and many answers would do."""


def update_of(method: Composed, workload: Workload) -> Told:
    """The whole lesson's loss and gradient, all updates added."""
    what = learnt(method, workload)
    each = [weighed(what.terms, update.examples)[1] for update in what.lesson.updates]
    return added(each or [weighed(what.terms, ())[1]])


def turned(workload: Workload, order: str, seed: int) -> Workload:
    return replace(workload, groups=ORDERS[order](workload.groups, Random(seed)))


@pytest.mark.parametrize(
    ("name", "order"), [(name, order) for name in METHODS for order in ORDERS if (name, order) not in EXCEPTIONS]
)
def test_the_order_counts_for_nothing(name: str, order: str) -> None:
    """As published, with a buffer that does not overflow; but for exceptions."""
    method = composed(whole({"name": name}))

    @few(3)
    @given(SHAPES, SEEDS)
    def same(shape: Shape, seed: int) -> None:
        workload = made(shape)
        assert differences(update_of(method, turned(workload, order, seed)), update_of(method, workload)) == []

    same()


@pytest.mark.parametrize(("name", "order"), EXCEPTIONS)
def test_an_exception_is_one(name: str, order: str) -> None:
    """Some order of some small workload has another gradient, or the exception is none."""
    fields, why = EXCEPTIONS[name, order]
    method = composed({"name": name.partition(",")[0], **fields})
    shapes = [Shape(n, patterns=(how,) * 3) for n in range(4) for how in TIED]
    ones = [made(shape) for shape in shapes]
    assert any(differences(update_of(method, turned(one, order, one.seed)), update_of(method, one)) for one in ones), (
        why
    )
