"""Low-rank adapters: trained alone, saved and found again, off for the reference, merged without a trace."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from manyminds.batch import Row, collate, weigh
from manyminds.errors import UserError
from manyminds.loading import load_model
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Term, evaluate, total
from manyminds.policy import adapters
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Ask, Decoding, Example, Span
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine, Lora, OptimizerConfig
from tiny import prompt, tokenizer

pytest.importorskip("peft")

LORA = Lora(rank=4, alpha=8)
TERMS = (Term("sft", "trace", CrossEntropy()),)
EXAMPLES = [Example("trace", (1, 5, 6), (7, 8, 9, 2)), Example("trace", (1, 5), (9, 9, 4, 2))]
SHAPE: dict[str, Any] = {"vocab_size": 29, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, intermediate_size=48, num_key_value_heads=2)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=29, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
}


def model_of(name: str = "llama") -> Any:
    torch.manual_seed(0)
    return MODELS[name]().eval()


def adapted(name: str = "llama", lora: Lora = LORA) -> Any:
    model = model_of(name)
    adapters.add(model, lora, 0)
    return model


def trained(name: str = "llama", precision: Any = "float32") -> HFPolicy:
    """After a few steps on two answers."""
    model = adapted(name)
    policy = HFPolicy(
        model,
        OptimizerConfig(lr=1e-2),
        steps=99,
        engine=Engine(precision=precision),
        reference=adapters.WithoutAdapters(model, precision),
    )
    for _ in range(25):
        policy.tick()
        for batch in policy.split(weigh(EXAMPLES, TERMS)):
            policy.backward(total(TERMS, evaluate(TERMS, policy.forward(batch, frozenset()), batch)))
        policy.update(1.0)
    return policy


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        said: torch.Tensor = model(torch.tensor([[1, 5, 6, 7, 8]])).logits
    return said


def scores(policy: HFPolicy, of: str) -> list[float]:
    return list(policy.score([Span("one", (1, 5, 6), (7, 8, 9, 2))], of)["one"].logprobs)


@pytest.mark.parametrize("name", MODELS)
def test_fresh_adapters_change_nothing_and_are_all_that_is_trained(name: str) -> None:
    plain, model = model_of(name), adapted(name)
    assert torch.allclose(logits(plain), logits(model), rtol=0, atol=1e-6)
    free = {key for key, p in model.named_parameters() if p.requires_grad}
    assert free
    assert all("lora_" in key for key in free)
    head = [key for key, _ in model.named_modules() if "lora_A" in key and "lm_head" in key]
    assert head == []
    assert type(model) is type(plain)


def test_the_seed_decides_the_adapters_and_leaves_other_draws_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = model_of(), model_of(), model_of()
    torch.manual_seed(5)
    for model, seed in ((one, 1), (same, 1), (other, 2)):
        adapters.add(model, LORA, seed)
    assert torch.equal(torch.rand(3), wanted)
    weights = [
        torch.cat([p.flatten() for key, p in model.named_parameters() if "lora_A" in key])
        for model in (one, same, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("precision", ["float32", "mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_they_learn_and_the_rest_stays(name: str, precision: Any) -> None:
    policy = trained(name, precision)
    before = model_of(name).state_dict()
    after = {key.replace(".base_layer", ""): value for key, value in policy.model.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert sum(scores(policy, "policy")) > sum(scores(policy, "reference")) + 0.5


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_is_the_model_with_the_adapters_off(name: str) -> None:
    policy = trained(name)
    plain = HFPolicy(model_of(name), OptimizerConfig(), steps=1)
    assert scores(policy, "reference") == pytest.approx(scores(plain, "policy"), abs=1e-5)
    assert all(p.requires_grad for key, p in policy.model.named_parameters() if "lora_" in key)


def test_the_gradient_is_that_of_the_plain_forward_pass() -> None:
    """In float64, of every adapter; and it fits a line of tokens."""
    model = adapted().double()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.1)
    policy = HFPolicy(model, OptimizerConfig(), steps=1)
    assert policy.lines["policy"].fits
    (batch,) = policy.split(weigh(EXAMPLES, TERMS))
    policy.backward(total(TERMS, evaluate(TERMS, policy.forward(batch, frozenset()), batch)))
    ours = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for e, row in zip(EXAMPLES, weigh(EXAMPLES, TERMS), strict=True):
        said = model(torch.tensor([e.prompt_ids + e.ids])).logits[0].log_softmax(-1)[len(e.prompt_ids) - 1 : -1]
        (-row.weights[0] * said.gather(-1, torch.tensor(e.ids)[:, None]).sum()).backward()
    wanted = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == wanted.keys()
    assert all("lora_" in key for key in ours)
    for key, grad in wanted.items():
        assert torch.allclose(ours[key], grad, rtol=0, atol=1e-10), key


def test_the_sampler_draws_from_the_adapted_model() -> None:
    model = trained().model
    sampler = TransformersSampler(model, tokenizer(), Decoding(0.0, 6), stop_ids=())
    (answer,) = sampler.sample([Ask(prompt((1, 5, 6)), 1)], "0")
    assert sampler.path == "shared prefix"
    wanted = model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=6, do_sample=False, eos_token_id=-1)
    assert list(answer.ids) == wanted[0, 3:].tolist()


@pytest.mark.parametrize("name", MODELS)
def test_merged_they_leave_no_trace(name: str, tmp_path: Path) -> None:
    model = trained(name).model
    wanted = logits(model)
    assert not torch.allclose(wanted, logits(model_of(name)), atol=1e-2)
    merged = adapters.merge(model)
    assert torch.allclose(logits(merged), wanted, rtol=0, atol=1e-5)
    merged.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert {key for key, _ in plain.named_parameters()} == {key for key, _ in model_of(name).named_parameters()}
    assert torch.allclose(logits(plain), wanted, rtol=0, atol=1e-5)
    assert not (tmp_path / adapters.CONFIG).exists()


def test_saved_adapters_are_found_again_on_their_model(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    model_of().save_pretrained(base)
    tokenizer().save_pretrained(base)
    model, _ = load_model(base, 0, base=str(base), lora=LORA)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.1)
    adapters.write(model, run, str(base))
    assert json.loads((run / adapters.CONFIG).read_text())["base_model_name_or_path"] == str(base)
    assert adapters.holds_adapters(run)
    assert not (run / "model.safetensors").exists()
    again, _ = load_model(run, 0, base=str(base), lora=LORA)
    assert torch.equal(logits(again), logits(model))
    assert {key for key, p in again.named_parameters() if p.requires_grad} == {
        key for key, p in model.named_parameters() if p.requires_grad
    }
    with pytest.raises(UserError, match="holds adapters and not a model"):
        load_model(run, 0, base=str(base))
    with pytest.raises(UserError, match="holds adapters and not a model"):
        load_model(run, 0, base=str(run), lora=LORA)


def test_a_layer_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"lora\.target_modules: .*'query'.*q_proj"):
        adapted(lora=Lora(target_modules=("query",)))


def test_without_peft_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "manyminds\[lora\]"'):
        adapted()


def test_rows_are_collated_as_ever() -> None:
    policy = trained()
    batch = collate([Row(example, (1.0,)) for example in EXAMPLES])
    assert policy.forward(batch, frozenset()).logprobs.requires_grad
