"""The memory estimate: by hand, part by part, and what moves it which way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from manyminds import footprint as its
from manyminds.footprint import Load, footprint, readable
from manyminds.limits import linear_parameters
from manyminds.loading import Outline
from manyminds.policy.fitting import activation_bytes, kv_bytes
from manyminds.sections import Engine

ENGINE = Engine(precision="float32", answers_at_once=64, tokens_at_once=4096)
LOAD = Load(
    longest_prompt=20, max_tokens=100, prompts=4, answers=32, row_tokens=100, batch_tokens=3280, batch_answers=32,
    moments=2000,
)  # fmt: skip


def outline(device: str = "cpu", **changes: Any) -> Outline:
    sizes = {"vocab_size": 500, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**{**sizes, "num_attention_heads": 4, "num_key_value_heads": 2, **changes})
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    number = sum(p.numel() for p in model.parameters())
    return Outline(None, 512, config.vocab_size, number, number, linear_parameters(model), config, torch.device(device))


def test_every_part_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(its, "process_bytes", lambda: 10**8)
    model = outline()
    found = footprint(model, ENGINE, LOAD)
    assert found.held == {"process": 10**8, "weights": 4 * model.parameters, "moments": 8000}
    cache = kv_bytes(model.config)
    assert cache == 2 * 2 * 2 * 8 * 4
    # a block of 2^19 numbers holds 1,024 columns of 32 answers with 2 heads of 8: one block of 100 + 50 + 16
    assert found.phases["drawing"] == {
        "cache": 32 * 166 * cache,
        "prompts": 2 * 4 * 20 * cache,
        "next tokens": 32 * 500 * 28,
        "ordered weights": 4 * model.linear,
    }
    assert found.phases["updating"] == {
        "gradients": 4 * model.trained,
        "activations": 3280 * activation_bytes(model.config, ENGINE),
        "attention": 2 * 4 * (3 * 32 * 4 * 100 * 120 + 2 * 32 * 120 * 2 * 8),
        "logits": 3 * 4 * 32 * 100 * 500,
        "joined weights": 3 * model.linear,
    }
    assert found.phases["saving"] == {"copies": 8000}
    assert found.largest == "updating"
    assert found.peak == sum(found.held.values()) + sum(found.phases["updating"].values())


def test_the_head_is_bounded_by_its_chunk() -> None:
    small, large = (footprint(outline(vocab_size=size), ENGINE, LOAD) for size in (1000, 150_000))
    assert small.phases["updating"]["logits"] == 3 * 4 * 3200 * 1000
    assert large.phases["updating"]["logits"] == 3 * 4 * (1 << 24)


def test_checkpointing_keeps_a_layer() -> None:
    model = outline(num_hidden_layers=12)
    plain, saved = (
        footprint(model, ENGINE.model_copy(update={"gradient_checkpointing": on}), LOAD).phases["updating"]
        for on in (False, True)
    )
    assert saved["attention"] * 12 == plain["attention"]
    assert saved["activations"] < plain["activations"] / 4


def test_where_the_cache_is_largest_it_decides() -> None:
    found = footprint(outline(), ENGINE, replace(LOAD, answers=4000, batch_tokens=120, batch_answers=1))
    assert found.largest == "drawing"
    without = footprint(outline(), ENGINE, replace(LOAD, moments=10**8, batch_tokens=120, batch_answers=1))
    assert without.largest == "saving"


def test_on_a_gpu_the_process_is_not_counted_and_nothing_is_copied() -> None:
    found = footprint(outline("cuda"), ENGINE.model_copy(update={"precision": "mixed"}), LOAD)
    assert found.held["process"] == its.CUDA_CONTEXT
    assert set(found.phases) == {"drawing", "updating"}
    assert found.phases["drawing"]["ordered weights"] == 2 * outline().linear


def test_this_process_holds_something() -> None:
    assert 50 * 2**20 < its.process_bytes() < 2**40


def test_sizes_are_readable() -> None:
    assert [readable(size) for size in (0, 3 * 2**19, 50 * 2**20, 3 * 2**29)] == [
        "0.0 MiB",
        "1.5 MiB",
        "50 MiB",
        "1.5 GiB",
    ]
