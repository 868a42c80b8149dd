"""GRPO's mini-batches: a step's questions are cut into parts, with an optimiser step on each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hand import START, group, lesson_of
from manyminds.methods.compose import Composed
from manyminds.methods.dr_grpo import DrGRPO
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.terms import ClippedSurrogate
from test_step import Looking, step
from toy import EXPERTS, Toy

GROUPS = [group([[1.0, 0.0], [0.0, 1.0]], name=name) for name in ("q", "qq", "qqq", "qqqq", "qqqqq")]


def grpo(**fields: Any) -> Composed:
    return Composed(GRPO(experts=("e0", "e1"), answers_per_prompt=2, **fields))


def asked(method: Composed) -> list[list[str]]:
    """The questions of each update, in order."""
    updates = lesson_of(method, GROUPS).updates
    return [list(dict.fromkeys(e.group_id[0] for e in update.examples)) for update in updates]


@pytest.mark.parametrize(("minibatches", "sizes"), [(1, [5]), (2, [2, 3]), (3, [1, 2, 2]), (5, [1] * 5), (9, [1] * 5)])
def test_questions_stay_whole_and_come_in_order(minibatches: int, sizes: list[int]) -> None:
    parts = asked(grpo(minibatches=minibatches))
    assert [len(part) for part in parts] == sizes
    assert [name for part in parts for name in part] == [g.question.id for g in GROUPS]
    for update in lesson_of(grpo(minibatches=minibatches), GROUPS).updates:
        assert len(update.examples) == 4 * len({e.group_id[0] for e in update.examples})


def test_epochs_go_through_all_of_them_again() -> None:
    assert asked(grpo(minibatches=2, epochs=2)) == [["q", "qq"], ["qqq", "qqqq", "qqqqq"]] * 2


def test_one_mini_batch_needs_no_old_log_probs_and_more_do() -> None:
    assert [term.needs for term in grpo().terms(START)] == [frozenset()]
    for fields in ({"minibatches": 2}, {"epochs": 2}):
        assert [term.needs for term in grpo(**fields).terms(START)] == [{"old_logprobs"}]


def test_the_ratio_is_against_the_policy_that_drew() -> None:
    policy = Looking(Toy(), lr=1.0)
    step(GRPO(experts=EXPERTS, questions_per_step=2, minibatches=2), model=policy.model, policy=policy)
    first, second = policy.ratios
    assert torch.allclose(first, torch.ones_like(first), rtol=0, atol=1e-12)
    assert (second - 1).abs().max() > 1e-2
    assert policy.version == 2


def test_a_part_in_place_of_the_loss_has_the_old_log_probs_too() -> None:
    (term,) = grpo(minibatches=2, parts=(DrGRPO(clip_high=0.3),)).terms(START)
    assert (term.per_token, term.needs) == (ClippedSurrogate(0.2, 0.3), {"old_logprobs"})


def test_what_another_layer_teaches_joins_the_first() -> None:
    """MEML-GRPO's borrowed answers are weighed over all questions of the step, and learnt once."""
    method = Composed(MEMLGRPO(experts=("e0", "e1"), answers_per_prompt=2, minibatches=2, hard_coefficient=0.0))
    unequal = [group([[1.0, 0.0], [0.0, 0.0]], name=name) for name in ("q", "qq", "qqq", "qqqq")]
    kinds = [[e.kind for e in update.examples] for update in lesson_of(method, unequal).updates]
    assert kinds == [["sampled"] * 8 + ["borrowed"] * 4, ["sampled"] * 8]
    assert {e.weight for e in lesson_of(method, unequal).updates[0].examples if e.kind == "borrowed"} == {0.25}
