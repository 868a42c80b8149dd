"""The hooks carry an episode of two turns: what the environment says is read, but never learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch

from hand import START
from manyminds.batch import collate, weigh
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.rft import RFT
from manyminds.metrics import Metrics
from manyminds.objective import Outputs, evaluate, total
from manyminds.records import Ask, Decoding, Example, Ids, Progress, Prompt, Question, Rollout, Scored
from manyminds.step import by_question, training_step
from toy import EXPERTS, QUESTIONS, STOP, TOLD, Toy, ToyPolicy, ToySampler, judged


@dataclass(frozen=True)
class Lookup:
    """Tells the secret after the first turn, and ends the episode after the second."""

    secret: int

    def step(self, ids: Ids) -> Ids | None:
        return (TOLD, self.secret) if ids.count(STOP) == 1 else None


def secret(question: Question) -> int:
    return 2 if int(question.id[0]) % 2 else 7


class Search(GRPO):
    """GRPO whose answers may look something up."""

    name: str = "search"

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        decoding = Decoding(max_tokens=5, environment=Lookup(secret(question)))
        return tuple(Ask(Prompt(question, expert), self.answers_per_prompt, decoding) for expert in self.experts)


@judged
def repeats_the_secret(rollout: Rollout) -> float:
    """1 if the first token after the observation is what it said."""
    told = rollout.ids.index(TOLD) if TOLD in rollout.ids else -9
    return float(rollout.ids[told + 2 : told + 3] == (secret(rollout.prompt.question),))


METHOD = Composed(Search(experts=("alpha",), answers_per_prompt=16, questions_per_step=4))


def episodes(model: Toy) -> tuple[Scored, ...]:
    asks = [ask for question in QUESTIONS[18:22] for ask in METHOD.ask(question, (None,), START)]
    return repeats_the_secret(ToySampler(model).sample(asks, "0/1"))


def test_observations_are_written_into_the_answer_and_masked() -> None:
    searched = 0
    for scored in episodes(Toy()):
        rollout = scored.rollout
        told = [t for t, chosen in enumerate(rollout.mask) if not chosen]
        searched += bool(told)
        if STOP in rollout.ids:
            first = rollout.ids.index(STOP)
            assert told == [first + 1, first + 2]
            assert rollout.ids[first + 1 : first + 3] == (TOLD, secret(rollout.prompt.question))
        assert sum(rollout.mask or (1,) * len(rollout.ids)) <= 5
        assert len(rollout.ids) == len(rollout.logprobs) == len(rollout.entropies)
        assert (rollout.finish == "stop") is (rollout.ids.count(STOP) == 2)
    assert searched > 10


def test_observations_have_no_weight_and_no_gradient() -> None:
    groups = METHOD.credit(by_question(episodes(Toy())), METHOD.initial_memory(), START)
    (update,) = METHOD.learn(groups, {}, (None,), Random(0), START).updates
    terms = METHOD.terms(START)
    batch = collate(weigh(update.examples, terms), dtype=torch.float64)
    logprobs = torch.full(batch.targets.shape, -1.0, dtype=torch.float64, requires_grad=True)
    total(terms, evaluate(terms, Outputs(logprobs), batch)).backward()
    assert logprobs.grad is not None
    assert [e.mask for e in update.examples] == [s.rollout.mask for g in groups for a in g.answers for s in a.scored]
    for i, example in enumerate(update.examples):
        chosen = torch.tensor(example.mask or (1,) * len(example.ids), dtype=torch.bool)
        gradient = logprobs.grad[i, : len(example.ids)]
        assert torch.equal(gradient[~chosen], torch.zeros(int((~chosen).sum()), dtype=torch.float64))
        expected = -example.advantage / (len(update.examples) * int(chosen.sum()))
        assert gradient[chosen].tolist() == pytest.approx([expected] * int(chosen.sum()))


def test_what_was_observed_still_shapes_what_comes_after() -> None:
    """The log-probs after the observation depend on it; before it they do not."""
    model, rollout = Toy(), next(s.rollout for s in episodes(Toy()) if len(s.rollout.mask) > 4)
    elsewhere = [i if chosen else 5 for i, chosen in zip(rollout.ids, rollout.mask, strict=True)]
    other = replace(rollout, ids=tuple(elsewhere))
    told = rollout.mask.index(0)
    rows = weigh([Example("sampled", r.prompt.ids, r.ids, mask=r.mask) for r in (rollout, other)], METHOD.terms(START))
    with torch.no_grad():
        first, second = ToyPolicy(model).forward(collate(rows, dtype=torch.float64), frozenset()).logprobs
    assert torch.equal(first[:told], second[:told])
    assert not torch.isclose(first[told + 2 :], second[told + 2 :]).any()
    assert first[:told].tolist() == pytest.approx(rollout.logprobs[:told], abs=1e-12)


@pytest.mark.parametrize("method", [MEMLGRPO(experts=("alpha", "beta")), RFT(student="gamma")])
def test_borrowed_answers_keep_their_masks(method: GRPO) -> None:
    """Beta writes what it was told; whoever learns it from beta does not learn to make it up."""
    asks = [replace(ask, prompt=Prompt(ask.prompt.question, e)) for e in EXPERTS[:2] for ask in asked()]
    drawn = ToySampler(Toy()).sample(asks, "0/1")
    groups = by_question([Scored(r, float(r.prompt.expert == "beta")) for r in drawn])
    composed = Composed(method)
    lesson = composed.learn(
        composed.credit(groups, composed.initial_memory(), START), {}, composed.initial_memory(), Random(0), START
    )
    masks = {r.ids: r.mask for r in drawn if r.prompt.expert == "beta"}
    borrowed = [e for update in lesson.updates for e in update.examples if e.kind in {"borrowed", "verified"}]
    assert {e.ids: e.mask for e in borrowed} == masks
    assert any(masks.values())


def asked() -> list[Ask]:
    return [ask for question in QUESTIONS[18:20] for ask in METHOD.ask(question, (None,), START)]


def test_the_budget_counts_what_the_policy_chose() -> None:
    scored = episodes(Toy())
    metrics = Metrics()
    metrics.sampled([s.rollout for s in scored])
    told = sum(s.rollout.mask.count(0) for s in scored)
    assert told > 0
    assert metrics.values["sampled_tokens"] == sum(len(s.rollout.ids) for s in scored) - told


def test_training_learns_to_use_what_it_is_told() -> None:
    model = Toy()
    policy = ToyPolicy(model, lr=0.03, optimizer=torch.optim.Adam)
    sampler = ToySampler(model)
    memory, rewards = METHOD.initial_memory(), []
    questions = iter([QUESTIONS[(37 * i) % 100] for i in range(1000)])
    for step in range(60):
        memory, metrics = training_step(
            questions,
            memory,
            Progress(step + 1, 0.0),
            method=METHOD,
            policy=policy,
            sampler=sampler,
            judge=repeats_the_secret,
            seed="0",
        )
        rewards.append(metrics.values["reward"])
    assert sum(rewards[:5]) / 5 < 0.3
    assert sum(rewards[-5:]) / 5 > 0.8
