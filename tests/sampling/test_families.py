"""Every family of architectures: it draws what transformers generates, and learns what the plain model would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

import tiny
from manyminds.batch import Row
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Ask, Decoding, Example, Ids, Rollout, Span
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine, OptimizerConfig, Schedule

pytestmark = pytest.mark.usefixtures("quiet")

VOCABULARY, WINDOW = 40, 4
SIZES = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WIDE = SIZES | {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
GROUPED = WIDE | {"num_key_value_heads": 2, "max_position_embeddings": 64}
LOCAL = GROUPED | {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW, "head_dim": 8}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 4.0, "query_pre_attn_scalar": 6}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=12),
    "gemma": lambda: GemmaConfig(**GROUPED | {"num_key_value_heads": 1}, head_dim=8),
    "gemma2": lambda: Gemma2Config(**LOCAL, **CAPS, tie_word_embeddings=False),
    "gemma3": lambda: Gemma3TextConfig(**LOCAL, tie_word_embeddings=False),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=WINDOW),
    "gpt2": lambda: GPT2Config(**SIZES, n_embd=32, n_layer=2, n_head=4, n_positions=64),
}
UNFIT: dict[str, Callable[[], Any]] = {"cohere": lambda: CohereConfig(**GROUPED, logit_scale=0.7)}
ALL = {**FAMILIES, **UNFIT}

SHORT: tuple[Ids, ...] = ((1, 5, 6, 14, 7, 19), (1, 9), (3,), (1, 4, 4, 4, 4, 14, 5, 5, 19), (1, 8, 14, 8))
LONG: tuple[Ids, ...] = (*SHORT, tuple(range(5, 26)), (*range(30, 12, -1), 7))
PROMPTS = {"short prompts": SHORT, "long prompts": LONG}


def model_of(family: str, dtype: torch.dtype = torch.float64) -> Any:
    """Random weights, large enough that answers differ; biases and norms have some of their own."""
    model = AutoModelForCausalLM.from_config(ALL[family]()).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3) if p.ndim > 1 else p.add_(torch.randn_like(p), alpha=0.1)
    return model.to(dtype)


def sampler_of(model: Any, stop_ids: Ids, decoding: Decoding, **engine: Any) -> TransformersSampler:
    return TransformersSampler(model, tiny.tokenizer(), decoding, stop_ids=stop_ids, engine=Engine(**engine))


def generated(model: Any, prompt: Ids, n: int, stop_ids: Ids = ()) -> Ids:
    """What transformers' own greedy decoding says."""
    ids = torch.tensor([prompt])
    settings = {"do_sample": False, "max_new_tokens": n, "eos_token_id": list(stop_ids) or None, "pad_token_id": 0}
    out = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    return tuple(out[0, len(prompt) :].tolist())


def said(model: Any, prompt: Ids, ids: Ids, temperature: float = 1.0) -> Tensor:
    """Log-probs of every token at every response position [T, V]: the plain model on one sequence."""
    logits = model(torch.tensor([prompt + ids]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1)


def chosen(each: Tensor, ids: Ids) -> Tensor:
    return each.gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)


def rarest(answer: Ids, answers: Sequence[Ids]) -> int:
    """Its token that the fewest answers have."""
    return min(answer, key=lambda token: sum(token in other for other in answers))


# Drawing.


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("family", ALL)
def test_greedy_answers_are_what_transformers_generates(family: str, prompts: tuple[Ids, ...]) -> None:
    """Several stop ids that are sure to come; few answers together (waiting ones enter), and all together."""
    model, n = model_of(family), 14
    unstopped = [generated(model, prompt, n) for prompt in prompts]
    assert len(set(unstopped)) == len(prompts)
    stop_ids = tuple({rarest(answer[2:], unstopped) for answer in unstopped[:4]})
    wanted = [generated(model, prompt, n, stop_ids) for prompt in prompts]
    assert len(set(map(len, wanted))) > 2
    assert len({ids[-1] for ids in wanted} & set(stop_ids)) > 1
    asks = [Ask(tiny.prompt(prompt), 2) for prompt in prompts]
    for together in (3, 100):
        sampler = sampler_of(model, stop_ids, Decoding(0.0, n), answers_at_once=together)
        assert sampler.path == ("shared prefix" if family in FAMILIES else "model's own cache")
        rollouts = sampler.sample(asks, "0/1")
        assert [r.ids for r in rollouts] == [ids for ids in wanted for _ in range(2)]
        assert all((r.finish == "stop") is (r.ids[-1] in stop_ids) for r in rollouts)


