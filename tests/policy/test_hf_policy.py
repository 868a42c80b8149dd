"""The policy over a Hugging Face model: what it says of a batch, how it learns, and its learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from manyminds.batch import Row, collate, weigh
from manyminds.errors import UserError
from manyminds.formulas.averages import over_tokens
from manyminds.methods.terms import ClippedSurrogate, CrossEntropy, FullDivergence
from manyminds.objective import Term, evaluate, needed, total
from manyminds.policy.hf_policy import HFPolicy
from manyminds.policy.optimizers import optimizers
from manyminds.policy.policy import Policy
from manyminds.records import Example, Ids, Span, Update
from manyminds.sections import Engine, OptimizerConfig, Schedule
from manyminds.step import learn

EXAMPLES = (
    Example("sampled", (1, 5, 6, 14, 7), (9, 4, 2), advantage=0.5),
    Example("sampled", (1, 8), (4,), advantage=-1.0),
    Example("sampled", (1, 8, 8), (5, 6, 7, 8, 9, 10), advantage=1.5, mask=(1, 0, 0, 1, 1, 1)),
    Example("solution", (1, 4), (6, 2)),
    Example("borrowed", (1, 4, 9), (7, 7, 2), teacher_prompt_ids=(1, 5, 5, 5, 5, 5)),
    Example("borrowed", (1, 4, 9, 9, 9), (7, 2), teacher_prompt_ids=(1, 3)),
)
TERMS = (
    Term("policy", "sampled", ClippedSurrogate(0.2, 0.2), credit="nonzero"),
    Term("hard", "solution", CrossEntropy(), 0.5, over_tokens),
    Term("mutual", "borrowed", FullDivergence(), 0.3, needs=frozenset({"teacher_kl"})),
)


def policy_of(model: Any | None = None, **fields: Any) -> HFPolicy:
    apart = {name: fields.pop(name) for name in ("steps", "temperature", "reference") if name in fields}
    apart["engine"] = Engine(**{name: fields.pop(name) for name in Engine.model_fields if name in fields})
    settings = OptimizerConfig(**{"lr": 1e-2, "schedule": Schedule(name="constant", warmup_steps=0), **fields})
    return HFPolicy(model or tiny.model(), settings, **{"steps": 10, **apart})


def alone(model: Any, prompt: Ids, ids: Ids, temperature: float = 1.0) -> Tensor:
    """Log-probs of every token at every response position [T, V], one sequence without padding."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0]
    return (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)


def said(model: Any, prompt: Ids, ids: Ids, temperature: float = 1.0) -> list[float]:
    distributions = alone(model, prompt, ids, temperature)
    return distributions.gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist()


def gradient(policy: HFPolicy, rows: Sequence[Row]) -> Tensor:
    policy.model.zero_grad()
    for batch in policy.split(rows):
        policy.backward(total(TERMS, evaluate(TERMS, policy.forward(batch, needed(TERMS)), batch)))
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


def test_it_is_a_policy() -> None:
    assert isinstance(policy_of(), Policy)


# What it says.


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_are_those_of_each_row_alone(temperature: float) -> None:
    policy = policy_of(temperature=temperature)
    outputs = policy.forward(collate(weigh(EXAMPLES, TERMS)), frozenset({"entropies"}))
    assert outputs.entropies is not None
    for i, e in enumerate(EXAMPLES):
        n, each = len(e.ids), alone(policy.model, e.prompt_ids, e.ids, temperature)
        each_said = said(policy.model, e.prompt_ids, e.ids, temperature)
        assert outputs.logprobs[i, :n].tolist() == pytest.approx(each_said, abs=1e-5)
        assert outputs.entropies[i, :n].tolist() == pytest.approx((-(each.exp() * each).sum(-1)).tolist(), abs=1e-5)
    assert outputs.logprobs.requires_grad


def test_the_teacher_reads_the_response_under_its_own_prompt_and_learns_nothing() -> None:
    policy = policy_of()
    outputs = policy.forward(collate(weigh(EXAMPLES, TERMS)), frozenset({"teacher_kl"}))
    assert outputs.teacher_kl is not None
    assert outputs.teacher_kl.requires_grad
    for i, e in enumerate(EXAMPLES):
        teacher = alone(policy.model, e.teacher_prompt_ids or e.prompt_ids, e.ids)
        divergence = (teacher.exp() * (teacher - alone(policy.model, e.prompt_ids, e.ids))).sum(-1)
        assert torch.allclose(outputs.teacher_kl[i, : len(e.ids)], divergence, atol=1e-5)


