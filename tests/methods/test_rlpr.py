"""RLPR: the golden numbers, what is read after what, the filter by spread, and training without a verifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from math import exp, log
from random import Random
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hand import START
from manyminds.formulas.confidence import gain, geometric_probability, mean_probability, product_probability
from manyminds.formulas.repetition import repeats
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.rlpr import RLPR, key, reasoning
from manyminds.records import (
    Answers,
    Ask,
    Floats,
    Group,
    Ids,
    Progress,
    Prompt,
    Question,
    Rollout,
    Scored,
    Scores,
    Span,
    SpanScore,
)
from manyminds.step import by_question, scored, training_step
from toy import QUESTIONS, STOP, Toy, ToyPolicy, ToySampler, judged

MARKER, GOLD = (7,), (8, 9)
ASKED = Question("q", "q", "89", prompt_ids={"e0": (1, 2), "e1": (3,)}, marker_ids=MARKER, answer_ids=GOLD)


def rollout(
    ids: Ids, span: Ids = (), said: Floats = (), expert: str = "e0", finish: str = "stop", text: str = ""
) -> Rollout:
    logprobs = said or (-1.0,) * len(ids)
    return Rollout(Prompt(ASKED, expert), ids, logprobs, text, finish, answer_span=span)


def group(*rollouts: Rollout, verdicts: Sequence[float] = ()) -> Group:
    """The answers of one expert; each is another reasoning token, a marker and one token, unless given."""
    given = verdicts or (0.0,) * len(rollouts)
    its = tuple(Scored(one, verdict, {"exact": verdict}) for one, verdict in zip(rollouts, given, strict=True))
    return Group(ASKED, (Answers(rollouts[0].prompt, its),))


def answers(n: int) -> list[Rollout]:
    """n answers that reason differently: (20 + i, marker, 5, end)."""
    return [rollout((20 + i, 7, 5, 0), (2, 3)) for i in range(n)]


def told(rollouts: Sequence[Rollout], reference: Sequence[float], bare: float = 0.0) -> Scores:
    """Scores in which every token of the reference has the same probability."""
    prompt = rollouts[0].prompt
    scores = {
        key(one.prompt, reasoning(one)): SpanScore((log(p),) * 2) for one, p in zip(rollouts, reference, strict=True)
    }
    return scores | ({key(prompt, None): SpanScore((log(bare),) * 2)} if bare else {})


def composed(name: str = "rlpr", *parts: dict[str, Any], **fields: Any) -> Composed:
    return Composed(build({"name": name, "experts": ["e0"], "with": list(parts), **fields}))


def shaped(method: Composed, one: Group, scores: Scores) -> Group:
    (after,) = method.shape((one,), scores, method.initial_memory(), START)
    return after


def test_golden() -> None:
    rows = answers(4)
    scores = told(rows, (0.8, 0.6, 0.4, 0.9), 0.5)
    debiased = shaped(composed(format_share=0.0), group(*rows), scores)
    assert debiased.answers[0].rewards == pytest.approx((0.3, 0.1, 0.0, 0.4))
    mixed = shaped(composed(), group(*rows), scores)
    assert mixed.answers[0].rewards == pytest.approx((0.37, 0.19, 0.10, 0.46))


def test_golden_of_the_span() -> None:
    said = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64).log()
    assert float(mean_probability(said)) == pytest.approx(0.5)
    assert float(geometric_probability(said)) == pytest.approx(0.355689, abs=1e-6)
    assert float(product_probability(said)) == pytest.approx(0.045)
    for confidence in (mean_probability, geometric_probability, product_probability):
        assert float(confidence(said[:0])) == 0
        assert float(confidence(said[:1])) == pytest.approx(0.9)
    assert float(gain(said[2].exp(), said[0].exp())) == 0


def test_without_debiasing_the_probability_itself_is_the_reward() -> None:
    rows = answers(2)
    method = composed(debias="none", format_share=0.25)
    after = shaped(method, group(*rows), told(rows, (0.8, 0.1), 0.5))
    assert after.answers[0].rewards == pytest.approx((0.75 * 0.8 + 0.25, 0.75 * 0.1 + 0.25))
    assert method.needs == {"answer_spans"}
    assert composed().needs == {"answer_spans", "reference"}
    assert composed(debias_by="current").needs == {"answer_spans"}


def test_what_is_read_after_what() -> None:
    """Up to the answer of an answer that has one; else all but the end token, and the marker. The bare prompt once."""
    form, cut, ended = rollout((20, 7, 5, 0), (2, 3)), rollout((20, 21), finish="length"), rollout((20, 21, 0))
    again = rollout((20, 7, 6, 6, 0), (2, 4))
    spans = composed().wants((group(form, cut, ended, again),))
    assert [(span.prompt_ids, span.ids, span.model) for span in spans] == [
        ((1, 2, 7), GOLD, "reference"),
        ((1, 2, 20, 7), GOLD, "policy"),
        ((1, 2, 20, 21, 7), GOLD, "policy"),
    ]
    current = composed(debias_by="current", malformed="zero").wants((group(form, cut),))
    assert [(span.prompt_ids, span.model) for span in current] == [((1, 2, 7), "policy"), ((1, 2, 20, 7), "policy")]
    bare = Group(replace(ASKED, answer_ids=()), ())
    assert composed().wants((bare,)) == ()


@pytest.mark.parametrize(("malformed", "wanted"), [("glued", 0.9 * 0.3), ("zero", 0.0)])
def test_an_answer_that_is_not_of_the_form(malformed: str, wanted: float) -> None:
    """It has no share of the form; whether the reference is read after it is said by `malformed`."""
    form, other = rollout((20, 7, 5, 0), (2, 3)), rollout((30, 31), finish="length")
    scores = told([form, other], (0.7, 0.8), 0.5)
    after = shaped(composed(malformed=malformed), group(form, other), scores)
    assert after.answers[0].rewards == pytest.approx((0.9 * 0.2 + 0.1, wanted))
    assert [s.parts["well_formed"] for s in after.answers[0].scored] == [1.0, 0.0]


def test_the_verdict_stays_the_verifiers() -> None:
    rows = answers(2)
    after = shaped(composed(), group(*rows, verdicts=(1.0, 0.0)), told(rows, (0.1, 0.9), 0.5))
    assert [s.verdict for s in after.answers[0].scored] == [1.0, 0.0]
    assert after.answers[0].rewards[0] < after.answers[0].rewards[1]
    assert after.answers[0].mean == 0.5


def test_a_trace_keeps_its_reward() -> None:
    rows = answers(2)
    trace = replace(rows[1], origin="trace:teacher")
    one = group(rows[0], trace, verdicts=(0.0, 1.0))
    assert len(composed().wants((one,))) == 2
    assert shaped(composed(), one, told(rows[:1], (0.8,), 0.5)).answers[0].rewards == pytest.approx((0.37, 1.0))


CIRCLES = "a b c d e f g h i j " * 10


@pytest.mark.parametrize(
    ("text", "wanted"), [(CIRCLES, True), (CIRCLES[:-20], False), ("x " * 19, True), ("x " * 18, False), ("", False)]
)
def test_going_round_in_circles(text: str, wanted: bool) -> None:
    assert repeats(text, 10, 10) is wanted


def test_circles_cost_one_where_there_is_a_reward() -> None:
    rows = [replace(one, text=CIRCLES) for one in (*answers(2), rollout((40, 41), finish="length"))]
    scores = told(rows, (0.8, 0.4, 0.4), 0.5)
    after = shaped(composed(), group(*rows), scores)
    assert after.answers[0].rewards == pytest.approx((0.37 - 1, 0.1 - 1, 0.0))  # the last has nothing to lose
    assert shaped(composed(repetition_penalty=0.0), group(*rows), scores).answers[0].rewards[0] == pytest.approx(0.37)


def rewarded(*rewards: float) -> Group:
    return group(*answers(len(rewards)), verdicts=rewards)


def test_the_filter_begins_late_and_follows_the_mean_spread() -> None:
    """By plain code: statistics from step 6 on, their first value as it is; refused below half of it from step 11."""
    method = composed()
    memory, average = method.initial_memory(), None
    flat, wide = rewarded(0.5, 0.5, 0.51), rewarded(0.0, 0.5, 1.0)
    for step in range(1, 13):
        assert method.keeps(flat, memory) is (step < 11)
        assert method.keeps(wide, memory)
        seen = (wide, rewarded(0.0, 0.1 * step))
        memory = method.learn(seen, {}, memory, Random(0), Progress(step, 0.0)).memory
        mean = fmean((0.5, stdev((0.0, 0.1 * step))))
        if step >= 6:
            average = mean if average is None else 0.99 * average + 0.01 * mean
        assert memory[0] == (step, pytest.approx(average) if average else None)
    assert average is not None
    edge = math.sqrt(2) * 0.5 * average
    assert method.keeps(rewarded(0.0, edge * 1.001), memory)
    assert not method.keeps(rewarded(0.0, edge * 0.999), memory)
    assert composed(spread_share=0.0).keeps(rewarded(0.5, 0.5), memory)


def test_one_prompt_that_differs_keeps_the_question() -> None:
    method = composed()
    flat, wide = rewarded(0.5, 0.5), rewarded(0.0, 1.0)
    both = Group(ASKED, (flat.answers[0], wide.answers[0]))
    assert method.keeps(both, ((20, 0.4),))
    assert not method.keeps(Group(ASKED, (flat.answers[0],) * 2), ((20, 0.4),))


@pytest.mark.parametrize(
    "fields", [{"format_share": 1.1}, {"spread_decay": 1.0}, {"debias": "no"}, {"repetition_times": 1}]
)
def test_bad_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RLPR(**fields)


def test_beside_meml_grpo_the_verifier_says_who_teaches_whom() -> None:
    """And the policy learns from the reference's probability: centred, positive part, over all answers."""
    method = Composed(
        build(
            {
                "name": "meml_grpo",
                "experts": ["e0", "e1"],
                "with": [{"name": "rlpr", "debias": "none", "format_share": 0.0}],
            }
        )
    )
    first, second = answers(2), [replace(one, prompt=Prompt(ASKED, "e1")) for one in answers(2)]
    rows = [group(*first, verdicts=(1.0, 0.0)), group(*second)]
    one = Group(ASKED, (rows[0].answers[0], rows[1].answers[0]))
    scores = {**told(first, (0.2, 0.6)), **told(second, (0.5, 0.1))}
    (after,) = method.credit(
        method.shape((one,), scores, method.initial_memory(), START), method.initial_memory(), START
    )
    lesson = method.learn((after,), scores, method.initial_memory(), Random(0), START)
    (update,) = lesson.updates
    assert [e.advantage for e in update.examples if e.kind == "sampled"] == pytest.approx([-0.2, 0.2, 0.2, -0.2])
    assert [e.ids for e in update.examples if e.kind == "borrowed"] == [first[0].ids]
    assert lesson.metrics["mutual/pairs/e0->e1"] == 1
    assert lesson.metrics["rlpr/spread"] == pytest.approx(fmean((stdev((0.2, 0.6)), stdev((0.5, 0.1)))))


