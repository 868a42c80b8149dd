"""Rows in one line of tokens: what they share is run once, and every row is what it is alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import Gemma3TextConfig, GPT2Config, LlamaConfig, MistralConfig, OPTConfig, OPTForCausalLM

from manyminds.batch import Row, alive, collate, weigh
from manyminds.formulas.averages import over_sequences, over_tokens
from manyminds.methods.terms import ClippedSurrogate, FullDivergence, PositivePart
from manyminds.objective import Term, evaluate, needed, total
from manyminds.policy import packing
from manyminds.policy.hf_policy import HFPolicy
from manyminds.policy.packing import Packed
from manyminds.records import Example, Ids, Span
from manyminds.sections import Engine, OptimizerConfig

SHARED, OTHER = (1, 5, 6, 14, 7, 19, 3, 8), (1, 4, 9)
PAIRS: tuple[tuple[Ids, Ids], ...] = (
    (SHARED, (9, 4, 2, 30, 31, 32)),
    (OTHER, (7, 7, 2)),
    (SHARED, (6,)),
    (SHARED, (9, 4, 3)),
    ((2,), (5, 6)),
    (SHARED, (9, 4, 2, 30, 31, 32)),
    (OTHER, (9, 4, 2, 30)),
    (SHARED, (9, 4, 2, 30)),
    (OTHER, (8,)),
    ((1, 4), (9, 7, 7)),
)
"""One-token responses, prompts that occur once and often, a response twice, and some that begin alike."""
ALIKE = tuple((prompt, ids) for prompt, ids in PAIRS if prompt is SHARED)
SINGLE = tuple((prompt, ids[:1]) for prompt, ids in PAIRS)
ROWS = {"all": PAIRS, "one prompt": ALIKE, "one token each": SINGLE, "one row": PAIRS[:1], "one token": PAIRS[2:3]}

SIZES = {"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WIDE = SIZES | {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
GROUPED = WIDE | {"num_key_value_heads": 2, "max_position_embeddings": 64}
LOCAL = GROUPED | {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 3, "head_dim": 8}
CONFIGS = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=3),
    "gemma3": lambda: Gemma3TextConfig(**LOCAL),
    "gpt2": lambda: GPT2Config(**SIZES, n_embd=32, n_layer=2, n_head=4, n_positions=64),
}


def model_of(name: str = "llama", dtype: torch.dtype = torch.float64) -> Any:
    """Random weights, large enough that rows differ."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3) if p.ndim > 1 else p.add_(torch.randn_like(p), alpha=0.1)
    return model.to(dtype)


def policy_of(model: Any, *, temperature: float = 1.0, **engine: Any) -> HFPolicy:
    return HFPolicy(model, OptimizerConfig(), steps=1, temperature=temperature, engine=Engine(**engine))


