"""Tutored GRPO: who is asked, what is taken as a lesson, and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp
from random import Random
from typing import Any

import pytest

from hand import START, evaluated, group, of_kind
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.rl_plus import RLPlus
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import Example, Group, Lesson, Progress, SpanScore
from test_step import step
from toy import EXPERTS, QUESTIONS, Toy

STUCK = [[0, 0], [1, 0], [1, 1]]
KNOWN = [[0, 1]]


def tutored(**fields: Any) -> Composed:
    """With traces last, where no tutor leads, if nothing else is said."""
    given = {"traces": "last", **fields}
    return Composed(TutoredGRPO(student="e0", experts=("e1", "e2"), answers_per_prompt=2, **given))


def texts(rewards: list[list[float]], name: str = "q") -> Group:
    """Answer g of expert i is (10 i + g, ) and so many zeros more as the expert's number."""
    ids = [[(10 * i + g, *(0,) * i) for g in range(len(row))] for i, row in enumerate(rewards)]
    return group(rewards, ids=ids, name=name)


def learnt(method: Composed, *groups: Group, says: Mapping[int, float] | None = None) -> Lesson:
    """What a step learns; `says`: the student's log-prob of every token of the answer that begins so."""
    spans = method.wants(groups)
    scores = {s.key: SpanScore(((says or {})[s.ids[0]],) * len(s.ids)) for s in spans}
    credited = method.credit(groups, method.initial_memory(), START)
    return method.learn(credited, scores, method.initial_memory(), Random(0), START)


def lessons(method: Composed, *groups: Group, says: Mapping[int, float] | None = None) -> list[Example]:
    return of_kind(learnt(method, *groups, says=says), "lesson")


# Who is asked.


def test_the_student_is_asked_and_the_tutors_where_it_is_stuck() -> None:
    method = tutored(tutor_answers=3)
    (ask,) = method.ask(group(STUCK).question, method.initial_memory(), START)
    assert (ask.prompt.expert, ask.n) == ("e0", 2)
    after = method.follow_up(group([[0, 0]]), method.initial_memory(), START)
    assert [(ask.prompt.expert, ask.n) for ask in after] == [("e1", 3), ("e2", 3)]
    assert method.follow_up(group(KNOWN), method.initial_memory(), START) == ()


@pytest.mark.parametrize(("stuck", "asked"), [(0.0, 0), (0.4, 0), (0.5, 2), (1.0, 2)])
def test_stuck_is_a_share_of_right_answers(stuck: float, asked: int) -> None:
    assert len(tutored(stuck=stuck).follow_up(group(KNOWN), (None,), START)) == asked


def test_a_student_among_the_experts_does_not_tutor_itself() -> None:
    method = Composed(TutoredGRPO(student="e1", experts=("e0", "e1"), answers_per_prompt=2, traces="never"))
    (ask,) = method.ask(group(STUCK).question, method.initial_memory(), START)
    assert ask.prompt.expert == "e1"
    alone = Group(group(STUCK).question, (replace(group([[0], [0, 0]]).answers[1]),))
    assert [ask.prompt.expert for ask in method.follow_up(alone, (None,), START)] == ["e0"]


def test_the_most_that_a_question_costs_is_known_before() -> None:
    asks = tutored(tutor_answers=3).asks_if_all_fail(group(STUCK).question)
    assert [(ask.prompt.expert, ask.n) for ask in asks] == [("e0", 2), ("e1", 3), ("e2", 3)]


def test_the_step_draws_the_follow_ups_and_pays_for_them(tutored_step: tuple[Any, dict[str, float]]) -> None:
    sampler, metrics = tutored_step
    assert sampler.draws == ["0/1", "0/1/follow-up"]
    assert metrics["sampled_tokens"] == sum(len(rollout.ids) for rollout in sampler.drawn)
    by_expert = {name: sum(r.prompt.expert == name for r in sampler.drawn) for name in ("alpha", "beta", "gamma")}
    assert by_expert == {"alpha": 12, "beta": 2 * metrics["tutoring/stuck"], "gamma": 2 * metrics["tutoring/stuck"]}
    assert 0 < metrics["tutoring/stuck"] < 4