def test_what_it_cannot_give_it_says() -> None:
    with pytest.raises(ValueError, match="this policy cannot give values"):
        policy_of().forward(collate(weigh(EXAMPLES[:1], TERMS)), frozenset({"values"}))


def test_scores_are_what_forward_says_without_gradient() -> None:
    policy = policy_of(tokens_at_once=20)
    spans = [Span(f"{i}", e.prompt_ids, e.ids) for i, e in enumerate(EXAMPLES)]
    spans.append(Span("with entropies", EXAMPLES[0].prompt_ids, EXAMPLES[0].ids, want=frozenset({"entropies"})))
    scores = policy.score(spans)
    assert set(scores) == {span.key for span in spans}
    for span in spans:
        score = scores[span.key]
        assert score.logprobs == pytest.approx(said(policy.model, span.prompt_ids, span.ids), abs=1e-5)
        assert len(score.entropies) == (3 if span.key == "with entropies" else 0)
    assert all(p.grad is None for p in policy.model.parameters())
    assert policy.score(()) == {}


def test_the_reference_is_another_model() -> None:
    policy = policy_of(reference=tiny.model(1))
    span = Span("a", (1, 5), (6, 7))
    for name, seed in (("policy", 0), ("reference", 1)):
        wanted = said(tiny.model(seed), span.prompt_ids, span.ids)
        assert policy.score([span], name)["a"].logprobs == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(UserError, match="holds no reference model; the method must name it in `needs`"):
        policy_of().score([span], "reference")


# Micro-batches.


@pytest.mark.parametrize("tokens", [1, 9, 30, 16384])
def test_micro_batches_hold_every_row_once_and_fit(tokens: int) -> None:
    rows = weigh(EXAMPLES, TERMS)
    batches = policy_of(tokens_at_once=tokens).split(rows)
    assert sum(len(batch.starts) for batch in batches) == len(rows)
    for batch in batches:  # a prompt counts once
        size = sum(map(len, {e.prompt_ids for e in batch.examples})) + sum(len(e.ids) for e in batch.examples)
        assert size <= tokens or len(batch.starts) == 1
    firsts = sorted(tuple(line[: int(n)]) for b in batches for line, n in zip(b.tokens.tolist(), b.starts, strict=True))
    assert firsts == sorted(e.prompt_ids for e in EXAMPLES)


@pytest.mark.parametrize("tokens", [1, 9, 30])
def test_micro_batches_leave_the_gradient_as_it_is(tokens: int) -> None:
    rows = weigh(EXAMPLES, TERMS)
    whole, split = (gradient(policy_of(tokens_at_once=n), rows) for n in (16384, tokens))
    assert whole.abs().max() > 1e-2
    assert torch.allclose(whole, split, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_masked_tokens_and_padding_have_no_gradient() -> None:
    """The same row beside a longer one, and with other tokens where the mask is 0 at the end."""
    row = Example("sampled", (1, 8), (5, 6, 7), mask=(1, 1, 0))
    other = Example("sampled", (1, 8), (5, 6, 11), mask=(1, 1, 0))
    beside = Example("solution", (1, 8), (5,) * 9, weight=0.0)
    alike = [gradient(policy_of(), weigh(examples, TERMS)) for examples in ((row,), (other,), (row, beside))]
    for one in alike[1:]:
        assert torch.allclose(alike[0], one, rtol=0, atol=1e-6)


# Learning.


def weights(policy: HFPolicy) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])


def test_an_update_reports_the_norm_and_clips_to_it() -> None:
    """AdamW's first step does not see the scale of the gradient, so the norm is looked at."""
    policy = policy_of(clip_norm=0.5)
    norm = float(gradient(policy, weigh(EXAMPLES, TERMS)).norm())
    assert norm > 0.5
    clipped = {}
    policy.optimizers[0].register_step_pre_hook(
        lambda optimizer, args, kwargs: clipped.update(
            norm=torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]).norm().item()
        )
    )
    told = policy.update(1.0)
    assert told == {"grad_norm": pytest.approx(norm, rel=1e-4), "lr": pytest.approx(1e-2)}
    assert clipped["norm"] == pytest.approx(0.5, rel=1e-3)
    assert policy.version == 1
    assert all(p.grad is None for p in policy.model.parameters())