# With a policy.


@judged
def nothing(rollout: Rollout) -> float:
    """There is no verifier."""
    return 0.0


class Spanned(ToySampler):
    """An answer of the form ends with the end token; the token before it is the final answer, whatever comes first."""

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        drawn = super().sample(asks, draw)
        return tuple(replace(r, answer_span=form_of(r.ids)) for r in drawn)


def form_of(ids: Ids) -> Ids:
    return (len(ids) - 2, len(ids) - 1) if len(ids) > 1 and ids[-1] == STOP else ()


def asked(question: Question) -> Question:
    return replace(question, answer_ids=(int(question.answer),))


def toy(name: str = "rlpr", **fields: Any) -> Composed:
    spec = {"experts": ["beta"], "questions_per_step": 1, "answers_per_prompt": 8, "scale": "none", **fields}
    return Composed(build({"name": name, **spec}))


def test_the_reward_is_the_mean_probability_of_the_reference_after_the_reasoning() -> None:
    """Against the toy model itself, the reference model beside it."""
    model, initial = Toy(), Toy(1)
    method = toy(malformed="zero")
    asks = [ask for question in QUESTIONS[:6] for ask in method.ask(asked(question), method.initial_memory(), START)]
    groups = by_question(nothing(Spanned(model).sample(asks, "0/1")))
    scores = scored(ToyPolicy(model, reference=initial), method.wants(groups))

    def probability(of: Toy, before: Ids, token: int) -> float:
        with torch.no_grad():
            return float(of(torch.tensor([before]))[0, -1].softmax(-1)[token])

    formed = 0
    for one in method.shape(groups, scores, method.initial_memory(), START):
        (gold,) = one.question.answer_ids
        for its in one.answers[0].scored:
            ids = its.rollout.ids
            bare = probability(initial, one.answers[0].prompt.ids, gold)
            due = probability(model, one.answers[0].prompt.ids + ids[:-2], gold) if form_of(ids) else 0.0
            assert its.reward == pytest.approx(0.9 * max(due - bare, 0.0) + 0.1 * bool(form_of(ids)))
            formed += bool(form_of(ids))
    assert formed > 3


