"""RL-PLUS: golden numbers, probes by hand, reductions, and its traces under other methods."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.rl_plus import RLPlus
from manyminds.methods.terms import ClippedSurrogate, PositivePart
from manyminds.metrics import of_groups
from manyminds.records import PLAIN, Example, Floats, Group, Ids, Lesson, Trace


def composed(*experts: str, **fields: Any) -> Composed:
    return Composed(RLPlus(experts=experts or ("e0",), **fields))


def release(*experts: str, **fields: Any) -> Composed:
    return Composed(build({"name": "rl_plus", "experts": experts or ("e0",), "variant": "release", **fields}))


def shaped(method: Composed, *groups: Group) -> tuple[Group, ...]:
    return method.shape(groups, {}, method.initial_memory(), START)


def learnt(method: Composed, *groups: Group) -> Lesson:
    return lesson_of(method, shaped(method, *groups))


def logs(*probabilities: float) -> Floats:
    return tuple(log(p) for p in probabilities)


# What stands in the group.


def test_golden_advantages() -> None:
    """One of seven drawn answers is right, and so is the trace: mean 1/4 over all eight."""
    method = release()
    (credited,) = method.credit(shaped(method, group([[1, 0, 0, 0, 0, 0, 0]])), (None,), START)
    scored = credited.answers[0].scored
    assert [s.advantage for s in scored] == [0.75, *[-0.25] * 6, 0.75]
    assert [s.rollout.origin for s in scored] == ["policy"] * 7 + ["trace:e0"]


def test_as_published_the_advantage_is_divided_by_the_spread() -> None:
    """Rewards 1, 0 and the trace's 1: mean 2/3, sample deviation sqrt(1/3)."""
    lesson = learnt(composed(), group([[1, 0]]))
    advantages = [e.advantage for e in lesson.updates[0].examples]
    assert advantages == pytest.approx([3**0.5 / 3, -2 * 3**0.5 / 3, 3**0.5 / 3], abs=3e-6)


def test_the_trace_is_nobodys_answer() -> None:
    given = group([[1, 0, 0], [0, 0, 0]])
    (after,) = shaped(composed("e0", "e1"), given)
    assert of_groups([after]) == of_groups([given])
    assert [a.wrong for a in after.answers] == [2, 3]
    assert [[s.rollout.ids for s in a.scored if s.rollout.is_trace] for a in after.answers] == [[(700,)], [(701,)]]


def test_groups_of_equal_rewards_teach_nothing_but_where_all_were_wrong() -> None:
    right = learnt(composed(), group([[1, 1, 1]]))
    assert {e.advantage for e in right.updates[0].examples} == {0.0}
    wrong = learnt(composed(), group([[0, 0, 0]]))
    assert [e.advantage > 0 for e in wrong.updates[0].examples] == [False, False, False, True]


# Whose trace.


@pytest.mark.parametrize(
    ("source", "second", "traces"),
    [
        ("own_or_first", 1.0, [(700,), (701,)]),
        ("own_or_first", 0.0, [(700,), (700,)]),
        ("own_or_first", None, [(700,), (700,)]),
        ("own", 0.0, [(700,)]),
        ("first", 1.0, [(700,), (700,)]),
    ],
)
def test_whose_trace_a_group_gets(source: str, second: float | None, traces: list[Ids]) -> None:
    """A trace that is wrong, or that nobody judged, is never taken: the ratio would amplify its unlikely tokens."""
    given = group([[1, 0], [1, 0]])
    own = {**given.question.traces, "e1": replace(given.question.traces["e1"], reward=second)}
    lesson = learnt(composed("e0", "e1", trace_source=source), with_traces(given, own))
    assert [e.ids for e in of_kind(lesson, "trace")] == traces
    assert [e.prompt_ids for e in of_kind(lesson, "trace")] == [(1, 100), (1, 101)][: len(traces)]
    assert lesson.metrics == {
        "traces/rows": len(traces),
        "traces/tokens": len(traces),
        "traces/groups": len(traces) / 2,
    }


def with_traces(given: Group, traces: dict[str, Trace]) -> Group:
    question = replace(given.question, traces=traces)
    answers = tuple(replace(a, prompt=replace(a.prompt, question=question)) for a in given.answers)
    return replace(given, question=question, answers=answers)


def test_no_trace_enters_twice() -> None:
    method = Composed(RLPlus(experts=("e0",), parts=(build({"name": "luffy"}),)))
    assert [e.ids for e in of_kind(learnt(method, group([[1, 0]])), "trace")] == [(700,)]


