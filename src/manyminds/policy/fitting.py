"""How much runs at once: derived from the machine's memory once, when a run begins; a resumed run keeps it."""

from __future__ import annotations

import os
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Room:
    """What a machine has room for at once: by a quarter of its `memory` each, and the most that gains anything.

    `token` and `answer` are the bytes that one of them takes; a whole number of them fits, and it may be none.
    """

    memory: int
    token: int
    answer: int
    most_tokens: int
    most_answers: int

    @property
    def tokens(self) -> int:
        return int(SHARE * self.memory / self.token)

    @property
    def answers(self) -> int:
        return int(SHARE * self.memory / self.answer)


def room(engine: Engine, config: Any, device: torch.device, max_tokens: int) -> Room:
    """What the device has room for of a model of this configuration, with answers of up to `max_tokens` tokens."""
    on_cuda = device.type == "cuda"
    most = (TOKENS_ON_CUDA, ANSWERS_ON_CUDA) if on_cuda else (TOKENS_ON_CPU, ANSWERS_ON_CPU)
    answer = 3 * max_tokens * kv_bytes(config) // 2
    return Room(memory_bytes(device), activation_bytes(config, engine), answer, *most)


def fitted(engine: Engine, model: Any, max_tokens: int = 1) -> Engine:
    """The engine with what it left open derived; answers have up to `max_tokens` tokens."""
    return derived(engine, model.config, model.device, max_tokens)


def derived(engine: Engine, config: Any, device: torch.device, max_tokens: int) -> Engine:
    """As `fitted`, of a model that is not there yet."""
    has = room(engine, config, device, max_tokens)
    tokens, answers = min(has.most_tokens, has.tokens), min(has.most_answers, has.answers)
    return engine.model_copy(
        update={
            "precision": engine.precision or ("mixed" if device.type == "cuda" else "float32"),
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


@dataclass(frozen=True, slots=True)
class Widths:
    """The sizes of a model, as its configuration tells them; the largest where layers differ."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


def widths(config: Any) -> Widths:
    """The sizes that decide what attention, cache and head take."""
    heads = _largest(config, "num_attention_heads")
    return Widths(
        _largest(config, "num_hidden_layers"),
        heads,
        _largest(config, "num_key_value_heads") or heads,
        _head_dim(config),
        _largest(config, "vocab_size"),
    )


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