def plainly(model: Any, prompt: Ids, ids: Ids, temperature: float = 1.0) -> Tensor:
    """Log-probs of every token at every response position [T, V]: the plain model on one sequence."""
    logits = model(torch.tensor([prompt + ids]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1)


def examples_of(pairs: Sequence[tuple[Ids, Ids]]) -> list[Example]:
    """With advantages of both signs, zeros, some per token; every third has a mask and every fourth a teacher."""
    advantages = (0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0)
    examples = []
    for i, (prompt, ids) in enumerate(pairs):
        per_token = tuple(advantages[(i + t) % 7] for t in range(len(ids)))
        mask = tuple(int(t % 2 == 0) for t in range(len(ids))) if i % 3 == 2 else ()
        teacher = (11, 12, 13, 5, *prompt[1:]) if i % 4 == 1 else ()
        kind = "borrowed" if teacher else "sampled"
        advantage = per_token if i % 2 else advantages[i % 7]
        examples.append(Example(kind, prompt, ids, advantage=advantage, mask=mask, teacher_prompt_ids=teacher))
    return examples


def gradient(policy: HFPolicy, terms: Sequence[Term], rows: Sequence[Row]) -> dict[str, Tensor]:
    policy.model.zero_grad()
    for batch in policy.split(rows):
        policy.backward(total(terms, evaluate(terms, policy.forward(batch, needed(terms)), batch)))
    return {name: p.grad.clone() for name, p in policy.model.named_parameters()}


def assert_alike(ours: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    """Each entry, relative to the largest one; and there is something to compare."""
    largest = max(float(g.abs().max()) for g in wanted.values())
    assert largest > 1e-3
    assert ours.keys() == wanted.keys()
    for name, other in wanted.items():
        assert torch.allclose(ours[name], other, rtol=0, atol=tolerance * largest), name


# The line.


@pytest.mark.parametrize("pairs", ROWS.values(), ids=ROWS)
def test_a_token_that_stands_behind_the_same_tokens_is_in_the_line_once(pairs: Sequence[tuple[Ids, Ids]]) -> None:
    """Each distinct prompt once, and under it each distinct beginning of a response but for its last token."""
    line = Packed(pairs)
    beginnings = {(prompt, ids[:n]) for prompt, ids in pairs for n in range(1, len(ids))}
    size = sum(map(len, {prompt for prompt, _ in pairs})) + len(beginnings)
    assert len(line.tokens) == len(line.positions) == size


@pytest.mark.parametrize("pairs", ROWS.values(), ids=ROWS)
def test_every_response_token_is_predicted_from_the_one_before_it(pairs: Sequence[tuple[Ids, Ids]]) -> None:
    line = Packed(pairs)
    before = [token for prompt, ids in pairs for token in (prompt[-1], *ids[:-1])]
    places = [len(prompt) - 1 + t for prompt, ids in pairs for t in range(len(ids))]
    assert line.tokens[line.predicts].tolist() == before
    assert line.positions[line.predicts].tolist() == places


def test_a_micro_batch_runs_a_shared_prompt_once() -> None:
    """Eight answers of three tokens to a prompt of 20: at most 20 + 8 * 2 tokens instead of 8 * 22."""
    model, run = model_of(), []
    policy = policy_of(model, tokens_at_once=1000)
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: run.append(args[0].numel()))
    prompt = tuple(range(5, 25))
    (batch,) = policy.split([Row(Example("sampled", prompt, (i, i + 1, i + 2)), (1.0,)) for i in range(8)])
    policy.forward(batch, frozenset())
    assert run == [20 + 8 * 2]


# What is said of rows.


@pytest.mark.parametrize("pairs", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_row_is_what_it_is_alone(name: str, pairs: Sequence[tuple[Ids, Ids]]) -> None:
    """Log-probs and entropies, and the divergence from the same response under the teacher's prompt."""
    model, examples = model_of(name), examples_of(pairs)
    policy = policy_of(model, temperature=0.7)
    batch = collate([Row(example, (1.0,)) for example in examples], dtype=torch.float64)
    with torch.no_grad():
        outputs = policy.forward(batch, frozenset({"entropies", "teacher_kl"}))
        assert outputs.entropies is not None
        assert (outputs.teacher_kl is None) is not any(e.teacher_prompt_ids for e in examples)
        for i, e in enumerate(examples):
            n, each = len(e.ids), plainly(model, e.prompt_ids, e.ids, 0.7)
            chosen = each.gather(-1, torch.tensor(e.ids)[:, None]).squeeze(-1)
            assert torch.allclose(outputs.logprobs[i, :n], chosen, rtol=0, atol=1e-5)
            assert torch.allclose(outputs.entropies[i, :n], -(each.exp() * each).sum(-1), rtol=0, atol=1e-5)
            assert not outputs.logprobs[i, n:].any()
            assert not outputs.entropies[i, n:].any()
            if outputs.teacher_kl is not None:
                taught = plainly(model, e.teacher_prompt_ids or e.prompt_ids, e.ids, 0.7)
                divergence = (taught.exp() * (taught - each)).sum(-1)
                assert torch.allclose(outputs.teacher_kl[i, :n], divergence, rtol=0, atol=1e-5)
                assert not outputs.teacher_kl[i, n:].any()


# The gradient.

TERMS = (
    Term("policy", "sampled", ClippedSurrogate(0.2, 0.2), credit="nonzero"),
    Term("entropy", "sampled", lambda outputs, batch: -outputs.entropies, 0.1, needs=frozenset({"entropies"})),
    Term("mutual", "borrowed", FullDivergence(), 0.3, over_tokens, frozenset({"teacher_kl"})),
)


def plain_gradient(model: Any, rows: Sequence[Row], temperature: float) -> dict[str, Tensor]:
    """Of the terms above, written out for one sequence at a time; the ratio is 1, its gradient that of log p."""
    model.zero_grad()
    for row in rows:
        e = row.example
        each = plainly(model, e.prompt_ids, e.ids, temperature)
        chosen = each.gather(-1, torch.tensor(e.ids)[:, None]).squeeze(-1)
        with torch.no_grad():
            teacher = plainly(model, e.teacher_prompt_ids or e.prompt_ids, e.ids, temperature)
        surrogate = -torch.tensor(e.advantage, dtype=torch.float64) * chosen
        divergence = (teacher.exp() * (teacher - each)).sum(-1)
        policy, entropy, mutual = row.weights
        loss = policy * surrogate + 0.1 * entropy * (each.exp() * each).sum(-1) + 0.3 * mutual * divergence
        (torch.tensor(e.mask or (1,) * len(e.ids)) * loss).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("tokens_at_once", [1, 20, 1000])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_is_that_of_every_row_alone(name: str, tokens_at_once: int) -> None:
    """Log-probs, entropies and whole distributions, the teacher's fixed."""
    model, rows = model_of(name), weigh(examples_of(PAIRS), TERMS)
    wanted = plain_gradient(model, rows, 0.7)
    assert_alike(gradient(policy_of(model, temperature=0.7, tokens_at_once=tokens_at_once), TERMS, rows), wanted)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])
