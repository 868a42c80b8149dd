"""How much runs at once: what a recipe leaves open comes from the machine's memory, what it sets stays."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig

import tiny
from manyminds.policy import fitting
from manyminds.policy.fitting import fitted
from manyminds.policy.hf_policy import HFPolicy
from manyminds.sections import Engine, OptimizerConfig

GIB = 1 << 30
SET = {"precision": "mixed", "answers_at_once": 7, "tokens_at_once": 99}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.model()


def with_memory(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(fitting, "memory_bytes", lambda device: size)


def test_what_is_open_is_derived(model: Any) -> None:
    engine = fitted(Engine(), model, 64)
    assert engine.precision == "float32"
    assert engine.tokens_at_once is not None
    assert engine.tokens_at_once > 1
    assert engine.answers_at_once is not None
    assert engine.answers_at_once > 1
    assert fitted(engine, model, 1) == engine


@pytest.mark.parametrize("name", SET)
def test_what_is_set_stays(model: Any, name: str) -> None:
    """And leaves the rest as it would be."""
    derived = fitted(Engine(), model, 64).model_dump()
    assert fitted(Engine(**{name: SET[name]}), model, 64).model_dump() == derived | {name: SET[name]}
    assert derived[name] != SET[name]
    assert fitted(Engine(**SET), model, 64) == Engine(**SET)


@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20])
def test_a_machine_without_memory_does_one_at_a_time(model: Any, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    with_memory(monkeypatch, size)
    engine = fitted(Engine(), model, 1 << 20)
    assert engine.answers_at_once == 1
    assert engine.tokens_at_once is not None
    assert 1 <= engine.tokens_at_once < 100


def test_more_memory_is_more_at_once_until_it_gains_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear in the memory, then level."""
    told = []
    for size in (GIB // 32, GIB // 16, 1 << 50, 1 << 60):
        with_memory(monkeypatch, size)
        engine = fitted(Engine(), model, 10_000)
        told.append((engine.tokens_at_once, engine.answers_at_once))
    for little, twice, much, more in zip(*told, strict=True):
        assert twice in (2 * little, 2 * little + 1)
        assert twice < much == more


def test_longer_answers_are_fewer_at_once_and_leave_micro_batches_alone(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, GIB // 16)
    short, long = (fitted(Engine(), model, n) for n in (10_000, 20_000))
    assert short.answers_at_once is not None
    assert long.answers_at_once is not None
    assert short.answers_at_once // 2 == long.answers_at_once > 1
    assert short.tokens_at_once == long.tokens_at_once


def test_checkpointing_leaves_room_for_more_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep models keep one layer's activations and the states between layers."""
    model = tiny.model()
    model.config.num_hidden_layers = 24
    with_memory(monkeypatch, GIB // 16)
    plain, checkpointed = (fitted(Engine(gradient_checkpointing=on), model) for on in (False, True))
    assert plain.tokens_at_once is not None
    assert checkpointed.tokens_at_once is not None
    assert checkpointed.tokens_at_once > 5 * plain.tokens_at_once
    assert checkpointed.answers_at_once == plain.answers_at_once


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (LlamaConfig(num_key_value_heads=8), LlamaConfig(num_key_value_heads=32)),
        (LlamaConfig(num_hidden_layers=16), LlamaConfig(num_hidden_layers=32)),
        (GPT2Config(n_layer=6), GPT2Config(n_layer=12)),
    ],
    ids=["key heads", "layers", "gpt2"],
)
def test_what_an_answer_takes_in_the_cache_decides(
    model: Any, smaller: Any, larger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 64 * GIB)
    told = []
    for config in (smaller, larger):
        monkeypatch.setattr(model, "config", config)
        told.append(fitted(Engine(), model, 2000).answers_at_once)
    assert 1 < told[1] < told[0]


def test_the_cache_fits_into_its_share() -> None:
    """Llama's default is 7B: 32 layers, 32 heads of 128 numbers, keys and values, 4 bytes each: 1 MiB a token."""
    assert fitting.kv_bytes(LlamaConfig()) == 1 << 20
    assert fitting.kv_bytes(LlamaConfig(num_key_value_heads=8)) == 1 << 18
    assert fitting.kv_bytes(GPT2Config()) == 4 * 2 * 12 * 768


def test_sampler_and_policy_use_what_was_derived_or_set() -> None:
    model = tiny.model()
    policy = HFPolicy(model, OptimizerConfig(), steps=1)
    assert policy.engine == fitted(Engine(), model)
    sampler = tiny.sampler(model, answers_at_once=3)
    assert sampler.engine == fitted(Engine(answers_at_once=3), model, sampler.decoding.max_tokens)
    assert sampler.engine.answers_at_once == 3
