"""The hooks carry a value head: PPO with GAE, its own optimiser group, and CDE's several heads."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hand import START
from manyminds.batch import Batch, alive, collate, weigh
from manyminds.formulas.averages import mean_of_sums, over_tokens
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO, sampled
from manyminds.objective import Outputs, Term, evaluate
from manyminds.records import (
    Example,
    Floats,
    Group,
    Ids,
    Lesson,
    Progress,
    Scored,
    Scores,
    Span,
    Update,
)
from manyminds.step import by_question, training_step
from toy import QUESTIONS, Toy, ToyPolicy, ToySampler, parity, stream


def gae(reward: float, values: Floats, mask: Ids = (), decay: float = 1.0) -> tuple[Floats, Floats]:
    """(advantages, returns) per token: the reward comes with the last chosen token; what was not chosen is skipped.

    delta_t = r_t + V_{t+1} - V_t and A_t = delta_t + decay A_{t+1} over the chosen tokens, with gamma = 1.
    """
    chosen = [t for t in range(len(values)) if not mask or mask[t]]
    advantages, returns = [0.0] * len(values), [0.0] * len(values)
    following, ahead, due = 0.0, 0.0, reward
    for t in reversed(chosen):
        ahead = due + following - values[t] + decay * ahead
        advantages[t], returns[t] = ahead, ahead + values[t]
        following, due = values[t], 0.0
    return tuple(advantages), tuple(returns)


@dataclass(frozen=True, slots=True)
class SquaredError:
    """(V - return)^2 of a single value head."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        assert outputs.values is not None
        return (outputs.values - batch.planes["returns"]).square()


class PPO(GRPO):
    """Advantages from values that are scored before the reward is final, and a critic that learns the returns."""

    name: str = "ppo"
    decay: float = 0.95
    value_coefficient: float = 0.5

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        want = frozenset({"logprobs", "values"})
        return tuple(
            Span(key(scored, g), answers.prompt.ids, scored.rollout.ids, want=want)
            for group in groups
            for answers in group.answers
            for g, scored in enumerate(answers.scored)
        )

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows = []
        for group_ in groups:
            for answers in group_.answers:
                for g, (scored, example) in enumerate(zip(answers.scored, sampled(answers), strict=True)):
                    score = scores[key(scored, g)]
                    advantages, returns = gae(scored.reward, score.values, example.mask, self.decay)
                    planes = {"returns": returns, "old_logprobs": score.logprobs}
                    rows.append(replace(example, advantage=advantages, planes=planes))
        return Lesson((Update(tuple(rows)),) * self.epochs, memory)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        critic = Term("value", "sampled", SquaredError(), self.value_coefficient, over_tokens, frozenset({"values"}))
        return (replace(self.policy_term(), average=over_tokens), critic)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"values"})


def key(scored: Scored, g: int) -> str:
    return f"{scored.rollout.prompt.group_id}/{g}"


METHOD = Composed(PPO(experts=("alpha", "beta"), answers_per_prompt=4, questions_per_step=3, epochs=2))


@pytest.mark.parametrize(
    ("decay", "advantages"), [(1.0, [0.7, 0.6, 0.3]), (0.5, [0.325, 0.45, 0.3])], ids=["1", "one half"]
)
def test_gae_golden(decay: float, advantages: list[float]) -> None:
    """Values .3, .4, .7 and a last reward of 1: deltas .1, .3, .3."""
    got, returns = gae(1.0, (0.3, 0.4, 0.7), decay=decay)
    assert got == pytest.approx(advantages)
    assert returns == pytest.approx([a + v for a, v in zip(advantages, (0.3, 0.4, 0.7), strict=True)])


def test_gae_skips_observations() -> None:
    """As if they were not there, wherever the reward and the values next to them are."""
    got, _ = gae(1.0, (0.3, 9.0, 0.4, 0.7, 9.0), (1, 0, 1, 1, 0), decay=0.5)
    assert got == pytest.approx([0.325, 0, 0.45, 0.3, 0])


def lesson_of(model: Toy) -> Lesson:
    asks = [ask for question in QUESTIONS[:3] for ask in METHOD.ask(question, (None,), START)]
    groups = by_question(parity(ToySampler(model).sample(asks, "0/1")))
    scores = ToyPolicy(model).score(METHOD.wants(groups))
    return METHOD.learn(METHOD.credit(groups, METHOD.initial_memory(), START), scores, (None,), random.Random(0), START)


def test_values_are_scored_before_credit_is_given() -> None:
    """Each example's advantage is GAE of the values that the policy gives its own tokens."""
    model = Toy()
    (example, *_), _ = (update.examples for update in lesson_of(model).updates)
    with torch.no_grad():
        values = model.values(torch.tensor([example.prompt_ids + example.ids]))[0, len(example.prompt_ids) - 1 : -1]
    reward = float(example.ids[0] % 2 == 0)
    advantages, returns = gae(reward, tuple(values.tolist()), decay=0.95)
    assert example.advantage == pytest.approx(advantages)
    assert example.planes["returns"] == pytest.approx(returns)
    assert len(set(advantages)) == len(advantages)