def test_the_fused_kernel_says_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many scores there are: plain products for few of them, the fused kernel for many."""
    model, rows, calls = model_of(name), weigh(examples_of(PAIRS), TERMS), []
    fused = torch.nn.functional.scaled_dot_product_attention
    wanted = plain_gradient(model, rows, 1.0)
    policy = policy_of(model)
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(0) or fused(*a, **k)
    )
    assert_alike(gradient(policy, TERMS, rows), wanted)
    assert not calls
    monkeypatch.setattr(packing, "MATH_SCORES", 0)
    assert_alike(gradient(policy, TERMS, rows), wanted)
    assert calls


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_of_mixed_precision_is_near(name: str) -> None:
    """To some per cent, of the whole and of the head; and it is another one: bfloat16 is really used."""
    model, rows = model_of(name, torch.float32), weigh(examples_of(PAIRS), TERMS)
    exact, mixed = (gradient(policy_of(model, precision=p), TERMS, rows) for p in ("float32", "mixed"))
    names = list(exact)
    for part in (names, names[:1], names[-1:]):
        wanted, ours = (torch.cat([g[n].flatten() for n in part]) for g in (exact, mixed))
        if name == "gpt2":  # its linear layers are of a kind of their own, and stay float32
            assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-5)
        else:
            assert 1e-4 < (ours - wanted).norm() / wanted.norm() < 0.1


def test_frozen_weights_have_no_gradient() -> None:
    """Head and embeddings, say, where only the layers between are trained."""
    model, rows = model_of(), weigh(examples_of(PAIRS), TERMS)
    wanted = plain_gradient(model, rows, 1.0)
    frozen = {name for name, _ in model.named_parameters() if "layers" not in name or "mlp" in name}
    assert "lm_head.weight" in frozen
    for name, p in model.named_parameters():
        p.requires_grad_(name not in frozen)
        p.grad = None
    policy = policy_of(model)
    for batch in policy.split(rows):
        policy.backward(total(TERMS, evaluate(TERMS, policy.forward(batch, needed(TERMS)), batch)))
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert {name for name, grad in grads.items() if grad is None} == frozen
    assert_alike(
        {name: g for name, g in grads.items() if g is not None}, {n: wanted[n] for n in wanted.keys() - frozen}
    )


# Dead rows.

CREDIT = {
    "positive": Term("positive", "sampled", PositivePart(), average=over_sequences, credit="positive"),
    "nonzero": Term("policy", "sampled", ClippedSurrogate(0.2, 0.2), average=over_tokens, credit="nonzero"),
    "positive and borrowed": Term("mutual", "borrowed", PositivePart(), 0.5, credit="positive"),
}
MORTAL = (
    Example("sampled", SHARED, (9, 4, 2), advantage=1.0),
    Example("sampled", SHARED, (9, 4), advantage=-1.0),
    Example("sampled", OTHER, (6,), advantage=0.0),
    Example("sampled", SHARED, (9, 5, 2), advantage=(-0.5, 0.0, -2.0)),
    Example("sampled", OTHER, (7, 7, 2), advantage=(-0.5, 0.0, 0.3), weight=2.0),
    Example("sampled", OTHER, (7, 8), advantage=(0.0, 0.0)),
    Example("sampled", (2,), (5, 6), advantage=0.5, weight=0.0),
    Example("borrowed", SHARED, (3, 3, 4), advantage=0.7),
    Example("borrowed", SHARED, (3, 3), advantage=-0.7),
)
LIVING = {
    ("positive",): [0, 4],
    ("nonzero",): [0, 1, 3, 4],
    ("positive", "nonzero"): [0, 1, 3, 4],
    ("positive", "positive and borrowed"): [0, 4, 7],
}


@pytest.mark.parametrize("credits", LIVING, ids=" and ".join)
def test_dead_rows_have_no_gradient_and_living_ones_do(credits: tuple[str, ...]) -> None:
    """Dropped after `weigh`, dead rows leave the gradient as it is. Each row alone: none without a reason to live."""
    terms = [CREDIT[name] for name in credits]
    model, rows = model_of(), weigh(MORTAL, terms)
    living = [row for row in rows if alive(row, terms)]
    assert [i for i, row in enumerate(rows) if alive(row, terms)] == LIVING[credits]
    policy = policy_of(model)
    assert_alike(gradient(policy, terms, living), gradient(policy, terms, rows), 1e-12)
    for row in rows:
        if any(row.weights):
            alone = gradient(policy, terms, [row])
            assert any(bool(g.any()) for g in alone.values()) is alive(row, terms)


# Gradient checkpointing.


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "float32") for name in CONFIGS), ("llama", "mixed"), ("gpt2", "mixed")]
)
def test_checkpointed_layers_run_forward_once_more_and_leave_the_gradient_as_it_is(name: str, precision: str) -> None:
    """Dropout, which GPT-2 has in training mode, stays off. The inside of a layer is counted when it is entered."""
    model = model_of(name, torch.float64 if precision == "float32" else torch.float32)
    rows, runs = weigh(examples_of(PAIRS), TERMS), []
    for module_name, module in model.named_modules():
        if module_name.endswith("mlp"):
            module.register_forward_pre_hook(lambda module, args: runs.append(0))
    settings: dict[str, Any] = {"precision": precision, "tokens_at_once": 20}
    wanted = gradient(policy_of(model, **settings), TERMS, rows)
    plain, runs[:] = len(runs), []
    policy = policy_of(model, **settings, gradient_checkpointing=True)
    assert_alike(gradient(policy, TERMS, rows), wanted, 1e-9 if precision == "float32" else 1e-4)
    assert len(runs) == plain + len(policy.split(rows)) * model.config.num_hidden_layers


def test_checkpointing_draws_no_dropout_in_a_layers_own_forward() -> None:
    """OPT drops out by function, where the layer itself trains."""
    torch.manual_seed(0)
    config = OPTConfig(vocab_size=40, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
                       max_position_embeddings=64, word_embed_proj_dim=32, dropout=0.5)  # fmt: skip
    model = OPTForCausalLM(config).eval().double()
    rows = weigh(examples_of(PAIRS[:3]), TERMS)
    wanted = gradient(policy_of(model), TERMS, rows)
    assert_alike(gradient(policy_of(model, gradient_checkpointing=True), TERMS, rows), wanted, 1e-9)
    assert not any(module.training for module in model.modules())


def test_rows_without_a_response_predict_nothing() -> None:
    line = Packed([((1, 2), ()), ((3,), ())])
    assert line.predicts.tolist() == []
    assert line.tokens[line.predicts].tolist() == []


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_checkpointing_changes_nothing_that_is_said(name: str) -> None:
    model, spans = model_of(name), [Span(str(i), prompt, ids) for i, (prompt, ids) in enumerate(PAIRS)]
    said = [policy_of(model, gradient_checkpointing=on).score(spans) for on in (False, True)]
    for key in said[0]:
        assert said[1][key].logprobs == pytest.approx(said[0][key].logprobs, abs=1e-12)
