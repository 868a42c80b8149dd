"""The hooks carry a second live model that changes how tokens are drawn (MENTOR)."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from hand import START
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO, sampled
from manyminds.records import (
    Answers,
    Ask,
    Decoding,
    Example,
    Group,
    Lesson,
    Mixture,
    Progress,
    Prompt,
    Question,
    Rollout,
    Scored,
    Scores,
    Span,
    Update,
)
from manyminds.step import by_question, training_step
from toy import QUESTIONS, STOP, Toy, ToyPolicy, ToySampler, parity, stream


class Mentor(GRPO):
    """Some answers are drawn from a mixture with a partner; they gain by what they beat the policy's own, or nothing.

    The partner's weight falls with the share of the budget used; at 0 nothing is drawn with it.
    """

    name: str = "mentor"
    mixed: int = 4
    weight: float = 0.5
    max_tokens: int = 4

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        (expert,) = self.experts
        prompt, weight = Prompt(question, expert), self.weight * (1 - progress.share)
        own = Ask(prompt, self.answers_per_prompt, Decoding(max_tokens=self.max_tokens))
        decoding = Decoding(max_tokens=self.max_tokens, mixture=Mixture("mentor", weight))
        return (own, Ask(prompt, self.mixed, decoding)) if weight > 0 else (own,)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows = tuple(example for group in groups for answers in group.answers for example in self.taught(answers))
        return Lesson((Update(rows),), memory)

    def taught(self, answers: Answers) -> tuple[Example, ...]:
        own = [s for s in answers.scored if s.rollout.origin == "policy"]
        mean = sum(s.reward for s in own) / len(own)
        credits = self.advantage(torch.tensor([[s.reward for s in own]], dtype=torch.float64), START)[0].tolist()
        mixed = [s for s in answers.scored if s.rollout.origin == "mixture"]
        credited = [replace(s, advantage=a) for s, a in zip(own, credits, strict=True)]
        credited += [replace(s, advantage=max(s.reward - mean, 0.0)) for s in mixed]
        return sampled(replace(answers, scored=tuple(credited)))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"partner"})


def drawn(method: Mentor, sampler: ToySampler, question: Question = QUESTIONS[34]) -> tuple[Rollout, ...]:
    return sampler.sample(method.ask(question, None, START), "0/1")


def leaning(model: Toy, token: int) -> Toy:
    """The model, fond of a token."""
    with torch.no_grad():
        model.head.bias[token] += 3.0
    return model


def law(model: Toy, question: Question = QUESTIONS[34]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([question.prompt_ids["alpha"]]))[0, -1].softmax(-1)


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.0])
def test_tokens_follow_the_mixture(weight: float) -> None:
    """One token of 4000 answers: every frequency within four standard errors of (1 - w) policy + w partner."""
    policy, partner, n = Toy(0), leaning(Toy(1), 3), 4000
    method = Mentor(experts=("alpha",), answers_per_prompt=n, mixed=n, weight=weight, max_tokens=1)
    rollouts = drawn(method, ToySampler(policy, partners={"mentor": partner}))
    mixture = (1 - weight) * law(policy) + weight * law(partner)
    for origin, wanted in (("policy", law(policy)), ("mixture", mixture)):
        counts = Counter(r.ids[0] for r in rollouts if r.origin == origin)
        assert sum(counts.values()) == n
        for token, p in enumerate(wanted.tolist()):
            assert abs(counts[token] / n - p) <= 4 * math.sqrt(p * (1 - p) / n) + 1e-9
    assert (law(policy) - mixture).abs().max() > 0.1


def test_logprobs_are_the_policys_own() -> None:
    """Those of the mixture would bias the ratio: the loss is about the policy."""
    policy = Toy(0)
    method = Mentor(experts=("alpha",), mixed=8)
    rollouts = drawn(method, ToySampler(policy, partners={"mentor": Toy(1)}))
    assert [r.origin for r in rollouts] == ["policy"] * 8 + ["mixture"] * 8
    spans = [Span(str(i), r.prompt.ids, r.ids) for i, r in enumerate(rollouts)]
    scores = ToyPolicy(policy).score(spans)
    for i, rollout in enumerate(rollouts):
        assert rollout.logprobs == pytest.approx(scores[str(i)].logprobs, abs=1e-12)


def test_the_partner_is_alive() -> None:
    """Its next weights are drawn from at once; the policy's own answers do not notice."""
    partner = Toy(1)
    sampler = ToySampler(Toy(0), partners={"mentor": partner})
    method = Mentor(experts=("alpha",), mixed=8)
    before = drawn(method, sampler)
    leaning(partner, STOP)
    after = drawn(method, sampler)
    assert before[:8] == after[:8]
    assert before[8:] != after[8:]
    alone = Mentor(experts=("alpha",), weight=0.0)
    assert drawn(alone, sampler) == before[:8]


def test_answers_to_one_prompt_are_one_group_and_drawn_apart() -> None:
    """Equal random numbers for both asks would make a mixture of weight 0 repeat the policy's own answers."""
    method = Mentor(experts=("alpha",), answers_per_prompt=6, mixed=6, weight=1e-12)
    rollouts = drawn(method, ToySampler(Toy(0), partners={"mentor": Toy(1)}))
    (group,) = by_question(parity(rollouts))
    assert [len(answers.scored) for answers in group.answers] == [12]
    assert [r.ids for r in rollouts[:6]] != [r.ids for r in rollouts[6:]]


def test_credit_golden() -> None:
    """Own rewards 1, 0, 0, 0 give the baseline; the mixed ones gain by what they beat its mean."""
    method = Mentor(experts=("alpha",))
    prompt = Prompt(QUESTIONS[0], "alpha")
    own = [Scored(Rollout(prompt, (1,), (-1.0,), ""), r) for r in (1.0, 0, 0, 0)]
    mixed = [Scored(Rollout(prompt, (1,), (-1.0,), "", origin="mixture"), r) for r in (1.0, 0.1, 0, 1)]
    advantages = [e.advantage for e in method.taught(Answers(prompt, (*own, *mixed)))]
    assert advantages == pytest.approx([1.5, -0.5, -0.5, -0.5, 0.75, 0, 0, 0.75], abs=1e-5)


def test_a_step_with_a_partner_and_one_when_it_has_left() -> None:
    method = Composed(Mentor(experts=("alpha",), questions_per_step=4, answers_per_prompt=8))
    tokens = {}
    for share in (0.0, 1.0):
        model = Toy(0)
        _, metrics = training_step(
            stream(),
            method.initial_memory(),
            Progress(1, share),
            method=method,
            policy=ToyPolicy(model),
            sampler=ToySampler(model, partners={"mentor": Toy(1)}),
            judge=parity,
            seed="0",
        )
        tokens[share] = metrics.values["sampled_tokens"]
        assert metrics.values["trained_rows"] > 0
    assert method.needs == {"partner"}
    assert tokens[0.0] > 1.3 * tokens[1.0]