class LastTwo(ToySampler):
    """The last two tokens are the answer and its end; what comes before them is reasoning."""

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        drawn = super().sample(asks, draw)
        return tuple(replace(r, answer_span=(max(len(r.ids) - 2, 0), len(r.ids))) for r in drawn)


@pytest.mark.parametrize("name", ["rlpr", "darl"])
def test_training_makes_the_reference_likelier(name: str) -> None:
    """One question and no verifier: the reasoning that precedes the answer is reinforced, and the answer with it."""
    model = Toy()
    policy = ToyPolicy(model, lr=0.003, optimizer=torch.optim.Adam)
    method = toy(name, debias="none", format_share=0.0, spread_share=0.0)
    question = replace(QUESTIONS[34], answer_ids=(int(QUESTIONS[34].answer), STOP))
    memory, likely = method.initial_memory(), []
    for step in range(30):
        memory, metrics = training_step(
            repeat(question),
            memory,
            Progress(step + 1, 0.0),
            method=method,
            policy=policy,
            sampler=LastTwo(model),
            judge=nothing,
            seed="0",
        )
        likely.append(metrics.values["rewards/reference_probability/mean"])
        assert metrics.values["rewards/toy/mean"] == 0
        assert metrics.values["groups/all_wrong"] == 1
    assert fmean(likely[:5]) < 0.15
    assert fmean(likely[-5:]) > 0.25


def test_spans_are_read_by_the_model_they_name() -> None:
    policy = ToyPolicy(Toy(), reference=Toy(1))
    spans = (Span("a", (1, 2), (3,)), Span("b", (1, 2), (3,), model="reference"), Span("c", (1, 2), (4,)))
    found = scored(policy, spans)
    assert found["a"].logprobs == pytest.approx(policy.score(spans[:1])["a"].logprobs)
    assert found["b"].logprobs == pytest.approx(policy.score(spans[1:2], "reference")["b"].logprobs)
    assert found["b"].logprobs != pytest.approx(found["a"].logprobs)
    assert set(found) == {"a", "b", "c"}
    assert exp(found["c"].logprobs[0]) < 1
    assert scored(policy, ()) == {}
