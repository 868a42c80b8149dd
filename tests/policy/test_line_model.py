"""Which models may be run as a line of tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from manyminds.policy.line_model import LineModel, rope_types

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LONG = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "original_max_position_embeddings": 20}
ROPES: dict[str, tuple[dict[str, Any], bool]] = {
    "default": ({}, True),
    "linear": ({"factor": 2.0}, True),
    "llama3": (
        {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 20},
        True,
    ),
    "yarn": ({"factor": 2.0, "original_max_position_embeddings": 32}, True),
    "dynamic": ({"factor": 2.0}, False),
    "longrope": (LONG, False),
}


def model_of(rope: str = "default") -> Any:
    torch.manual_seed(0)
    parameters = {"rope_type": rope, "rope_theta": 10000.0, **ROPES[rope][0]}
    return LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=parameters)).eval()


@pytest.mark.parametrize("rope", ROPES)
def test_a_rotation_that_depends_on_the_longest_row_does_not_fit(rope: str) -> None:
    """transformers turns all positions of a pass by the longest one's angles: in a line, by another row's."""
    model = model_of(rope)
    assert rope in rope_types(model.config)
    assert LineModel(model).fits is ROPES[rope][1]


def test_rotations_may_be_named_by_kind_of_layer() -> None:
    config = LlamaConfig(**SIZES)
    config.rope_parameters = {
        "full_attention": {"rope_type": "longrope"},
        "sliding_attention": {"rope_type": "default"},
    }
    assert {"longrope", "default"} <= rope_types(config)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_models_of_any_precision_fit(dtype: torch.dtype) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        assert LineModel(LlamaForCausalLM(LlamaConfig(**SIZES)).eval().to(dtype)).fits
