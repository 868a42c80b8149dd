"""The library against the one-file MEML-GRPO: the same rollouts, the same module; losses and gradients are equal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from hand import START
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Example, Group, Question, Scored, Update
from manyminds.step import by_question, learn, recall
from one_file import gradient, oracle
from toy import EXPERTS, QUESTIONS, Toy, ToyPolicy, ToySampler

ODDS = {"alpha": 0.15, "beta": 0.8, "gamma": 0.5}
K, CAPACITY = 2, 3
STORED = ((0, 1, 2), (3, 10))
"""A prompt and a solution that an earlier step has left in the buffer."""


@pytest.fixture(autouse=True)
def _double() -> Any:
    """The oracle makes its zeros in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def one_solution(question: Question) -> Question:
    """Every expert's own trace is the question's solution: the oracle knows but one."""
    return replace(question, traces={e: replace(t, ids=question.solution_ids) for e, t in question.traces.items()})


def rollouts(model: Toy, method: Composed, seed: int) -> tuple[Group, ...]:
    """Four questions, answered by the model; rewards are drawn, so that they are mixed."""
    rng = Random(seed)
    questions = [one_solution(question) for question in rng.sample(QUESTIONS, 4)]
    asks = [ask for question in questions for ask in method.ask(question, method.initial_memory(), START)]
    drawn = ToySampler(model).sample(asks, f"{seed}/1")
    return by_question([Scored(r, float(rng.random() < ODDS[r.prompt.expert])) for r in drawn])


def as_the_oracle_has_them(groups: tuple[Group, ...]) -> list[Any]:
    return [
        oracle.Group(
            prompts=[answers.prompt.ids for answers in group.answers],
            answers=[[scored.rollout.ids for scored in answers.scored] for answers in group.answers],
            rewards=[list(answers.rewards) for answers in group.answers],
            solution=group.question.solution_ids,
            old_logprobs=[[scored.rollout.logprobs for scored in answers.scored] for answers in group.answers],
        )
        for group in groups
    ]


@dataclass
class Told:
    losses: dict[str, float]
    gradient: Tensor


class Kept(ToyPolicy):
    """Keeps the gradient instead of using it."""

    def update(self, lr_scale: float) -> dict[str, float]:
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self.model.parameters()]
        self.gradient = torch.cat(parts)
        self.optimizer.zero_grad(set_to_none=True)
        return {}


def by_the_library(model: Toy, method: Composed, groups: tuple[Group, ...], seed: int, epoch: int = 0) -> Told:
    """What one step would do: credit, learn, weigh, drop dead rows, micro-batches of five rows; no update is taken."""
    credited = method.credit(groups, method.initial_memory(), START)
    stored = (Example("solution", *STORED),)
    memory = tuple(stored if kept == () else kept for kept in method.initial_memory())
    lesson = method.learn(credited, {}, memory, Random(seed), START)
    terms = method.terms(START)
    lesson = recall(lesson, terms, ToyPolicy(model))
    if epoch:
        moved(model)
    policy = Kept(model, rows_at_once=5)
    metrics = learn(lesson.updates[epoch], terms, policy)
    return Told({k.removeprefix("loss/"): v for k, v in metrics.items() if k.startswith("loss/")}, policy.gradient)


def moved(model: Toy) -> None:
    """The weights after some update."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype)


def same(library: Told, model: Toy, total: Tensor, **terms: Tensor) -> None:
    assert library.losses == {name: pytest.approx(term.item(), abs=1e-12) for name, term in terms.items()}
    theirs = gradient(model, total)
    assert theirs.abs().max() > 1e-4
    assert torch.allclose(library.gradient, theirs, rtol=0, atol=1e-12)


ARMS: dict[str, dict[str, Any]] = {
    "published": {},
    "published, as sums": {"average": "mean_of_sums", "mutual_per_token": False, "hard_reduction": "sum"},
    "published, per sequence": {"hard_reduction": "mean_of_sums", "hard_compare": "ge"},
    "tuned": {"preset": "tuned"},
    "k3": {"mutual_estimator": "k3"},
    "full KL": {"mutual_estimator": "full", "mutual_gap": 0.5},
    "as printed": {"mutual_direction": "as_printed"},
    "two distinct answers": {"mutual_answers": 2},
}
AVERAGES = {"token_mean": "tokens", "mean_of_sums": "sequences", "sum": "sum"}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("arm", ARMS)
def test_meml_grpo(arm: str, seed: int) -> None:
    fields = {"hard_wrong": K, "hard_capacity": CAPACITY, "answers_per_prompt": 4, **ARMS[arm]}
    method = build({"name": "meml_grpo", "experts": EXPERTS, **fields})
    model = Toy(seed)
    groups = rollouts(model, Composed(method), seed)
    library = by_the_library(model, Composed(method), groups, seed)

    questions = as_the_oracle_has_them(groups)
    buffer = oracle.HardBuffer(CAPACITY, Random(seed), [STORED])
    for question in questions:
        odds = None if method.hard_probability == "K/G" else method.hard_probability
        buffer.offer(question, K=K, compare=method.hard_compare, p=odds)
    policy = oracle.grpo_loss(
        model,
        questions,
        policy_loss=method.policy_loss,
        scale=method.scale,
        tokens="sum" if method.average == "mean_of_sums" else "mean",
    )
    mutual = oracle.mutual_loss(
        model,
        questions,
        estimator=method.mutual_estimator,
        direction=method.mutual_direction,
        tokens="mean" if method.mutual_per_token else "sum",
        min_gap=method.mutual_gap,
        most=method.mutual_answers or None,
    )
    hard = oracle.sft_loss(model, buffer.flush(), average=AVERAGES[method.hard_reduction])
    total = oracle.total_loss(policy, mutual, hard, method.mutual_coefficient, method.hard_coefficient)

    if arm == "as printed":
        both = library.losses.pop("mutual") + library.losses.pop("mutual_strong")
        library.losses["mutual"] = both
    assert hard.item() > 0
    same(library, model, total, policy=policy, mutual=mutual, hard=hard)


@pytest.mark.parametrize("experts", [EXPERTS, ("beta",)])
@pytest.mark.parametrize("scale", ["std", "none"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_grpo(scale: str, experts: tuple[str, ...], epoch: int) -> None:
    """In the second epoch the weights have moved, and the ratio is against those that drew the answers."""
    method = Composed(build({"name": "grpo", "experts": experts, "scale": scale, "epochs": 2, "answers_per_prompt": 6}))
    model = Toy()
    groups = rollouts(model, method, seed=5)
    library = by_the_library(model, method, groups, 5, epoch)
    questions = as_the_oracle_has_them(groups)
    loss = oracle.grpo_loss(model, questions, policy_loss="clip", scale=scale)
    if epoch:
        assert abs(loss.item()) > 1e-3
    same(library, model, loss, policy=loss)


def test_the_warm_up_is_the_buffers_loss() -> None:
    """MEF: cross-entropy of every expert's traces, per token."""
    model, rng = Toy(), Random(0)
    asked = [(q, e) for q in rng.sample(QUESTIONS, 4) for e in EXPERTS]
    examples = tuple(Example("solution", q.prompt_ids[e], q.traces[e].ids) for q, e in asked)
    method = Composed(build({"name": "meml_grpo", "experts": EXPERTS, "hard_coefficient": 1.0}))
    policy = Kept(model, rows_at_once=5)
    learn(Update(examples), method.terms(START), policy)
    loss = oracle.mef_loss(model, [(e.prompt_ids, e.ids) for e in examples])
    assert torch.allclose(policy.gradient, gradient(model, loss), rtol=0, atol=1e-12)