@pytest.fixture
def tutored_step() -> tuple[Any, dict[str, float]]:
    method = TutoredGRPO(
        student="alpha", experts=EXPERTS, questions_per_step=4, answers_per_prompt=3, tutor_answers=2, traces="never"
    )
    sampler, _, _, metrics = step(method, model=Toy())
    return sampler, metrics


# What is learnt.


def test_the_lesson_is_the_right_answer_that_the_student_finds_likeliest() -> None:
    """Per token: 21 is longer than 10, and less likely as a whole."""
    (lesson,) = lessons(tutored(), texts(STUCK), says={10: -0.5, 20: -0.9, 21: -0.4})
    assert (lesson.prompt_ids, lesson.ids, lesson.group_id) == ((1, 100), (21, 0, 0), ("q", "e0"))
    assert lesson.planes == {"writer_logprobs": (-1.0, -1.0, -1.0)}


@pytest.mark.parametrize(
    ("choice", "count", "ids"),
    [
        ("shortest", 1, [(10, 0)]),
        ("first", 2, [(10, 0), (20, 0, 0)]),
        ("likeliest", 2, [(21, 0, 0), (10, 0)]),
        ("likeliest", 3, [(10, 0), (20, 0, 0), (21, 0, 0)]),
    ],
)
def test_other_choices_and_more_lessons(choice: str, count: int, ids: list[tuple[int, ...]]) -> None:
    rows = lessons(tutored(choice=choice, lessons=count), texts(STUCK), says={10: -0.5, 20: -0.9, 21: -0.4})
    assert [row.ids for row in rows] == ids
    assert sum(row.weight for row in rows) == pytest.approx(1)


def test_nothing_is_scored_where_there_is_no_choice() -> None:
    assert tutored().wants([texts([[0, 0], [1, 0], [0, 0]])]) == ()
    assert tutored(choice="first").wants([texts(STUCK)]) == ()
    assert len(tutored().wants([texts(STUCK)])) == 3


def test_where_no_tutor_is_right_a_trace_teaches() -> None:
    failed = group([[0, 0], [0], [0]])
    method = tutored()
    spans = method.wants([failed])
    assert [span.ids for span in spans] == [(700,), (701,), (702,)]
    scores = {span.key: SpanScore((-float(span.ids[0] != 701),)) for span in spans}
    lesson = method.learn([failed], scores, method.initial_memory(), Random(0), START)
    assert [(row.ids, row.planes) for row in of_kind(lesson, "lesson")] == [((701,), {})]
    assert (lesson.metrics["tutoring/by_traces"], lesson.metrics["tutoring/tokens"]) == (1, 1)
    assert lessons(tutored(traces="never"), failed) == []
    assert (tutored().needs, tutored(traces="never").needs) == ({"traces"}, frozenset())


def test_traces_come_first_and_tutors_where_there_is_none() -> None:
    method = tutored(traces="first")
    failed = texts([[0, 0], [1, 0], [1, 1]])
    assert method.follow_up(failed, (None,), START) == ()
    (row,) = lessons(method, failed, says={700: -2.0, 701: -1.0, 702: -3.0})
    assert row.ids == (701,)
    bare = replace(failed, question=replace(failed.question, traces={}))
    assert [ask.prompt.expert for ask in method.follow_up(bare, (None,), START)] == ["e1", "e2"]
    (row,) = lessons(method, bare, says={10: -1.0, 20: -1.0, 21: -0.5})
    assert row.ids == (21, 0, 0)


def test_a_tutor_must_lead_by_the_margin() -> None:
    ahead = texts([[0, 1], [1, 1, 1, 0], [1, 0]])
    found = {m: lessons(tutored(stuck=1.0, margin=m, choice="shortest"), ahead) for m in (0.0, 0.25, 0.3)}
    rows = {m: [row.ids for row in its] for m, its in found.items()}
    assert rows == {0.0: [(10, 0)], 0.25: [(10, 0)], 0.3: [(700,)]}


