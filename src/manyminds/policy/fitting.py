"""How much runs at once: derived from the machine's memory once, when a run begins; a resumed run keeps it."""

from __future__ import annotations

import os
from typing import Any

import torch

from manyminds.sections import Engine

SHARE = 0.25
"""Of the memory, for the activations of a micro-batch; as much for the cache of the answers being drawn."""
TOKENS_ON_CPU, TOKENS_ON_CUDA = 4096, 65536
"""A micro-batch of more tokens gains nothing: on a CPU its activations leave the cache."""
ANSWERS_ON_CPU, ANSWERS_ON_CUDA = 512, 1024


def memory_bytes(device: torch.device) -> int:
    """The memory of the device: all of it on a CPU, what is free on CUDA."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fitted(engine: Engine, model: Any, max_tokens: int = 1) -> Engine:
    """The engine with what it left open derived; answers have up to `max_tokens` tokens."""
    on_cuda = model.device.type == "cuda"
    budget = SHARE * memory_bytes(model.device)
    tokens = min(TOKENS_ON_CUDA if on_cuda else TOKENS_ON_CPU, int(budget / activation_bytes(model.config, engine)))
    answers = min(
        ANSWERS_ON_CUDA if on_cuda else ANSWERS_ON_CPU, int(budget / (1.5 * max_tokens * kv_bytes(model.config)))
    )
    return engine.model_copy(
        update={
            "precision": engine.precision or ("mixed" if on_cuda else "float32"),
            "tokens_at_once": engine.tokens_at_once or max(1, tokens),
            "answers_at_once": engine.answers_at_once or max(1, answers),
        }
    )


def activation_bytes(config: Any, engine: Engine) -> int:
    """What a token leaves behind for the backward pass, roughly, in float32: inputs of every product and norm."""
    width, layers = _largest(config, "hidden_size"), _largest(config, "num_hidden_layers")
    inner = _largest(config, "intermediate_size", "n_inner") or 4 * width
    heads = _largest(config, "num_attention_heads") * _head_dim(config)
    layer = 4 * (8 * width + 4 * inner + 6 * heads)
    return layer + layers * 4 * width if engine.gradient_checkpointing else layers * layer


def kv_bytes(config: Any) -> int:
    """What a token takes in the cache, in float32."""
    heads = _largest(config, "num_key_value_heads", "num_attention_heads") or 1
    return 4 * 2 * _largest(config, "num_hidden_layers") * heads * _head_dim(config)


def _head_dim(config: Any) -> int:
    return _largest(config, "head_dim") or _largest(config, "hidden_size") // (
        _largest(config, "num_attention_heads") or 1
    )


def _largest(config: Any, *names: str) -> int:
    """The first of these that the configuration has, the largest where layers differ; 0 if it has none."""
    for name in names:
        try:
            value = getattr(config, name, None)
        except (AttributeError, ValueError):  # a configuration whose layers differ may refuse to name one number
            continue
        if value:
            return int(max(value)) if isinstance(value, list | tuple) else int(value)
    return 0
