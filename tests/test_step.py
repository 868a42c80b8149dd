"""The training step: what is asked again, what is counted, and that it depends on nothing but what it is given."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hand import group
from manyminds.batch import Batch
from manyminds.memory import from_json, to_json
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.method import Method
from manyminds.objective import Outputs
from manyminds.policy.policy import Policy
from manyminds.records import Ask, Example, Group, Progress, Rollout, Scored, Update
from manyminds.sampling.sampler import Sampler
from manyminds.step import by_question, learn, training_step
from toy import EXPERTS, QUESTIONS, Toy, ToyPolicy, ToySampler, exact, judged, parity, stream
from toy_methods import Again, Entropy, SomeRight, SomeWrong


class Watched(ToySampler):
    """Keeps everything that it drew, and the version it was last loaded with."""

    def __init__(self, model: Toy) -> None:
        super().__init__(model)
        self.drawn: list[Rollout] = []

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        rollouts = super().sample(asks, draw)
        self.drawn += rollouts
        return rollouts


def step(
    method: Method,
    *,
    model: Toy | None = None,
    policy: ToyPolicy | None = None,
    memory: Any = None,
    number: int = 1,
    seed: str = "0",
    judge: Any = parity,
) -> tuple[Watched, ToyPolicy, Any, dict[str, float]]:
    composed = Composed(method)
    model = model or Toy()
    policy = policy or ToyPolicy(model)
    sampler = Watched(model)
    memory, metrics = training_step(
        stream(5 * number),
        composed.initial_memory() if memory is None else memory,
        Progress(number, 0.0),
        method=composed,
        policy=policy,
        sampler=sampler,
        judge=judge,
        seed=seed,
    )
    return sampler, policy, memory, metrics.values


def weights(policy: ToyPolicy) -> Tensor:
    return torch.cat([p.detach().flatten() for p in policy.model.parameters()])


def test_it_reads_in_one_screen() -> None:
    assert len(inspect.getsource(training_step).splitlines()) <= 60


def test_the_toys_are_what_the_step_asks_for() -> None:
    assert isinstance(ToyPolicy(Toy()), Policy)
    assert isinstance(ToySampler(Toy()), Sampler)


# Asking again.

PARTS = (SomeRight(), SomeWrong())


def rarely_mixed(rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
    """Right and wrong by turns where the gold answer is 0, 4 or 8; all other answers are wrong."""
    good = [int(r.prompt.question.answer) % 4 == 0 for r in rollouts]
    return tuple(Scored(r, float(g and i % 2 == 0)) for i, (r, g) in enumerate(zip(rollouts, good, strict=True)))


@pytest.mark.parametrize(("rounds", "asked", "usable"), [(2, 6, 1), (3, 8, 1), (4, 10, 2), (9, 13, 3)])
def test_refused_groups_are_replaced_and_count_as_sampled(rounds: int, asked: int, usable: int) -> None:
    """Gold answers come as 5 6 7, 8 9 1, 2 3, 4 5, 6, 7, 8: three usable groups after seven rounds."""
    method = GRPO(experts=("alpha",), questions_per_step=3, answers_per_prompt=6, rounds=rounds, parts=PARTS)
    sampler, _, _, metrics = step(method, judge=rarely_mixed)
    assert sampler.draws == ["0/1" + "/again" * i for i in range(min(rounds, 7))]
    assert len(sampler.drawn) == 6 * asked
    assert metrics["trained_rows"] == 6 * usable
    assert metrics["groups/mixed"] == 1.0
    assert metrics["sampled_tokens"] == sum(len(r.ids) for r in sampler.drawn)
    # Also of the answers that were refused.
    assert metrics["completions/mean_length"] == pytest.approx(metrics["sampled_tokens"] / len(sampler.drawn))


def test_what_is_asked_again_is_drawn_anew() -> None:
    """A question that comes back in the same step is not answered in the same words."""
    method = Composed(GRPO(experts=("alpha",), questions_per_step=1, rounds=2, parts=(SomeRight(),)))
    model = Toy()
    sampler = Watched(model)
    training_step(
        iter([QUESTIONS[7]] * 9),
        method.initial_memory(),
        Progress(1, 0.0),
        method=method,
        policy=ToyPolicy(model),
        sampler=sampler,
        judge=judged(lambda rollout: 0.0),
        seed="0",
    )
    assert [r.ids for r in sampler.drawn[:8]] != [r.ids for r in sampler.drawn[8:]]


def test_where_nothing_can_be_used_nothing_is_learnt() -> None:
    method = GRPO(experts=("alpha",), questions_per_step=2, parts=(SomeRight(), Again()))
    before = weights(ToyPolicy(Toy()))
    sampler, policy, memory, metrics = step(method, judge=judged(lambda rollout: 0.0))
    assert len(sampler.drawn) == 4 * 2 * 8
    assert torch.equal(weights(policy), before)
    assert policy.version == 0
    assert memory == (None, None, None)
    assert metrics["sampled_tokens"] == sum(len(r.ids) for r in sampler.drawn)
    assert "reward" not in metrics


def test_what_the_judge_leaves_out_was_drawn_all_the_same() -> None:
    """A judge may skip answers that it cannot judge; the budget counts them."""
    method = GRPO(experts=("alpha",), questions_per_step=3, answers_per_prompt=4)
    sampler, _, _, metrics = step(method, judge=lambda rollouts: parity(rollouts)[1:])
    assert len(sampler.drawn) == 12
    assert metrics["sampled_tokens"] == sum(len(r.ids) for r in sampler.drawn)


# A pure function of weights, memory, questions, seed and step.

BUFFER = {"hard_wrong": 1, "hard_probability": 1.0, "hard_capacity": 10}
MEML = MEMLGRPO(experts=EXPERTS, questions_per_step=3, answers_per_prompt=4, **BUFFER)


def test_the_same_seed_and_step_come_to_the_same_weights_and_others_do_not() -> None:
    first, again, seed, number = (
        step(MEML, seed=seed, number=number) for seed, number in (("0", 1), ("0", 1), ("1", 1), ("0", 2))
    )
    assert torch.equal(weights(first[1]), weights(again[1]))
    assert first[2:] == again[2:]
    assert first[0].drawn == again[0].drawn
    for other in (seed, number):
        assert not torch.equal(weights(first[1]), weights(other[1]))
    assert [r.ids for r in seed[0].drawn] != [r.ids for r in first[0].drawn]


def run(steps: int, interrupted: bool) -> tuple[Tensor, Any, list[dict[str, float]]]:
    model, memory, told = Toy(), Composed(MEML).initial_memory(), []
    for number in range(1, steps + 1):
        _, policy, memory, metrics = step(MEML, model=model, policy=ToyPolicy(model), memory=memory, number=number)
        told.append(metrics)
        if interrupted:
            memory = from_json(json.loads(json.dumps(to_json(memory))))
    return weights(policy), memory, told


def test_memory_goes_in_and_comes_out() -> None:
    """The buffer fills over the steps, is spent when it is full, and may be written down in between."""
    end, memory, told = run(3, interrupted=False)
    sizes, inserts, flushes = ([m[f"hard_buffer/{name}"] for m in told] for name in ("size", "inserts", "flushes"))
    before = [0.0, *sizes[:-1]]
    assert sizes == [b + i - 10 * f for b, i, f in zip(before, inserts, flushes, strict=True)]
    assert 0 < sum(flushes) < 3
    assert [("loss/hard" in m) for m in told] == [bool(f) for f in flushes]
    assert len(memory[0]) == sizes[-1]
    again, same, _ = run(3, interrupted=True)
    assert torch.equal(end, again)
    assert memory == same


# Updates.


class Looking(ToyPolicy):
    """Keeps, per update, how far the log-probs are from the old ones."""

    def __init__(self, model: Toy, **fields: Any) -> None:
        super().__init__(model, **fields)
        self.ratios: list[Tensor] = []
        self.planes: list[set[str]] = []
        self.scales: list[float] = []

    def forward(self, batch: Batch, needs: frozenset[str]) -> Outputs:
        outputs = super().forward(batch, needs)
        self.planes.append(set(batch.planes))
        old = batch.planes.get("old_logprobs", outputs.logprobs.detach())
        self.ratios.append((outputs.logprobs.detach() - old)[batch.mask > 0].exp())
        return outputs

    def update(self, lr_scale: float) -> dict[str, float]:
        self.scales.append(lr_scale)
        return super().update(lr_scale)


def test_a_second_epoch_has_a_ratio_against_the_policy_that_drew() -> None:
    policy = Looking(Toy(), lr=1.0)
    step(GRPO(experts=EXPERTS, questions_per_step=2, epochs=2), model=policy.model, policy=policy)
    first, second = policy.ratios
    assert torch.allclose(first, torch.ones_like(first), rtol=0, atol=1e-12)
    assert (second - 1).abs().max() > 1e-2
    assert policy.version == 2


def test_one_epoch_pays_no_second_forward_pass() -> None:
    policy = Looking(Toy())
    step(GRPO(experts=EXPERTS, questions_per_step=2), model=policy.model, policy=policy)
    assert policy.scored == 0
    assert policy.planes == [{"sampling_logprobs"}]


def test_the_sampler_draws_from_the_new_policy_afterwards() -> None:
    sampler, policy, _, _ = step(GRPO(experts=("alpha",), epochs=3))
    assert {r.policy_version for r in sampler.drawn} == {0}
    assert sampler.version == policy.version == 3


def test_losses_and_counts_are_sums_over_micro_batches() -> None:
    told = {}
    for size in (2, 999):
        model = Toy()
        _, policy, _, told[size] = step(MEML, model=model, policy=ToyPolicy(model, rows_at_once=size), number=2)
    assert told[2] == {name: pytest.approx(value, abs=1e-12) for name, value in told[999].items()}
    assert {"loss/policy", "loss/mutual", "grad_norm", "lr"} <= set(told[2])
    assert policy.version == 1


def test_learning_rates_are_scaled_per_update() -> None:
    policy = Looking(Toy(), lr=0.1)
    rows = (Example("sampled", (11, 1, 2), (3, 10)),)
    metrics = learn(Update(rows, lr_scale=0.25), Composed(GRPO(experts=EXPERTS)).terms(Progress(1, 0.0)), policy)
    assert policy.scales == [0.25]
    assert metrics["lr"] == pytest.approx(0.025)
    assert metrics["trained_tokens"] == 5
    assert metrics["trained_rows"] == 1


def test_rows_without_credit_are_not_trained_on() -> None:
    policy = ToyPolicy(Toy())
    before = weights(policy)
    rows = (Example("sampled", (11, 1, 2), (3, 10), advantage=0.0),)
    metrics = learn(Update(rows), Composed(GRPO(experts=EXPERTS)).terms(Progress(1, 0.0)), policy)
    assert metrics["trained_rows"] == metrics["trained_tokens"] == metrics["grad_norm"] == 0
    assert torch.equal(weights(policy), before)


def test_rows_without_credit_are_trained_on_where_another_term_reads_them() -> None:
    """Such as one that keeps the entropy up: it has nothing to do with credit."""
    policy = ToyPolicy(Toy())
    rows = (Example("sampled", (11, 1, 2), (3, 10), advantage=0.0),)
    metrics = learn(Update(rows), Composed(GRPO(parts=(Entropy(),))).terms(Progress(1, 0.0)), policy)
    assert metrics["trained_rows"] == 1
    assert metrics["grad_norm"] > 0
    assert {"loss/policy", "loss/entropy"} <= set(metrics)


def test_answers_are_grouped_by_question_and_expert_not_by_place() -> None:
    groups = [group([[1.0, 0.0], [0.0, 1.0]], name="q"), group([[1.0, 1.0], [0.0, 0.0]], name="qq")]
    scored = [s for g in groups for a in g.answers for s in a.scored]
    interleaved = [scored[i] for i in (0, 4, 2, 6, 1, 5, 3, 7)]
    assert by_question(interleaved) == tuple(groups)
    assert all(isinstance(g, Group) for g in by_question(scored))


def test_training_teaches_all_experts() -> None:
    model, memory = Toy(), None
    policy = ToyPolicy(model, lr=0.02, optimizer=torch.optim.Adam)
    method = MEMLGRPO(experts=EXPERTS, preset="tuned", questions_per_step=4)
    told = []
    for number in range(1, 26):
        _, _, memory, metrics = step(method, model=model, policy=policy, memory=memory, number=number)
        told.append(metrics)
    for expert in EXPERTS:
        assert told[0][f"experts/{expert}/reward"] < 0.75
        assert told[-1][f"experts/{expert}/reward"] > 0.95


def test_exact_and_parity_are_different_judges() -> None:
    """The toys themselves: a trace is right, its first token decides the other."""
    prompt = Composed(GRPO(experts=("gamma",))).ask(QUESTIONS[34], (None,), Progress(1, 0.0))[0].prompt
    rollout = Rollout(prompt, prompt.question.traces["gamma"].ids, (-1.0,) * 3, "")
    assert (exact([rollout])[0].reward, parity([rollout])[0].reward) == (1.0, 0.0)