def test_what_the_student_can_do_is_left_to_it() -> None:
    lesson = learnt(tutored(), texts([[0, 1], [1, 1], [1, 1]]))
    assert of_kind(lesson, "lesson") == []
    assert lesson.metrics["tutoring/stuck"] == 0


def test_a_student_that_is_never_stuck_learns_as_grpo_does() -> None:
    groups = (group([[1, 0]], name="q"), group([[1, 1]], name="qq"))
    alone = Composed(GRPO(experts=("e0",), answers_per_prompt=2))
    assert learnt(tutored(), *groups).updates == learnt(alone, *groups).updates


def test_tutors_learn_by_their_own_credit_or_not_at_all() -> None:
    says = {10: -1.0, 20: -1.0, 21: -1.0}
    rows = of_kind(learnt(tutored(), texts(STUCK), says=says), "sampled")
    assert [row.group_id[1] for row in rows] == ["e0", "e0", "e1", "e1", "e2", "e2"]
    assert [round(row.advantage, 1) for row in rows] == [0, 0, 0.7, -0.7, 0, 0]
    rows = of_kind(learnt(tutored(tutors_learn=False), texts(STUCK), says=says), "sampled")
    assert [row.group_id[1] for row in rows] == ["e0", "e0"]


# What it weighs.


def test_stuck_questions_weigh_alike_over_all_questions() -> None:
    """Two of three questions are stuck; every lesson's log-prob is -0.5 a token, whatever its length."""
    groups = (texts(STUCK, "q"), texts([[0, 0], [0, 1], [0, 0]], "qq"), group(KNOWN, name="qqq"))
    method = tutored(coefficient=0.3)
    rows = lessons(method, *groups, says={10: -1.0, 20: -1.0, 21: -0.5})
    told = evaluated(method, rows, lambda prompt, ids: (-0.5,) * len(ids))
    assert told.losses["tutoring"] == pytest.approx(2 / 3 * 0.5)
    assert told.total == pytest.approx(0.3 * 2 / 3 * 0.5)
    assert told.gradients == [pytest.approx((-0.3 / 3 / len(row.ids),) * len(row.ids)) for row in rows]


def test_trust_weighs_tokens_by_how_much_the_student_would_say_them() -> None:
    """The writer's log-probs are -1: a token at -2 has the ratio exp(-1), one at -0.5 is cut at 1."""
    method = tutored(trust=1.0)
    (row,) = lessons(method, texts([[0, 0], [0, 1], [0, 0]]))
    told = evaluated(method, [row], lambda prompt, ids: (-2.0, -0.5))
    assert told.losses["tutoring"] == pytest.approx((exp(-1) * 2 + 0.5) / 2)
    assert told.gradients == [pytest.approx((-exp(-1) / 2, -0.5))]


def test_a_traces_writer_is_certain() -> None:
    method = tutored(trust=1.0, choice="first")
    (row,) = lessons(method, group([[0, 0], [0], [0]]))
    assert evaluated(method, [row], lambda prompt, ids: (-2.0,)).losses["tutoring"] == pytest.approx(exp(-2) * 2)


def test_lessons_may_come_late() -> None:
    method = tutored(late=0.5)
    assert [method.terms(Progress(9, share))[1].coefficient for share in (0.0, 0.49, 0.5, 1.0)] == [0, 0, 1, 1]


def test_lessons_may_fade() -> None:
    method = tutored(coefficient=0.5, fade=0.2)
    told = [method.terms(Progress(9, share))[1].coefficient for share in (0.0, 0.5, 1.0)]
    assert told == pytest.approx([0.5, 0.3, 0.1])


# With others.