def test_the_plain_prompt_has_no_trace_of_its_own() -> None:
    with pytest.raises(UserError) as error:
        RLPlus(trace_source="own").settled(("e0", PLAIN), 9)
    assert str(error.value) == (
        "method.trace_source: the prompt 'plain' has no traces of its own; set it to own_or_first or first"
    )
    assert RLPlus().settled((PLAIN,), 9).experts == (PLAIN,)


# The loss.


BEFORE = logs(0.25, 0.9)


def rows(old: Floats = BEFORE) -> tuple[Example, Example]:
    """A trace of two tokens and a drawn answer of two, with what the policy gave them before."""
    trace = Example("trace", (1,), (7, 8), advantage=0.75, planes={"old_logprobs": old})
    drawn = Example("sampled", (1,), (5, 6), advantage=-0.25, planes={"old_logprobs": logs(0.5, 0.5)})
    return trace, drawn


def golden(prompt: Ids, ids: Ids) -> Floats:
    return logs(0.2, 0.9) if ids == (7, 8) else logs(0.55, 0.5)


def test_golden_loss() -> None:
    """Sum over L = 8 as in the released code; ours is that over the number of rows, which are two here."""
    told = evaluated(release(fixed_length=8, entropy_coefficient=0.0), rows(), golden)
    assert told.losses["trace"] * 8 * 2 == pytest.approx(-0.306661 - 0.230761, abs=1e-6)
    assert told.losses["policy"] * 8 * 2 == pytest.approx(0.275 + 0.25)
    assert told.total * 2 == pytest.approx(-0.001552694, abs=1e-8)


def test_golden_gradient() -> None:
    """In the log-prob of a trace's token the gradient is the loss of that token: C and the old policy are constants."""
    told = evaluated(release(fixed_length=8, entropy_coefficient=0.0), rows(), golden)
    assert [g * 16 for g in told.gradients[0]] == pytest.approx([-0.306661, -0.230761], abs=1e-6)
    assert [g * 16 for g in told.gradients[1]] == pytest.approx([0.275, 0.25])


def test_the_loss_as_published_by_hand() -> None:
    """Each side is a mean of its own, and drawn answers are clipped: 1.1 / 0.8 is beyond 1.2."""
    trace, drawn = rows(old=logs(0.1, 0.4))
    better = replace(drawn, advantage=0.5, planes={"old_logprobs": logs(0.4, 0.5)})
    told = evaluated(composed(focus=2.0), (trace, drawn, better), golden)
    first = 0.75 * 2 * 0.2 / (1.5 * 0.1 + 0.5) * 0.8**2
    second = 0.75 * 2 * 0.9 / (1.5 * 0.4 + 0.5) * 0.1**2
    assert told.losses["trace"] == pytest.approx(-(first + second) / 2)
    assert told.losses["policy"] == pytest.approx(((0.25 * 1.1 + 0.25) / 2 - (0.5 * 1.2 + 0.5) / 2) / 2)
    assert told.gradients[2][0] == 0.0
    loose = evaluated(composed(focus=2.0, clip=False), (trace, drawn, better), golden)
    assert loose.losses["policy"] == pytest.approx(((0.25 * 1.1 + 0.25) / 2 - (0.5 * 0.55 / 0.4 + 0.5) / 2) / 2)


def test_on_the_first_update_the_old_policy_is_the_current_one() -> None:
    trace = replace(rows()[0], planes={})
    told = evaluated(composed(), (trace,), golden)
    due = [0.75 * 2 * p / (1.5 * p + 0.5) * (1 - p) ** 0.5 for p in (0.2, 0.9)]
    assert told.losses["trace"] == pytest.approx(-sum(due) / 2)
    assert [t.needs for t in composed().terms(START)] == [frozenset(), frozenset()]
    assert [t.needs for t in composed(epochs=2).terms(START)] == [{"old_logprobs"}] * 2


# Reductions.


def test_without_traces_the_release_is_centred_grpo_without_a_clip() -> None:
    given = with_traces(group([[1, 0, 0, 0]], ids=[[(1, 2), (3,), (4,), (5, 6)]]), {})
    ours = learnt(release(fixed_length=4, entropy_coefficient=0.0), given)
    theirs = Composed(build({"name": "dr_grpo", "experts": ["e0"], "fixed_length": 4, "clip_low": 99, "clip_high": 99}))
    assert ours.updates == lesson_of(theirs, [given]).updates
    examples = [replace(e, planes={"old_logprobs": (-1.0,) * len(e.ids)}) for e in ours.updates[0].examples]
    losses = [
        evaluated(method, examples, lambda prompt, ids: (-3.0,) * len(ids))
        for method in (release(fixed_length=4, entropy_coefficient=0.0), theirs)
    ]
    assert losses[0].total == pytest.approx(losses[1].total)
    assert losses[0].gradients == losses[1].gradients


