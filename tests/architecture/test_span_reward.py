"""The hooks carry span scores that become the reward: no verifier, but how likely the reference answer is (DARL)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from math import exp
from statistics import fmean
from typing import Any

import pytest
import torch

from hand import START
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.records import (
    Answers,
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
from manyminds.step import by_question, training_step
from toy import QUESTIONS, STOP, Toy, ToyPolicy, ToySampler, judged


class Darl(GRPO):
    """The mean probability of the reference answer after the policy's own reasoning, and a small bonus for another one.

    r = r* + bonus d [d <= r* / width] with d = max(r* - r(own answer), 0). The last two tokens are the answer
    and its end; what comes before them is reasoning.
    """

    name: str = "darl"
    bonus: float = 0.01
    width: float = 10.0

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        spans = [
            (f"{kind}/{key(group, answers, g)}", answers.prompt.ids + reasoning(scored), ids)
            for group in groups
            for answers in group.answers
            for g, scored in enumerate(answers.scored)
            for kind, ids in (("reference", reference(group.question)), ("own", scored.rollout.ids[-2:]))
        ]
        return tuple(Span(*span) for span in spans)

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        return tuple(
            group.with_rewards(
                tuple(
                    tuple(self.reward(scores, key(group, answers, g)) for g in range(len(answers.scored)))
                    for answers in group.answers
                )
            )
            for group in groups
        )

    def reward(self, scores: Scores, which: str) -> float:
        due, own = (fmean(exp(x) for x in scores[f"{kind}/{which}"].logprobs) for kind in ("reference", "own"))
        less = max(due - own, 0.0)
        return due + self.bonus * less * (less <= due / self.width)


def key(group: Group, answers: Answers, g: int) -> str:
    return f"{group.question.id}/{answers.expert}/{g}"


def reference(question: Question) -> Ids:
    return (int(question.answer), STOP)


def reasoning(scored: Scored) -> Ids:
    return scored.rollout.ids[:-2]


@judged
def nothing(rollout: Rollout) -> float:
    """There is no verifier."""
    return 0.0


METHOD = Composed(Darl(experts=("beta",), answers_per_prompt=6, questions_per_step=3))


def test_the_reward_is_the_mean_probability_of_the_reference_after_the_reasoning() -> None:
    model = Toy()
    asks = [ask for question in QUESTIONS[:2] for ask in METHOD.ask(question, (None,), START)]
    groups = by_question(nothing(ToySampler(model).sample(asks, "0/1")))
    base = Composed(Darl(experts=("beta",), bonus=0.0))
    scores = ToyPolicy(model).score(base.wants(groups))
    for group in base.shape(groups, scores, (None,), START):
        for answers in group.answers:
            for scored in answers.scored:
                prefix = answers.prompt.ids + scored.rollout.ids[:-2]
                with torch.no_grad():
                    probabilities = model(torch.tensor([prefix + reference(group.question)]))[0].softmax(-1)
                due = [probabilities[len(prefix) - 1 + i, t].item() for i, t in enumerate(reference(group.question))]
                assert scored.reward == pytest.approx(sum(due) / 2)
                assert 0 < scored.reward < 1


@pytest.mark.parametrize(
    ("bonus", "rewards", "advantages"),
    [
        (0.01, (0.8004, 0.6, 0.4, 0.9), (0.564893, -0.338575, -1.240240, 1.013923)),
        (0.5, (0.82, 0.6, 0.4, 0.9), (0.620333, -0.354476, -1.240667, 0.974809)),
    ],
)
def test_golden(bonus: float, rewards: Floats, advantages: Floats) -> None:
    """From given probabilities, through `shape` and the credit of GRPO."""
    method = Composed(Darl(experts=("beta",), bonus=bonus))
    prompt = Prompt(QUESTIONS[0], "beta")
    answers = Answers(prompt, tuple(Scored(Rollout(prompt, (1, 2, STOP), (-1.0,) * 3, ""), 0.0) for _ in range(4)))
    group = Group(QUESTIONS[0], (answers,))
    said = {"reference": (0.8, 0.6, 0.4, 0.9), "own": (0.76, 0.7, 0.2, 0.5)}
    scores = {
        f"{kind}/{key(group, answers, g)}": SpanScore((float(torch.tensor(p).double().log()),))
        for kind, row in said.items()
        for g, p in enumerate(row)
    }
    (shaped,) = method.credit(method.shape((group,), scores, (None,), START), method.initial_memory(), START)
    assert shaped.answers[0].rewards == pytest.approx(rewards, abs=1e-6)
    assert [s.advantage for s in shaped.answers[0].scored] == pytest.approx(advantages, abs=2e-5)


def test_training_makes_the_reference_likelier() -> None:
    """One question: the reasoning that precedes it is reinforced, and the answer with it."""
    model = Toy()
    policy = ToyPolicy(model, lr=0.003, optimizer=torch.optim.Adam)
    method = Composed(Darl(experts=("beta",), answers_per_prompt=8, questions_per_step=1, scale="none"))
    memory, told = method.initial_memory(), []
    for step in range(30):
        memory, metrics = training_step(
            repeat(QUESTIONS[34]),
            memory,
            Progress(step + 1, 0.0),
            method=method,
            policy=policy,
            sampler=ToySampler(model),
            judge=nothing,
            seed="0",
        )
        told.append(metrics.values["reward"])
        assert metrics.values["rewards/toy/mean"] == 0
    assert sum(told[:5]) / 5 < 0.15
    assert sum(told[-5:]) / 5 > 0.25
