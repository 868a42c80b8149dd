"""AMPO: golden numbers, when teachers come in and which, both aggregations, and its traces under other methods."""

from __future__ import annotations

from dataclasses import replace
from math import log
from random import Random
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.batch import weigh
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.metrics import of_groups
from manyminds.records import Example, Floats, Group, Ids, Lesson, Scores, SpanScore, Trace
from manyminds.step import training_step
from toy import EXPERTS, Toy, ToyPolicy, ToySampler, parity, stream

TEACHERS = {"t1": (9, 0.95), "t2": (4, 0.8), "t3": (7, 0.9), "t4": (6, 0.9)}
"""How long each teacher's trace is, and how well it is understood."""


def composed(**fields: Any) -> Composed:
    return Composed(build({"name": "ampo", "experts": ["e0"], **fields}))


def pooled(rewards: list[float], **changed: Any) -> Group:
    """A question with a trace of each teacher, whose reasoning is all but its last token."""
    one = group([rewards])
    traces = {
        name: Trace(name, name, (700 + i,) * n, 1.0, reasoning_ids=(700 + i,) * (n - 1), reference_ids=(42, 43))
        for i, (name, (n, _)) in enumerate(TEACHERS.items())
    }
    traces = {name: replace(trace, **changed.get(name, {})) for name, trace in traces.items()}
    question = replace(one.question, traces=traces)
    return replace(
        one,
        question=question,
        answers=(replace(one.answers[0], prompt=replace(one.answers[0].prompt, question=question)),),
    )


def scored(method: Composed, *groups: Group) -> Scores:
    """Both reference tokens as likely as TEACHERS say."""
    return {span.key: SpanScore((log(TEACHERS[span.key[-2:]][1]),) * 2) for span in method.wants(groups)}


def shaped(method: Composed, *groups: Group) -> tuple[Group, ...]:
    return method.shape(groups, scored(method, *groups), method.initial_memory(), START)


def learnt(method: Composed, *groups: Group) -> Lesson:
    after = method.credit(shaped(method, *groups), method.initial_memory(), START)
    return method.learn(after, scored(method, *groups), method.initial_memory(), Random(0), START)


# When, and which.

FAILED = [0.1, 0.1, 0, 0, 0, 0.1, 0, 0]
"""The golden rewards, in an order in which the two that make room are the first two."""


@pytest.mark.parametrize(
    ("variant", "traces", "zero", "tenth"),
    [("release", 0.7375, -0.2625, -0.1625), ("paper", 1.615547, -0.575025, -0.355968)],
)
def test_golden_advantages(variant: str, traces: float, zero: float, tenth: float) -> None:
    method = composed(variant=variant)
    lesson = learnt(method, pooled(FAILED))
    assert [e.advantage for e in of_kind(lesson, "sampled")] == pytest.approx(
        [zero, zero, zero, tenth, zero, zero], abs=5e-6
    )
    assert [e.advantage for e in of_kind(lesson, "trace")] == pytest.approx([traces, traces], abs=5e-6)


def test_golden_choice() -> None:
    """The best understood first, and of two equals the shorter."""
    lesson = learnt(composed(), pooled(FAILED))
    assert [e.ids for e in of_kind(lesson, "trace")] == [(700,) * 9, (703,) * 6]
    assert lesson.metrics == {
        "traces/rows": 2,
        "traces/tokens": 15,
        "traces/groups": 1,
        "traces/comprehension": pytest.approx((0.95 + 0.9) / 2),
    }


def test_spans_are_the_reference_after_each_teachers_reasoning_under_the_experts_prompt() -> None:
    spans = composed().wants([pooled(FAILED)])
    assert [span.prompt_ids for span in spans] == [(1, 100) + (700 + i,) * (n - 1) for i, n in enumerate((9, 4, 7, 6))]
    assert {span.ids for span in spans} == {(42, 43)}


def test_the_means_rank_differently() -> None:
    """.9 and .5 have the geometric mean .670820 and the arithmetic one .7; twice .68 has .68 in both."""
    one, other = pooled([0, 0], t3={"reward": 0.0}, t4={"reward": 0.0}), {"t1": (0.9, 0.5), "t2": (0.68, 0.68)}
    for mean, first in (("geometric", (701,) * 4), ("arithmetic", (700,) * 9)):
        method = composed(traces=1, comprehension=mean)
        scores = {s.key: SpanScore(tuple(map(log, other[s.key[-2:]]))) for s in method.wants([one])}
        (after,) = method.shape([one], scores, (None,), START)
        assert [s.rollout.ids for s in after.answers[0].scored] == [first, (1,)]