def test_without_traces_the_paper_is_grpo() -> None:
    given = with_traces(group([[1, 0, 0]]), {})
    grpo = Composed(build({"name": "grpo", "experts": ["e0"]}))
    assert learnt(composed(), given).updates == lesson_of(grpo, [given]).updates
    assert composed().terms(START)[0] == grpo.terms(START)[0]


def test_variants() -> None:
    assert [t.name for t in composed().terms(START)] == ["policy", "trace"]
    policy, trace, entropy = release(fixed_length=9).terms(START)
    assert (policy.among, trace.among) == ({"sampled", "trace"},) * 2
    assert entropy.coefficient == 0.001
    stated = build({"name": "rl_plus", "variant": "release", "clip": True})
    assert stated == build({**stated.model_dump(by_alias=True)})
    assert (stated.clip, stated.scale) == (True, "none")
    assert build({"name": "rl_plus", "variant": "release"}).settled(("e0",), 33).fixed_length == 33


# With other methods.


def test_under_meml_grpo_the_traces_join_and_its_own_policy_loss_stays() -> None:
    """MEML-GRPO's centred credit over answers and trace, its positive part for answers, r^m A C for the trace."""
    base = MEMLGRPO(experts=("e0", "e1"), hard_wrong=9, parts=(RLPlus(),))
    method = Composed(base)
    said = method.describe()
    assert (said["term policy"], said["term trace"], said["advantage"]) == ("meml_grpo", "rl_plus", "meml_grpo")
    assert isinstance(method.terms(START)[0].per_token, PositivePart)
    lesson = learnt(method, group([[1, 0], [0, 0]]))
    assert [e.advantage for e in of_kind(lesson, "sampled")] == pytest.approx([1 / 3, -2 / 3, -1 / 3, -1 / 3])
    assert [e.advantage for e in of_kind(lesson, "trace")] == pytest.approx([1 / 3, 2 / 3])
    assert [e.ids for e in of_kind(lesson, "borrowed")] == [(0,)]
    told = evaluated(method, lesson.updates[0].examples, lambda prompt, ids: logs(0.2))
    ratio = 2 * 0.2 / (1.5 * 0.2 + 0.5) * 0.8**0.5
    assert told.losses["trace"] == pytest.approx(-(1 / 3 + 2 / 3) / 2 * ratio)
    alone = Composed(MEMLGRPO(experts=("e0", "e1"), hard_wrong=9))
    theirs = evaluated(alone, lesson_of(alone, [group([[1, 0], [0, 0]])]).updates[0].examples, lambda p, i: logs(0.2))
    assert told.losses["mutual"] == pytest.approx(theirs.losses["mutual"])
    assert told.losses["policy"] == pytest.approx(-(1 / 3) * log(0.2) / 4)


def test_the_release_brings_its_own_policy_loss() -> None:
    part = build({"name": "rl_plus", "variant": "release"})
    method = Composed(MEMLGRPO(experts=("e0", "e1"), parts=(part,)))
    assert method.describe()["term policy"] == "rl_plus"
    assert method.terms(START)[0].per_token == ClippedSurrogate(float("inf"), float("inf"))


def test_another_parts_credit_sees_the_trace() -> None:
    """`Ranked` gives 1 to the best of a group, and the trace is among them."""
    method = Composed(build({"name": "meml_grpo", "experts": ["e0", "e1"], "with": [
        {"name": "rl_plus"}, {"name": "toy_methods:Ranked"}]}))  # fmt: skip
    lesson = learnt(method, group([[0, 0], [1, 0]]))
    assert [e.advantage for e in of_kind(lesson, "sampled")] == [0, 0, 1, 0]
    assert [e.advantage for e in of_kind(lesson, "trace")] == [1, 1]


def test_a_base_without_a_policy_loss_gets_one() -> None:
    """Plain GRPO's policy loss takes nobody's place, but where there is none it stands."""
    method = Composed(build({"name": "rft", "experts": ["e0"], "student": "e0", "with": [{"name": "rl_plus"}]}))
    assert [t.name for t in method.terms(START)] == ["verified", "policy", "trace"]


@pytest.mark.parametrize(
    "field",
    [{"minibatches": 2}, {"focus": -1}, {"variant": "published"}, {"trace_source": "best"}, {"fixed_length": 0}],
)
def test_bad_fields(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        build({"name": "rl_plus", **field})
