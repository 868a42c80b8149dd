"""Matched tutors: whose turn it is, by what was seen of questions like this one."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from hand import START, group
from manyminds.errors import UserError
from manyminds.methods.compose import Composed
from manyminds.methods.matched_tutors import Estimates, MatchedTutors
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import Group
from test_step import step
from toy import EXPERTS, Toy

STUCK = [[0, 0]]


def matched(**fields: Any) -> Composed:
    given = {"traces": "never", "tutor_answers": 2, **fields}
    return Composed(MatchedTutors(student="e0", experts=("e1", "e2"), answers_per_prompt=2, **given))


def three(**fields: Any) -> Composed:
    method = MatchedTutors(student="e0", experts=("e1", "e2", "e3"), answers_per_prompt=2, tutor_answers=2, **fields)
    return Composed(method)


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
    assert asked(three(tutors_asked=2), (*known, (0, "e3", 0.0, 8.0)), 0) == ["e2", "e1"]


def test_the_estimate_by_hand() -> None:
    """(0 + 1) / (0.1 + 1) = 0.909 for who failed long ago; (9 + 1) / (10 + 1) = 0.909.. as much, (8 + 1) / 11 less."""
    assert asked(matched(), ((0, "e1", 0.0, 0.1), (0, "e2", 8.0, 10.0))) == ["e1"]
    assert asked(matched(), ((0, "e1", 0.0, 0.11), (0, "e2", 9.0, 10.0))) == ["e2"]
    assert asked(matched(), ((0, "e1", 1.0, 4.0), (0, "e2", 2.0, 8.0))) == ["e1"], "2 in 5 are more than 3 in 9"


def test_everybody_of_whom_nothing_is_known_is_asked() -> None:
    assert asked(matched(), ()) == ["e1", "e2"]
    assert asked(matched(), ((0, "e1", 7.0, 8.0),)) == ["e2"]
    assert asked(matched(), ((1, "e1", 7.0, 8.0), (1, "e2", 7.0, 8.0)), 0) == ["e1", "e2"]
    assert asked(three(tutors_asked=2), ((0, "e1", 1.0, 8.0), (0, "e2", 5.0, 8.0))) == ["e3", "e2"]


def test_equals_come_in_the_order_of_the_recipe() -> None:
    assert asked(matched(), ((0, "e1", 7.0, 8.0), (0, "e2", 7.0, 8.0))) == ["e1"]


def test_who_may_be_asked_is_known_before() -> None:
    asks = matched(tutor_answers=3).asks_if_all_fail(group(STUCK).question)
    assert [(ask.prompt.expert, ask.n) for ask in asks] == [("e0", 2), ("e1", 3), ("e2", 3)]


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
    for known, who in ((), ("beta", "gamma")), (((0, "beta", 0.0, 4.0), (0, "gamma", 4.0, 4.0)), ("gamma",)):
        sampler, _, (after,), metrics = step(method, model=Toy(), memory=(known,))
        drawn = {name: sum(r.prompt.expert == name for r in sampler.drawn) for name in ("beta", "gamma")}
        assert drawn == {name: 2 * metrics["tutoring/stuck"] * (name in who) for name in ("beta", "gamma")}
        assert drawn == {name: 2 * metrics[f"tutoring/asked/{name}"] for name in ("beta", "gamma")}
        assert metrics["tutoring/stuck"] > 0
        counted = sum(n for *_, n in after) - 0.98 * sum(n for *_, n in known)
        assert counted == pytest.approx(sum(drawn.values()))


@pytest.mark.parametrize("clusters", [1, 8])
def test_the_run_is_told_how_many_clusters_to_make(clusters: int) -> None:
    assert matched(clusters=clusters).question_clusters == clusters
    part = MatchedTutors(experts=("e1",), traces="never", clusters=clusters)
    assert Composed(RSGRPO(parts=(part,))).question_clusters == clusters
    assert Composed(RSGRPO()).question_clusters == 0


def test_what_stood_in_the_place_of_a_tutors_answer_counts_too() -> None:
    """An answer that made room for a trace was drawn all the same."""
    its = of_cluster(0, [[0, 0], [1, 0, 0]])
    tutor = its.answers[1]
    moved = replace(tutor, scored=tutor.scored[:2], replaced=tutor.scored[2:])
    after = matched().layers[0].remembered((), (replace(its, answers=(its.answers[0], moved)),))
    assert after == ((0, "e1", 1.0, 3.0),)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"experts": ("e1",)}, "of 1 tutors 1 are asked for 2 answers each, which leaves nothing to choose"),
        ({"experts": ("e1", "e2"), "tutors_asked": 2}, "of 2 tutors 2 are asked"),
        ({"experts": ("e1", "e2"), "tutor_answers": 0, "traces": "last"}, "of 2 tutors 1 are asked for 0 answers each"),
    ],
)
def test_without_a_choice_it_is_refused(fields: dict[str, Any], told: str) -> None:
    method = MatchedTutors(**{"tutor_answers": 2, **fields})
    with pytest.raises(UserError, match=f"method: {told}.*; name more experts or lower tutors_asked, or take 'tutored"):
        method.settled(fields["experts"], 8)


@pytest.mark.parametrize(("base", "part"), [(MatchedTutors, TutoredGRPO), (TutoredGRPO, MatchedTutors)])
def test_two_students_are_refused(base: type[TutoredGRPO], part: type[TutoredGRPO]) -> None:
    names = [kind.model_fields["name"].default for kind in (base, part)]
    with pytest.raises(UserError, match=f"'{names[0]}' and '{names[1]}' both teach a student; keep one of them"):
        base(parts=(part(traces="never"),), traces="never").settled(("e1", "e2"), 8)


def test_a_refusal_names_the_part() -> None:
    part = MatchedTutors(tutors_learn=False)
    with pytest.raises(UserError, match="make 'matched_tutors' the base"):
        RSGRPO(parts=(part,)).settled(("e1", "e2"), 8)
