"""Matched tutors: whose turn it is, by what was seen of questions like this one."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from hand import START, group
from manyminds.methods.compose import Composed
from manyminds.methods.matched_tutors import Estimates, MatchedTutors
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.records import Group
from test_step import step
from toy import EXPERTS, QUESTIONS, Toy

STUCK = [[0, 0]]


def matched(**fields: Any) -> Composed:
    given = {"traces": "never", "tutor_answers": 2, **fields}
    return Composed(MatchedTutors(student="e0", experts=("e1", "e2"), answers_per_prompt=2, **given))


def of_cluster(cluster: int, rewards: list[list[float]]) -> Group:
    """The group with its question in a cluster."""
    its = group(rewards)
    return replace(its, question=replace(its.question, cluster=cluster))


def asked(method: Composed, memory: Estimates, cluster: int = 0) -> list[str]:
    return [ask.prompt.expert for ask in method.follow_up(of_cluster(cluster, STUCK), (memory,), START)]


def remembered(method: Composed, memory: Estimates, *groups: Group) -> Estimates:
    credited = method.credit(groups, (memory,), START)
    scores = {span.key: None for span in method.wants(groups)}
    assert not scores  # one candidate at most
    (after,) = method.learn(credited, {}, (memory,), Random(0), START).memory
    return after


def test_the_tutor_who_was_right_most_often_is_asked() -> None:
    known = ((0, "e1", 2.0, 8.0), (0, "e2", 5.0, 8.0), (1, "e1", 5.0, 8.0), (1, "e2", 2.0, 8.0))
    assert asked(matched(), known, 0) == ["e2"]
    assert asked(matched(), known, 1) == ["e1"]
    assert asked(matched(tutors_asked=2), known, 0) == ["e2", "e1"]
    assert asked(matched(tutors_asked=9), known, 0) == ["e2", "e1"]


def test_who_is_not_known_is_tried_and_equals_come_in_the_order_of_the_recipe() -> None:
    assert asked(matched(), ()) == ["e1"]
    assert asked(matched(), ((0, "e1", 7.0, 8.0),)) == ["e2"]
    assert asked(matched(), ((0, "e1", 8.0, 8.0),)) == ["e1"]


def test_a_student_that_is_not_stuck_asks_nobody() -> None:
    assert matched().follow_up(of_cluster(0, [[0, 1]]), ((),), START) == ()


def test_estimates_count_tutors_answers_and_age() -> None:
    """3 right of 4 before, times a half, and 1 of 2 now; the student's own answers are not a tutor's."""
    method = matched(decay=0.5)
    after = remembered(method, ((0, "e1", 3.0, 4.0), (2, "e2", 1.0, 2.0)), of_cluster(0, [[0, 0], [1, 0]]))
    assert after == ((0, "e1", 2.5, 4.0), (2, "e2", 0.5, 1.0))
    assert remembered(method, (), of_cluster(5, [[0, 0], [0, 0]])) == ((5, "e1", 0.0, 2.0),)
    assert remembered(method, (), of_cluster(5, [[0, 1]])) == ()


def test_a_step_pays_for_the_tutors_that_it_asks() -> None:
    method = MatchedTutors(
        student="alpha", experts=EXPERTS, questions_per_step=4, answers_per_prompt=3, tutor_answers=2, traces="never"
    )
    sampler, _, memory, metrics = step(method, model=Toy())
    drawn = {name: sum(r.prompt.expert == name for r in sampler.drawn) for name in EXPERTS}
    assert drawn["beta"] + drawn["gamma"] == 2 * metrics["tutoring/stuck"] > 0
    assert drawn["beta"] == 2 * metrics["tutoring/asked/beta"]
    assert drawn["gamma"] == 2 * metrics["tutoring/asked/gamma"]
    assert sum(n for *_, n in memory[0]) == drawn["beta"] + drawn["gamma"]


@pytest.mark.parametrize("clusters", [1, 8])
def test_the_run_is_told_how_many_clusters_to_make(clusters: int) -> None:
    assert matched(clusters=clusters).question_clusters == clusters
    part = MatchedTutors(experts=("e1",), traces="never", clusters=clusters)
    assert Composed(RSGRPO(parts=(part,))).question_clusters == clusters
    assert Composed(RSGRPO()).question_clusters == 0


def test_what_is_asked_depends_on_the_cluster_alone() -> None:
    """Two questions of one cluster have one tutor, whatever else they are."""
    known = ((3, "e1", 0.0, 4.0),)
    for name in ("q", "p"):
        its = replace(QUESTIONS[0], id=name, cluster=3, prompt_ids=group(STUCK).question.prompt_ids)
        its = Group(its, (replace(group(STUCK).answers[0]),))
        assert [a.prompt.expert for a in matched().follow_up(its, (known,), START)] == ["e2"]