def test_the_rate_is_scaled_for_one_update() -> None:
    """AdamW's first step moves every weight by lr where its gradient is not small."""
    moved = {}
    for scale in (0.0, 0.5, 1.0):
        policy = policy_of()
        before = weights(policy)
        assert learn(Update(EXAMPLES, scale), TERMS, policy)["lr"] == pytest.approx(scale * 1e-2)
        moved[scale] = (weights(policy) - before).abs().max().item()
        assert [group["lr"] for group in policy.optimizers[0].param_groups] == [1e-2]
    assert moved == {0.0: 0.0, 0.5: pytest.approx(5e-3, rel=1e-2), 1.0: pytest.approx(1e-2, rel=1e-2)}


def test_an_update_without_a_gradient_changes_nothing() -> None:
    policy = policy_of(weight_decay=0.5)
    before = weights(policy)
    assert policy.update(1.0)["grad_norm"] == 0
    assert torch.equal(weights(policy), before)
    assert policy.version == 1


def test_learning_a_solution_makes_it_likelier() -> None:
    policy = policy_of(lr=3e-3)
    losses = [learn(Update(EXAMPLES[3:4]), TERMS, policy)["loss/hard"] for _ in range(8)]
    assert losses[-1] < 0.5 * losses[0]


def test_muon_moves_the_matrices_between_embedding_and_head() -> None:
    model = tiny.model()
    adamw, muon = optimizers(OptimizerConfig(name="muon", lr=1e-3, matrix_lr=8e-3), model)
    ids = [id(p) for one in (adamw, muon) for group in one.param_groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    matrices = [p for group in muon.param_groups for p in group["params"]]
    assert len(matrices) == 7 * 2
    assert all(p.ndim == 2 for p in matrices)
    assert id(model.get_input_embeddings().weight) not in {id(p) for p in matrices}
    (only,) = optimizers(OptimizerConfig(), model)
    assert sum(len(group["params"]) for group in only.param_groups) == len(list(model.parameters()))


# The learning rate.


def rates(policy: HFPolicy, ticks: int) -> list[float]:
    told = []
    for _ in range(ticks):
        told.append(policy.optimizers[0].param_groups[0]["lr"])
        policy.tick()
    return told


def test_cosine() -> None:
    """Up in 2 steps, then down to a tenth at step 10."""
    policy = policy_of(lr=1.0, schedule=Schedule(name="cosine", warmup_steps=2, floor=0.1))
    wanted = [0.0, 0.5] + [0.1 + 0.9 * (1 + cos(pi * t / 8)) / 2 for t in range(9)]
    assert rates(policy, 11) == pytest.approx(wanted)
    assert wanted[2] == 1.0
    assert wanted[10] == pytest.approx(0.1)


def test_warm_up_stable_decay_falls_when_it_is_told() -> None:
    policy = policy_of(lr=1.0, schedule=Schedule(name="warmup_stable_decay", warmup_steps=2, decay_steps=4, floor=0.2))
    assert rates(policy, 7) == pytest.approx([0.2, 0.6, 1, 1, 1, 1, 1])
    policy.decay()
    falling = [0.2 + 0.8 * (1 + cos(pi * t / 4)) / 2 for t in range(5)]
    assert falling[2] == pytest.approx(0.6)
    assert rates(policy, 7) == pytest.approx([*falling, 0.2, 0.2])


def test_constant() -> None:
    policy = policy_of(lr=2.0, schedule=Schedule(name="constant", warmup_steps=4))
    assert rates(policy, 6) == pytest.approx([0, 0.5, 1, 1.5, 2, 2])


@pytest.mark.parametrize("name", ["cosine", "warmup_stable_decay", "constant"])
@pytest.mark.parametrize("stop", [0, 1, 5, 8])
def test_a_resumed_run_has_the_same_rates(name: str, stop: int) -> None:
    schedule = Schedule(name=name, warmup_steps=3, decay_steps=4)
    fields = {"name": "muon", "lr": 1.0, "matrix_lr": 2.0, "schedule": schedule}
    whole, first, second = (policy_of(**fields) for _ in range(3))
    told: dict[str, list[float]] = {"whole": [], "resumed": []}
    for tick in range(12):
        policy = first if tick < stop else second
        if tick == stop:
            second.load_state(first.state())
        for which, one in (("whole", whole), ("resumed", policy)):
            if tick == 6:
                one.decay()
            told[which] += [group["lr"] for optimizer in one.optimizers for group in optimizer.param_groups]
            one.tick()
    assert told["resumed"] == told["whole"]
    assert told["whole"][1::2] == pytest.approx([2 * rate for rate in told["whole"][::2]])
    assert second.state() == whole.state()
