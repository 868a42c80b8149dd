"""The hooks carry external traces, with log-probs computed before the first update (RL-PLUS, AMPO)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

from hand import START, evaluated, group
from manyminds.batch import Batch, collate, weigh
from manyminds.formulas.advantages import centred
from manyminds.formulas.averages import over_fixed_length
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO, sampled
from manyminds.methods.terms import ClippedSurrogate
from manyminds.objective import Outputs, Term
from manyminds.records import Answers, Example, Group, Lesson, Progress, Rollout, Scores, Span, SpanScore, Trace, Update
from manyminds.step import by_question, learn, recall, training_step
from toy import EXPERTS, QUESTIONS, Toy, ToyPolicy, ToySampler, exact, judged, parity, stream


def trace_of(answers: Answers) -> Trace:
    return answers.prompt.question.traces[answers.expert]


def augmented(answers: Answers, traces: Sequence[Trace], replacing: int = 0) -> tuple[Example, ...]:
    """Answers and traces under one baseline: r - mean r over both. The first `replacing` wrong answers make room."""
    wrong = [s for s in answers.scored if not s.right][:replacing]
    own = [s for s in answers.scored if s not in wrong]
    rewards = [s.reward for s in own] + [t.reward or 0.0 for t in traces]
    credits = centred(torch.tensor([rewards], dtype=torch.float64))[0].tolist()
    credited = tuple(replace(s, advantage=a) for s, a in zip(own, credits, strict=False))
    prompt = answers.prompt
    return (
        *sampled(replace(answers, scored=credited)),
        *(
            Example("trace", prompt.ids, t.ids, advantage=a, group_id=prompt.group_id)
            for t, a in zip(traces, credits[len(own) :], strict=True)
        ),
    )


# RL-PLUS: one trace a prompt, always; a ratio against a guess of who wrote it; unlikely tokens weigh more.


@dataclass(frozen=True, slots=True)
class ExternalTrace:
    """-A (1 - sg p)^focus 2 p / (1.5 p_old + 0.5)."""

    focus: float

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        p, old = outputs.logprobs.exp(), batch.planes["old_logprobs"].exp()
        return -batch.advantages * (1 - p.detach()) ** self.focus * 2 * p / (1.5 * old + 0.5)


class RLPlus(GRPO):
    """GRPO with one external trace in every group."""

    name: str = "rl_plus"
    focus: float = 0.5

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows = tuple(row for g in groups for answers in g.answers for row in augmented(answers, [trace_of(answers)]))
        return Lesson((Update(rows),) * self.epochs, memory)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        average, needs = over_fixed_length(8), frozenset({"old_logprobs"})
        external = Term("external", "trace", ExternalTrace(self.focus), 1.0, average, needs, credit="nonzero")
        own = Term("policy", "sampled", ClippedSurrogate(0.2, 0.2), average=average, credit="nonzero")
        return (own, external)


METHOD = Composed(RLPlus(experts=EXPERTS, answers_per_prompt=3, questions_per_step=2, epochs=2))


def groups_of(model: Toy) -> tuple[Group, ...]:
    asks = [ask for question in QUESTIONS[:2] for ask in METHOD.ask(question, (None,), START)]
    return by_question(exact(ToySampler(model).sample(asks, "0/1")))


@pytest.mark.parametrize(
    ("now", "before", "ratio", "focal"),
    [
        (0.2, 0.25, 0.457143, 0.894427),
        (0.9, 0.9, 0.972973, 0.316228),
        (0.01, 0.01, 0.038835, 0.994987),
        (0.5, 0.01, 1.941748, 0.707107),
    ],
)
def test_external_ratio_golden(now: float, before: float, ratio: float, focal: float) -> None:
    (_, term), example = METHOD.terms(START), Example("trace", (1,), (2,), planes={"old_logprobs": (log(before),)})
    for focus, wanted in ((0.0, ratio), (0.5, ratio * focal)):
        method = Composed(RLPlus(focus=focus))
        told = evaluated(method, [replace(example, advantage=-1.0)], lambda prompt, ids: (log(now),))
        assert told.losses["external"] * 8 == pytest.approx(wanted, abs=1e-6)
        # The weight is held fixed: d/dlog p is that of the ratio alone.
        assert told.gradients[0][0] * 8 == pytest.approx(wanted, abs=1e-6)
    assert term.needs == {"old_logprobs"}


def test_traces_share_the_baseline_of_the_answers() -> None:
    (first, *_), (*_, last) = [[1.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]]
    for rewards, advantages in ((first, [0.5, -0.5, -0.5, 0.5]), (last, [0, 0, 0, 0])):
        (answers,) = group([rewards]).answers
        rows = augmented(answers, [Trace("", "teacher", (700,), reward=1.0)])
        assert [e.advantage for e in rows] == pytest.approx(advantages)
        assert [e.kind for e in rows] == ["sampled"] * 3 + ["trace"]


def test_old_logprobs_are_computed_once_before_the_first_of_two_updates() -> None:
    model = Toy()
    policy, groups = ToyPolicy(model, lr=1.0), groups_of(model)
    lesson = METHOD.learn(METHOD.credit(groups, METHOD.initial_memory(), START), {}, (None,), random.Random(0), START)
    terms = METHOD.terms(START)
    lesson = recall(lesson, terms, policy)
    traces = {(e.prompt_ids, e.ids) for e in lesson.updates[0].examples if e.kind == "trace"}
    assert policy.scored == len(traces) == 6
    assert lesson.updates[0] == lesson.updates[1]
    for example in lesson.updates[0].examples:
        assert set(example.planes) == {"old_logprobs" if example.kind == "trace" else "sampling_logprobs"}

    before = now(policy, lesson.updates[0])
    learn(lesson.updates[0], terms, policy)
    after = now(policy, lesson.updates[1])
    old = [e.planes["old_logprobs"] for e in lesson.updates[1].examples if e.kind == "trace"]
    assert old == [pytest.approx(row, abs=1e-12) for row in before]
    assert max(abs(a - o) for a, o in zip(after[0], old[0], strict=True)) > 1e-3
    assert policy.scored == 6


def now(policy: ToyPolicy, update: Update) -> list[tuple[float, ...]]:
    rows = [e for e in update.examples if e.kind == "trace"]
    with torch.no_grad():
        logprobs = policy.forward(collate(weigh(rows, METHOD.terms(START)), dtype=torch.float64), frozenset()).logprobs
    return [tuple(line[: len(e.ids)]) for line, e in zip(logprobs.tolist(), rows, strict=True)]


def test_an_example_keeps_the_log_probs_that_it_brings() -> None:
    """A teacher's own, or those of the step that drew it: recalling the policy's would forget who wrote it."""
    mine = {"old_logprobs": (-9.0, -9.0)}
    rows = (Example("trace", (11, 1, 2), (3, 10), planes=mine), Example("trace", (11, 1, 2), (4, 10)))
    policy = ToyPolicy(Toy())
    (update,) = recall(Lesson((Update(rows),)), METHOD.terms(START), policy).updates
    assert update.examples[0].planes == mine
    assert update.examples[1].planes["old_logprobs"] != mine["old_logprobs"]
    assert policy.scored == 1


@judged
def to_the_letter(rollout: Rollout) -> float:
    """1 if the answer is the trace itself: one in 14,641 at first."""
    return float(rollout.ids == rollout.prompt.question.traces[rollout.prompt.expert].ids)


def test_training_on_traces_learns_what_sampling_never_finds() -> None:
    """No answer is right at first, so GRPO has no signal; the traces lead."""
    rewards = {}
    for kind in (RLPlus, GRPO):
        method = Composed(kind(experts=("beta",), answers_per_prompt=8, questions_per_step=4))
        model = Toy()
        policy, memory, told = ToyPolicy(model, lr=0.03, optimizer=torch.optim.Adam), (None,), []
        for step in range(40):
            memory, metrics = training_step(
                stream(4 * (step % 2)),
                memory,
                Progress(step + 1, 0.0),
                method=method,
                policy=policy,
                sampler=ToySampler(model),
                judge=to_the_letter,
                seed="0",
            )
            told.append(metrics.values["reward"])
        rewards[kind.__name__] = sum(told[-5:]) / 5
    assert rewards["GRPO"] < 0.05
    assert rewards["RLPlus"] > 0.5


# AMPO: teachers on demand. Where all answers fail, those traces replace some that the policy understands best.


class AMPO(GRPO):
    """A trace is understood by how likely the reference answer is after it: scored only where all answers are wrong."""

    name: str = "ampo"
    traces: int = 2

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        return tuple(
            Span(f"{answers.prompt.group_id}/{trace.source}", answers.prompt.ids + trace.ids[:-2], trace.ids[-2:])
            for g in groups
            for answers in g.answers
            if not answers.right
            for trace in g.question.traces.values()
        )

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows: list[Example] = []
        for answers in (a for g in groups for a in g.answers):
            traces = self.pool(answers, scores)
            rows += augmented(answers, traces, replacing=len(traces))
        return Lesson((Update(tuple(rows)),), memory)

    def pool(self, answers: Answers, scores: Scores) -> list[Trace]:
        if answers.right:
            return []

        def understood(trace: Trace) -> tuple[float, int]:
            return -fmean(exp(x) for x in scores[f"{answers.prompt.group_id}/{trace.source}"].logprobs), len(trace.ids)

        return sorted(answers.prompt.question.traces.values(), key=understood)[: self.traces]

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        own = self.policy_term()
        return (own, replace(own, name="external", kind="trace"))


AMPO_METHOD = Composed(AMPO(experts=("e0",)))


def pooled(rewards: list[float]) -> Group:
    """Four teachers, with traces of these lengths."""
    one = group([rewards])
    lengths = {"t1": 9, "t2": 4, "t3": 7, "t4": 6}
    traces = {name: Trace(name, name, (700,) * n, reward=1.0) for name, n in lengths.items()}
    question = replace(one.question, traces=traces)
    answers = replace(one.answers[0], prompt=replace(one.answers[0].prompt, question=question))
    return replace(one, question=question, answers=(answers,))


def test_teachers_on_demand_golden() -> None:
    """Understood .95, .80, .90, .90: the first, and of the equal ones the shorter; two failures make room."""
    failed = pooled([0.1, 0, 0.1, 0, 0, 0.1, 0, 0])
    spans = AMPO_METHOD.wants([failed])
    assert [(len(span.prompt_ids), len(span.ids)) for span in spans] == [(9, 2), (4, 2), (7, 2), (6, 2)]
    said = dict(zip(("t1", "t2", "t3", "t4"), (0.95, 0.8, 0.9, 0.9), strict=True))
    scores = {span.key: SpanScore((log(said[span.key[-2:]]),)) for span in spans}
    (update,) = AMPO_METHOD.learn([failed], scores, (None,), random.Random(0), START).updates
    advantages = [e.advantage for e in update.examples]
    # The first two answers (0.1 and 0) are replaced, so rewards are .1 0 0 .1 0 0 and twice 1.
    assert advantages == pytest.approx([-0.175, -0.275, -0.275, -0.175, -0.275, -0.275, 0.725, 0.725])
    assert [len(e.ids) for e in update.examples if e.kind == "trace"] == [9, 6]


def test_no_teacher_is_asked_where_one_answer_is_right() -> None:
    mixed = pooled([0.1, 1, 0, 0])
    assert AMPO_METHOD.wants([mixed]) == ()
    (update,) = AMPO_METHOD.learn([mixed], {}, (None,), random.Random(0), START).updates
    assert {e.kind for e in update.examples} == {"sampled"}
    assert len(update.examples) == 4


def test_a_step_scores_traces_only_where_they_are_wanted() -> None:
    model = Toy()
    method = Composed(AMPO(experts=EXPERTS, questions_per_step=3, answers_per_prompt=2))
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