def test_a_part_asks_for_as_many_answers_as_its_base() -> None:
    method = build({"name": "rs_grpo", "answers_per_prompt": 5, "with": [{"name": "tutored_grpo", "traces": "last"}]})
    settled = Composed(method.settled(EXPERTS, 4))
    asks = settled.asks_if_all_fail(QUESTIONS[3])
    assert [(ask.prompt.expert, ask.n) for ask in asks] == [("plain", 5), *((name, 8) for name in EXPERTS)]
    part = {"name": "tutored_grpo", "answers_per_prompt": 3, "traces": "last"}
    method = build({"name": "rs_grpo", "answers_per_prompt": 5, "with": [part]}).settled(EXPERTS, 4)
    assert Composed(method).asks_if_all_fail(QUESTIONS[3])[0].n == 3


def test_a_base_gives_it_another_credit() -> None:
    part = TutoredGRPO(student="e0", experts=("e1", "e2"), traces="last")
    method = Composed(RSGRPO(experts=("e1", "e2"), answers_per_prompt=2, parts=(part,)))
    says = method.describe()
    assert (says["ask"], says["follow_up"]) == ("tutored_grpo", "tutored_grpo")
    assert (says["advantage"], says["term tutoring"]) == ("rs_grpo", "tutored_grpo")
    rows = lessons(method, texts(STUCK), says={10: -1.0, 20: -1.0, 21: -0.5})
    assert [row.ids for row in rows] == [(21, 0, 0)]


@pytest.mark.parametrize("pairing", ["question", "step"])
def test_meml_grpo_pairs_whoever_answered(pairing: Any) -> None:
    """Tutors answered one of two questions; there the better of them teaches the student a second time."""
    part = TutoredGRPO(student="e0", experts=("e1", "e2"), traces="never", choice="first")
    method = Composed(MEMLGRPO(experts=("e1", "e2"), mutual_pairing=pairing, hard_coefficient=0.0, parts=(part,)))
    lesson = learnt(method, texts(STUCK), group(KNOWN, name="qq"))
    assert [row.ids for row in of_kind(lesson, "lesson")] == [(10, 0)]
    assert {(row.group_id, row.ids) for row in of_kind(lesson, "borrowed")} == {
        (("q", "e0"), (20, 0, 0)),
        (("q", "e0"), (21, 0, 0)),
    }


def test_tutors_that_do_not_learn_are_the_bases_to_choose() -> None:
    method = build({"name": "rs_grpo", "with": [{"name": "tutored_grpo", "tutors_learn": False}]})
    with pytest.raises(UserError, match="`tutors_learn: false` has no effect under 'rs_grpo'"):
        method.settled(EXPERTS, 4)


def test_what_it_learns_of_traces_is_told_beside_what_another_does() -> None:
    method = tutored(traces="first", choice="first", parts=(RLPlus(experts=("e1", "e2")),))
    shaped = method.shape((group([[0, 0], [1, 0]]),), {}, method.initial_memory(), START)
    lesson = learnt(method, *shaped)
    assert [row.kind for row in lesson.updates[0].examples if row.kind != "sampled"] == ["lesson", "trace", "trace"]
    assert (lesson.metrics["tutoring/rows"], lesson.metrics["traces/rows"]) == (1, 2)


def test_an_unknown_student_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.student: there is no prompt 'delta'; known are alpha, beta, gamma"):
        TutoredGRPO(student="delta").settled(EXPERTS, 4)


@pytest.mark.parametrize("fields", [{"tutor_answers": 0}, {"experts": ("plain",)}])
def test_a_student_whom_nobody_teaches_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="nobody teaches the student; with `traces: never` set tutor_answers above 0"):
        TutoredGRPO(traces="never", **fields).settled(EXPERTS, 4)


def test_a_student_that_would_never_be_asked_is_refused() -> None:
    part = MEMLGRPO(experts=("e1", "e2"))
    with pytest.raises(UserError, match="'meml_grpo' asks in the place of 'tutored_grpo'"):
        Composed(TutoredGRPO(student="e0", experts=("e1", "e2"), parts=(part,)))
