"""Replay: what enters the memory, what is kept, and what is learnt again."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from hand import START, evaluated, group, of_kind
from manyminds.memory import from_json, to_json
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.replay import Replay
from manyminds.records import Group, Ids, Lesson


def composed(**fields: Any) -> Composed:
    return Composed(GRPO(experts=("e0", "e1"), parts=(Replay(**fields),)))


def learnt(method: Composed, *groups: Group, memory: Any = None, seed: int = 0) -> Lesson:
    memory = method.initial_memory() if memory is None else memory
    return method.learn(method.credit(groups, memory, START), {}, memory, Random(seed), START)


def kept(lesson: Lesson) -> list[tuple[Ids, Ids]]:
    """(prompt, answer) of what is remembered, oldest first."""
    return [(row.prompt_ids, row.ids) for row in lesson.memory[1]]


def test_rare_right_answers_are_remembered_under_their_own_prompt() -> None:
    """e0 is right on one of three, e1 on two."""
    lesson = learnt(composed(), group([[1, 0, 0], [1, 1, 0]]))
    assert kept(lesson) == [((1, 100), (0,))]
    assert of_kind(lesson, "replayed") == []
    assert (lesson.metrics["replay/rows"], lesson.metrics["replay/size"]) == (0, 1)


@pytest.mark.parametrize(("rare", "size"), [(0.0, 0), (0.33, 0), (0.5, 1), (0.7, 3)])
def test_rare_is_a_share_of_right_answers(rare: float, size: int) -> None:
    assert len(kept(learnt(composed(rare=rare), group([[1, 0, 0], [1, 1, 0]])))) == size


def test_what_is_remembered_is_learnt_in_later_steps() -> None:
    method = composed(coefficient=0.5)
    first = learnt(method, group([[1, 0, 0], [0, 0, 0]]))
    later = learnt(method, group([[0, 0], [0, 0]], name="qq"), memory=first.memory)
    (row,) = of_kind(later, "replayed")
    assert (row.prompt_ids, row.ids) == ((1, 100), (0,))
    assert kept(later) == kept(first)
    told = evaluated(method, [row], lambda prompt, ids: (-0.5,))
    assert (told.losses["replay"], told.total) == (0.5, 0.25)


def test_the_newest_are_kept_and_each_once() -> None:
    method = composed(capacity=2)
    lesson = learnt(method, group([[1, 0], [0, 0]]))
    for name in ("q", "qq", "q", "qqq"):
        lesson = learnt(method, group([[1, 0], [0, 0]], name=name), memory=lesson.memory)
    assert kept(lesson) == [((1, 100), (0,)), ((3, 100), (0,))]  # q was found again after qq


def test_so_many_rows_are_drawn_each_at_most_once() -> None:
    method = composed(rows=2)
    memory = learnt(method, *(group([[1, 0], [0, 1]], name="q" * n) for n in (1, 2, 3))).memory
    drawn = [
        tuple((row.prompt_ids, row.ids) for row in of_kind(learnt(method, memory=memory, seed=seed), "replayed"))
        for seed in range(9)
    ]
    assert {len(set(rows)) for rows in drawn} == {2}
    assert len(set(drawn)) > 1


def test_the_memory_survives_being_written_down() -> None:
    memory = learnt(composed(), group([[1, 0], [0, 1]])).memory
    assert from_json(json.loads(json.dumps(to_json(memory)))) == memory