@pytest.mark.parametrize("family", ALL)
def test_log_probs_and_entropies_are_the_plain_models(family: str) -> None:
    model = model_of(family)
    sampler = sampler_of(model, tuple(range(20, 26)), Decoding(0.8, 10), answers_at_once=4)
    rollouts = sampler.sample([Ask(tiny.prompt(prompt), 2) for prompt in LONG], "0/1")
    assert {r.finish for r in rollouts} == {"stop", "length"}
    for r in rollouts:
        with torch.no_grad():
            each = said(model, r.prompt.ids, r.ids, 0.8)
        assert r.logprobs == pytest.approx(chosen(each, r.ids).tolist(), abs=1e-5)
        assert r.entropies == pytest.approx((-(each.exp() * each).sum(-1)).tolist(), abs=1e-5)


# Sampler and policy.


def updated(policy: HFPolicy, rollouts: Sequence[Rollout]) -> None:
    """One optimiser step on these answers."""
    for batch in policy.split([Row(Example("sampled", r.prompt.ids, r.ids), (1.0,)) for r in rollouts]):
        policy.backward(-policy.forward(batch, frozenset()).logprobs.sum())
    assert policy.update(1.0)["grad_norm"] > 0


def apart(rollouts: Sequence[Rollout], policy: HFPolicy) -> Tensor:
    """|log p of the sampler - log p of the policy|, for every token."""
    scores = policy.score([Span(str(i), r.prompt.ids, r.ids) for i, r in enumerate(rollouts)])
    ours = torch.tensor([x for r in rollouts for x in r.logprobs])
    return (ours - torch.tensor([x for i in range(len(rollouts)) for x in scores[str(i)].logprobs])).abs()


@pytest.mark.parametrize("precision", ["float32", "mixed"])
@pytest.mark.parametrize(("family", "first"), [*((family, "sampler") for family in ALL), ("llama", "policy")])
def test_sampler_and_policy_agree_after_every_update(family: str, first: str, precision: str) -> None:
    """Whichever was made first, and whoever ran last before the weights changed.

    bfloat16 moves log-probs away from the plain float32 model's; sampler and policy must move together.
    """
    model = model_of(family, torch.float32)
    settings = OptimizerConfig(lr=1e-2, schedule=Schedule(name="constant", warmup_steps=0))
    asks, decoding = [Ask(tiny.prompt(prompt), 2) for prompt in LONG[1:6]], Decoding(1.0, 6)
    if first == "sampler":
        sampler = sampler_of(model, (7, 11), decoding, precision=precision, answers_at_once=6)
    policy = HFPolicy(model, settings, steps=9, engine=Engine(precision=precision, tokens_at_once=64))
    if first == "policy":
        sampler = sampler_of(model, (7, 11), decoding, precision=precision, answers_at_once=6)
    for step in range(3):
        rollouts = sampler.sample(asks, f"0/{step}")
        distance = apart(rollouts, policy)
        if precision == "float32":
            assert distance.max() < 1e-4
        else:
            with torch.no_grad():
                exact = torch.cat([chosen(said(model, r.prompt.ids, r.ids), r.ids) for r in rollouts])
            rounding = (torch.tensor([x for r in rollouts for x in r.logprobs]) - exact).abs()
            if family == "gpt2":  # its linear layers are of a kind of their own, and stay float32
                assert max(rounding.max(), distance.max()) < 1e-4
            else:
                assert rounding.max() > 1e-3
                assert distance.mean() < 0.5 * rounding.mean()
                assert distance.max() < 0.1
        updated(policy, rollouts)
        if step == 1:  # somebody looks at the weights once more before they change again
            apart(rollouts, policy)
            updated(policy, rollouts)