@pytest.mark.parametrize("rewards", [[0.1, 1, 0, 0], [1, 1, 1, 1]])
def test_no_teacher_is_asked_where_one_answer_is_right(rewards: list[float]) -> None:
    method, given = composed(), pooled(rewards)
    assert method.wants([given]) == ()
    assert shaped(method, given) == (given,)


def test_without_a_trigger_it_is_grpo() -> None:
    given = pooled([1, 0, 0, 0])
    grpo = Composed(build({"name": "grpo", "experts": ["e0"], "average": "over_tokens"}))
    assert learnt(composed(), given).updates == lesson_of(grpo, [given]).updates
    assert composed().terms(START)[0] == grpo.terms(START)[0]


def test_a_trigger_of_its_own() -> None:
    """Up to a quarter of right answers; only failing ones make room."""
    method = composed(trigger=0.25, traces=3)
    (after,) = shaped(method, pooled([0, 1, 0, 0]))
    assert [s.rollout.is_trace for s in after.answers[0].scored] == [True, False, True, True]
    assert not any(s.rollout.is_trace for s in shaped(method, pooled([0, 1, 1, 0]))[0].answers[0].scored)
    (after,) = shaped(composed(trigger=1.0), pooled([1, 1, 0, 1]))
    assert [s.rollout.is_trace for s in after.answers[0].scored] == [False, False, True, False]


def test_one_drawn_answer_stays() -> None:
    """Nothing but right traces would be a group of equal rewards, which teaches nothing."""
    (after,) = shaped(composed(traces=4), pooled([0, 0, 0]))
    assert [s.rollout.is_trace for s in after.answers[0].scored] == [True, True, False]
    assert shaped(composed(), pooled([0]))[0].answers[0].replaced == ()


def test_what_made_room_still_counts_as_drawn_and_is_not_learnt() -> None:
    given = pooled(FAILED)
    (after,) = shaped(composed(), given)
    (answers,) = after.answers
    assert [s.rollout.ids for s in answers.replaced] == [(0,), (1,)]
    assert (answers.wrong, len(answers.own), len(answers.drawn), answers.mean) == (8, 6, 8, pytest.approx(0.3 / 8))
    told, due = of_groups([after]), of_groups([given])
    assert told == {name: pytest.approx(value) for name, value in due.items()}


@pytest.mark.parametrize("reward", [0.0, None])
def test_a_trace_that_is_not_known_to_be_right_never_comes_in(reward: float | None) -> None:
    one = pooled(FAILED, t1={"reward": reward}, t2={"reward": reward}, t3={"reward": reward})
    assert composed().wants([one]) == ()  # there is no choice
    assert [e.ids for e in of_kind(learnt(composed(), one), "trace")] == [(703,) * 6]
    none = pooled(FAILED, **{name: {"reward": reward} for name in TEACHERS})
    assert of_kind(learnt(composed(), none), "trace") == []


def test_a_trace_without_a_final_answer_comes_last() -> None:
    one = pooled(FAILED, t1={"reasoning_ids": (), "reference_ids": ()})
    assert [span.key[-2:] for span in composed().wants([one])] == ["t2", "t3", "t4"]
    assert [e.ids for e in of_kind(learnt(composed(traces=3), one), "trace")] == [(703,) * 6, (702,) * 7, (701,) * 4]


def test_a_step_scores_traces_only_where_they_are_wanted() -> None:
    model = Toy()
    method = Composed(build({"name": "ampo", "experts": EXPERTS, "questions_per_step": 3, "answers_per_prompt": 2}))
    policy = ToyPolicy(model)
    _, metrics = training_step(
        stream(),
        method.initial_memory(),
        START,
        method=method,
        policy=policy,
        sampler=ToySampler(model),
        judge=parity,
        seed="0",
    )
    all_wrong = metrics.values["groups/all_wrong"] * 9
    assert 0 < all_wrong < 9
    assert policy.scored == pytest.approx(3 * all_wrong)
    assert metrics.values["traces/rows"] == pytest.approx(all_wrong)
    assert 0 < metrics.values["traces/comprehension"] < 1
    assert metrics.values["sampled_tokens"] > 0


# The loss.