def test_advantages_differ_from_token_to_token_in_the_loss() -> None:
    example = Example("sampled", (1,), (2, 3), advantage=(1.0, -2.0), planes={"returns": (0.0, 1.0)})
    rows = weigh([example], METHOD.terms(START))
    batch = collate(rows, dtype=torch.float64)
    logprobs = torch.tensor([[-1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([[0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    shares = evaluate(METHOD.terms(START), Outputs(logprobs, values=values), batch)
    sum(shares.values()).backward()
    assert shares["policy"].item() == pytest.approx((-1 + 2) / 2)
    assert shares["value"].item() == pytest.approx((0.25 + 1) / 2)
    assert logprobs.grad.tolist() == [[-0.5, 1.0]]
    assert values.grad.tolist() == [[0.5, -1.0]]


def test_the_critic_keeps_rows_without_credit_alive() -> None:
    example = Example("sampled", (1,), (2, 3), advantage=(0.0, 0.0), planes={"returns": (1.0, 1.0)})
    policy, critic = METHOD.terms(START)
    (row,) = weigh([example], (policy,))
    assert not alive(row, (policy,))
    (row,) = weigh([example], (policy, critic))
    assert alive(row, (policy, critic))


def test_the_critic_moves_at_its_own_rate_and_the_body_without_it() -> None:
    """With a rate of 0 the head stays; the rest moves the same, as values teach the head alone here."""
    models = [Toy(), Toy()]
    for model, rate in zip(models, (0.0, 0.3), strict=True):
        step(model, ToyPolicy(model, lr=0.1, critic_lr=rate), seed="0")
    still, moved = (dict(model.named_parameters()) for model in models)
    untouched = Toy().critic.weight
    assert torch.equal(still["critic.weight"], untouched)
    assert (moved["critic.weight"] - untouched).abs().max() > 1e-3
    assert torch.equal(still["embedding.weight"], moved["embedding.weight"])
    assert not torch.equal(still["embedding.weight"], Toy().embedding.weight)


def step(model: Toy, policy: ToyPolicy, seed: str, number: int = 1) -> dict[str, float]:
    _, metrics = training_step(
        stream(3 * number),
        METHOD.initial_memory(),
        Progress(number, 0.0),
        method=METHOD,
        policy=policy,
        sampler=ToySampler(model),
        judge=parity,
        seed=seed,
    )
    return metrics.values


def test_training_lowers_the_critics_error_and_raises_the_reward() -> None:
    model = Toy()
    policy = ToyPolicy(model, lr=0.01, critic_lr=0.03, optimizer=torch.optim.Adam)
    told = [step(model, policy, "0", number) for number in range(1, 41)]
    assert sum(t["reward"] for t in told[:5]) / 5 < 0.75
    assert sum(t["reward"] for t in told[-5:]) / 5 > 0.9
    assert sum(t["loss/value"] for t in told[-5:]) < 0.5 * sum(t["loss/value"] for t in told[:5])


# CDE: several heads, each learning from its own share of the tokens.


@dataclass(frozen=True, slots=True)
class HeadsError:
    """sum_j mask_j (V_j - return)^2 over the heads, whose masks are planes."""

    heads: int

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        assert outputs.values is not None
        masks = torch.stack([batch.planes[f"head_{j}"] for j in range(self.heads)], -1)
        return (masks * (outputs.values - batch.planes["returns"][..., None]).square()).sum(-1)


def test_several_heads_with_masks_of_their_own_golden() -> None:
    values = torch.tensor([[0.5, 0.2, 0.9, 0.1], [0.3, 0.6, 0.7, 0.4]], dtype=torch.float64)
    rows = [
        Example("sampled", (1,), (2,), planes={"returns": (r,), "head_0": (a,), "head_1": (1 - a,)})
        for r, a in zip((1.0, 0.0, 1.0, 0.0), (1.0, 0.0, 1.0, 0.0), strict=True)
    ]
    terms = (Term("value", "sampled", HeadsError(2), average=mean_of_sums, needs=frozenset({"values"})),)
    batch = collate(weigh(rows, terms), dtype=torch.float64)
    outputs = Outputs(torch.zeros(4, 1, dtype=torch.float64), values=values.T[:, None])
    assert evaluate(terms, outputs, batch)["value"].item() == pytest.approx(0.195)


def test_the_policy_gives_all_heads() -> None:
    rows = weigh([Example("sampled", (11, 1, 2), (4, 5, 10))], METHOD.terms(START))
    outputs = ToyPolicy(Toy(heads=3)).forward(collate(rows, dtype=torch.float64), frozenset({"values"}))
    assert outputs.values is not None
    assert outputs.values.shape == (1, 3, 3)