@pytest.mark.parametrize("family", ["llama", "gpt2", "cohere"])
def test_checkpointing_changes_nothing_that_is_drawn(family: str) -> None:
    """The policy's layers run forward once more in training: they are the sampler's layers too."""
    model = model_of(family)
    sampler = sampler_of(model, (7, 11), Decoding(1.0, 8))
    asks = [Ask(tiny.prompt(prompt), 3) for prompt in SHORT]
    wanted = sampler.sample(asks, "0/1")
    policy = HFPolicy(model, OptimizerConfig(), steps=9, engine=Engine(gradient_checkpointing=True))
    assert apart(wanted, policy).max() < 1e-5
    for batch in policy.split([Row(Example("sampled", r.prompt.ids, r.ids), (1.0,)) for r in wanted]):
        policy.backward(policy.forward(batch, frozenset()).logprobs.sum())
    drawn = sampler.sample(asks, "0/1")
    assert [r.ids for r in drawn] == [r.ids for r in wanted]
    assert [x for r in drawn for x in r.logprobs] == pytest.approx([x for r in wanted for x in r.logprobs], abs=1e-12)


# Learning.

SHARED, TWICE = (1, 5, 6, 14, 7, 19, 3, 8), tuple(range(5, 24))
ROWS = (
    Row(Example("sampled", SHARED, (9, 4, 2, 30, 31, 32, 33), advantage=0.5), (1.0, 0.1)),
    Row(Example("sampled", (1, 8), (4,), advantage=-1.0), (0.7, 0.2)),
    Row(Example("sampled", SHARED, (6,), advantage=2.0), (0.5, 0.3)),
    Row(Example("sampled", TWICE, (5, 6, 7, 8, 9, 10), advantage=1.5, mask=(1, 0, 0, 1, 1, 0)), (1.2, 0.4)),
    Row(Example("sampled", SHARED, (9, 4, 3), advantage=(0.5, -1.0, 2.0)), (0.9, 0.0)),
    Row(Example("sampled", (3,), (7, 7), advantage=1.0), (0.3, 0.5)),
    Row(Example("sampled", TWICE, (12, 39), advantage=-0.5), (0.8, 0.6)),
)


def plain_gradient(model: Any, temperature: float) -> dict[str, Tensor]:
    """sum over rows and tokens of mask (-w A log p - v H), one sequence at a time by the model's own forward pass."""
    model.zero_grad()
    for row in ROWS:
        e = row.example
        each = said(model, e.prompt_ids, e.ids, temperature)
        advantage = torch.tensor(e.advantage, dtype=torch.float64)
        entropy = -(each.exp() * each).sum(-1)
        surrogate = row.weights[0] * advantage * chosen(each, e.ids)
        loss = torch.tensor(e.mask or (1,) * len(e.ids)) * (-surrogate - row.weights[1] * entropy)
        loss.sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def packed_gradient(model: Any, temperature: float, tokens_at_once: int) -> dict[str, Tensor]:
    """The same loss by the policy."""
    model.zero_grad()
    engine = Engine(tokens_at_once=tokens_at_once)
    policy = HFPolicy(model, OptimizerConfig(), steps=1, temperature=temperature, engine=engine)
    for batch in policy.split(ROWS):
        outputs = policy.forward(batch, frozenset({"entropies"}))
        assert outputs.entropies is not None
        loss = batch.weights[0] * batch.advantages * outputs.logprobs + batch.weights[1] * outputs.entropies
        policy.backward(-loss.sum())
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", ALL)
def test_the_gradient_is_the_plain_models(family: str) -> None:
    """Shared and single prompts, one-token responses, masks and entropies, in micro-batches of any size."""
    model = model_of(family)
    wanted = plain_gradient(model, 0.9)
    largest = max(float(g.abs().max()) for g in wanted.values())
    for tokens_at_once in (1, 40, 10_000):
        ours = packed_gradient(model, 0.9, tokens_at_once)
        assert ours.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert torch.allclose(ours[name], gradient, rtol=0, atol=1e-6 * largest), (name, tokens_at_once)
            assert gradient.abs().max() > 1e-6 * largest