def test_golden_aggregations() -> None:
    """Two traces with token losses [.5, .5] and [.1] * 4: by trace .3, by token .233333, over L = 8 .175."""
    given = (Example("trace", (1,), (7,) * 2, weight=0.5), Example("trace", (1,), (8,) * 4, weight=0.5))
    alike = tuple(replace(e, weight=1.0) for e in given)
    losses = (0.5, 0.1)
    paper = composed().terms(START)[1]
    tokens = composed(joint_average=True).terms(START)[1]
    length = composed(variant="release", fixed_length=8).terms(START)[1]
    for term, rows, due in ((paper, given, 0.3), (tokens, alike, 0.233333), (length, alike, 0.175 / 2)):
        each = weigh(rows, [term])
        found = sum(row.weights[0] * len(row.example.ids) * loss for row, loss in zip(each, losses, strict=True))
        assert found == pytest.approx(due, abs=5e-7)


def says(prompt: Ids, ids: Ids) -> Floats:
    return (log(0.3),) * len(ids)


def test_groups_weigh_alike_whatever_their_traces() -> None:
    """Of two groups one failed and got two traces of 9 and 6 tokens: their mean, halved; the rest is a token mean."""
    method = composed()
    lesson = learnt(method, pooled([0, 0, 0]), pooled([1, 0, 0]))
    assert [e.weight for e in of_kind(lesson, "trace")] == [1 / 4, 1 / 4]
    told = evaluated(method, lesson.updates[0].examples, says)
    advantages = [e.advantage for e in of_kind(lesson, "trace")]
    assert told.losses["trace"] == pytest.approx(-sum(advantages) / 2 * 0.3 / 0.4 / 2)
    drawn = [e.advantage for e in of_kind(lesson, "sampled")]
    assert told.losses["policy"] == pytest.approx(-sum(drawn) / len(drawn))


@pytest.mark.parametrize(("variant", "ratio"), [("paper", 0.3 / 0.5), ("release", 0.3)])
def test_a_teachers_own_probabilities_enter_as_published(variant: str, ratio: float) -> None:
    one = pooled([0, 0], t1={"logprobs": (log(0.5),) * 9})
    method = composed(variant=variant, traces=1, average="over_sequences", joint_average=False, entropy_coefficient=0)
    lesson = learnt(method, one)
    (trace,) = of_kind(lesson, "trace")
    told = evaluated(method, lesson.updates[0].examples, says)
    assert told.losses["trace"] == pytest.approx(-trace.advantage * ratio / (ratio + 0.1))


def test_the_clip_bites_only_where_credit_is_negative() -> None:
    """f < 1, so above the baseline nothing is ever cut; below it f under 0.8 has no gradient."""
    row = Example("trace", (1,), (7,), advantage=-1.0)
    cut, free = (evaluated(composed(clip_traces=on), (row,), says) for on in (True, False))
    assert (cut.total, cut.gradients) == (pytest.approx(0.8), [(0.0,)])
    assert free.total == pytest.approx(0.3 / 0.4)
    up = [evaluated(composed(clip_traces=on), (replace(row, advantage=1.0),), says) for on in (True, False)]
    assert up[0] == up[1]


# With other methods.


def test_under_meml_grpo() -> None:
    """Traces come to the expert that fails; the buffer counts all eight failures; mutual learning goes on."""
    spec = {"name": "meml_grpo", "experts": ["e0", "e1"], "hard_wrong": 2, "hard_capacity": 1, "hard_probability": 1.0}
    method = Composed(build({**spec, "with": [{"name": "ampo", "traces": 1}]}))
    given = group([[1, 0, 0], [0, 0, 0]])
    short = {s.key: SpanScore((log(0.5),)) for s in method.wants([given])}
    lesson = lesson_of(method, method.shape([given], short, method.initial_memory(), START))
    assert [e.advantage for e in of_kind(lesson, "sampled")] == pytest.approx([2 / 3, *[-1 / 3] * 4])
    (trace,) = of_kind(lesson, "trace")
    assert (trace.prompt_ids, trace.advantage, trace.weight) == ((1, 101), pytest.approx(2 / 3), 0.5)
    assert len(of_kind(lesson, "solution")) == 1
    assert [e.prompt_ids for e in of_kind(lesson, "borrowed")] == [(1, 101)]
    told = evaluated(method, lesson.updates[0].examples, says)
    assert told.losses["trace"] == pytest.approx(-2 / 3 * 0.75 / 2)


@pytest.mark.parametrize("field", [{"traces": 0}, {"trigger": 1.5}, {"shaping": 0}, {"comprehension": "median"}])
def test_bad_fields(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        build({"name": "ampo", **field})
