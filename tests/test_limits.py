"""The arithmetic of a step counted by hand and by torch, and the rates of a machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from manyminds import limits
from manyminds.errors import UserError
from manyminds.limits import Counts, Limits, Shape, Work, counts, decode_work, forward_work, roofline_seconds

SMALL = Shape(linear=100, layers=2, heads=3, kv_heads=1, head_dim=4, hidden=12, vocabulary=5)
"""A head of 60 parameters, 16 numbers of cache for a token."""
PROMPTS, ANSWERS = [3], [[2, 4]]


def llama(**changes: Any) -> LlamaConfig:
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": None}
    return LlamaConfig(**sizes | heads | changes)


def test_counts_by_hand() -> None:
    # The prompt's three tokens see 1, 2, 3 positions; the first answer's first token sees 4 and its last is not run;
    # the second answer's first three see 4, 5, 6. Scored: the prompt's last position, and those 1 + 3.
    assert counts(PROMPTS, ANSWERS) == Counts(tokens=3 + 1 + 3, seen=1 + 2 + 3 + 4 + 4 + 5 + 6, scored=1 + 1 + 3)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([[]], Counts(3, 6, 0)), ([[1]], Counts(3, 6, 1)), ([[1, 1, 1]], Counts(3, 6, 1)), ([[0]], Counts(3, 6, 0))],
    ids=["no answer", "one token", "three of one token", "empty"],
)
def test_answers_of_one_token_cost_their_prompt_alone(answers: list[list[int]], expected: Counts) -> None:
    assert counts([3], answers) == expected


def test_a_shared_prompt_is_run_once() -> None:
    apart, shared = counts([3, 3], [[4], [4]]), counts([3], [[4, 4]])
    assert (apart.tokens - shared.tokens, apart.seen - shared.seen, apart.scored - shared.scored) == (3, 6, 1)


def test_forward_by_hand() -> None:
    linear, attention = 2 * 100 * 7 + 2 * 60 * 5, 4 * 2 * 3 * 4 * 25
    assert forward_work(SMALL, PROMPTS, ANSWERS) == Work(linear, attention, 4 * (100 + 60), 0)


def test_decode_by_hand() -> None:
    # Passes: one for the prompt and three for the longest answer. The cache of the prompt is read three times, that of
    # the first answer once (1 token), of the second three times (1, 2, 3 tokens).
    found = decode_work(SMALL, PROMPTS, ANSWERS)
    assert (found.linear_flops, found.attention_flops) == (2000, 2400)
    assert found.weight_bytes == 4 * 640
    assert found.moved_bytes == 16 * (3 * 3 + 1 + 6) * 4
    assert decode_work(SMALL, PROMPTS, ANSWERS, width=2).moved_bytes == found.moved_bytes / 2


def test_update_by_hand() -> None:
    assert limits.update_work(SMALL, PROMPTS, ANSWERS) == Work(3 * 2000, 3 * 2400, 3 * 640, 7 * 640)


def test_nothing_needs_nothing() -> None:
    for work in (forward_work, decode_work, limits.update_work):
        assert work(SMALL, [], []) == Work()


def test_roofline_by_hand() -> None:
    rates = Limits("cpu", "float32", 1, gemm_flops_per_s=1000, memory_bytes_per_s=100)
    # multiplying hides the reading of weights, or the other way round, whichever takes longer
    assert roofline_seconds(Work(2000, 500, 100, 30), rates) == pytest.approx(2.0 + 0.5 + 0.3)
    assert roofline_seconds(Work(2000, 500, 900, 30), rates) == pytest.approx(9.0 + 0.5 + 0.3)
    assert roofline_seconds(Work(1000, 0, 0, 0) + Work(1000, 500, 100, 30), rates) == pytest.approx(2.8)


def test_torch_counts_the_same_products() -> None:
    config = llama()
    model, row = LlamaForCausalLM(config), torch.arange(8)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=row, logits_to_keep=4)  # a prompt of 5 and an answer of 4, whose last token is not run
    products = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    assert forward_work(Shape.of(config), [5], [[4]]).linear_flops == products


@pytest.mark.parametrize("tied", [True, False])
def test_the_configuration_and_the_model_agree(tied: bool) -> None:
    config = llama(tie_word_embeddings=tied)
    model = LlamaForCausalLM(config)
    shape = Shape.of(config)
    assert shape == Shape.of(config, limits.linear_parameters(model))
    norms = sum(p.numel() for p in model.parameters() if p.ndim == 1)
    assert sum(p.numel() for p in model.parameters()) == shape.linear + norms + shape.head * (1 if tied else 2)
    assert (shape.head_dim, shape.cache, shape.head) == (8, 2 * 2 * 2 * 8, 32 * 50)


def test_a_model_of_another_kind_is_counted_from_its_matrices() -> None:
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=64, **ends)
    with pytest.raises(UserError, match=r"the arithmetic of a gpt2 is not known .* leave `profile` out"):
        Shape.of(config)
    linear = limits.linear_parameters(GPT2LMHeadModel(config))
    assert linear == 2 * 12 * 32 * 32
    assert Shape.of(config, linear) == Shape(linear, 2, 4, 4, 8, 32, 50)


def test_the_embedded_sizes_of_the_benchmark() -> None:
    wide = llama(hidden_size=128, num_hidden_layers=5, intermediate_size=384, num_key_value_heads=4, vocab_size=105)
    shape = Shape.of(wide)
    assert shape.linear == 5 * (4 * 128 * 128 + 3 * 128 * 384) == 1_064_960
    # 8 answers of 128 tokens to each of 8 prompts of 64, at 95 GFLOP/s and 35 GB/s: about 26 thousand tokens a second
    seconds = roofline_seconds(decode_work(shape, [64] * 8, [[128] * 8] * 8), Limits("cpu", "float32", 1, 95e9, 35e9))
    assert 64 * 128 / seconds == pytest.approx(26_400, rel=0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_machine_is_measured_and_left_as_it_was(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_sizes", lambda device: (64,))
    random, threads = torch.random.get_rng_state(), torch.get_num_threads()
    products = torch.backends.mkldnn.matmul.fp32_precision
    found = limits.measure("cpu", dtype, 2)
    assert (found.device, found.dtype, found.threads) == ("cpu", dtype, 2)
    assert 1e6 < found.gemm_flops_per_s < 1e16
    assert 1e7 < found.memory_bytes_per_s < 1e14
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert torch.backends.mkldnn.matmul.fp32_precision == products


def test_the_best_of_several_tries_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = iter([0.0, 1.0, 3.0, 3.0, 3.5, 9.0])  # begin; a run of 2 s; one of 0.5 s; over
    monkeypatch.setattr(limits, "time", SimpleNamespace(perf_counter=lambda: next(hands)))
    assert limits._best(torch, "cpu", lambda: None, 10.0) == 20.0
