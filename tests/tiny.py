"""A small random Llama with opinions, and the embedded task's own tokenizer and prompts."""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from manyminds.records import Ask, Decoding, Ids, Prompt, Question
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine
from manyminds.tasks.arithmetic_model import create


@cache
def _loaded(seed: int) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        create(Path(folder), seed, hidden=32, layers=2, heads=2)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for p in model.parameters():
            p *= 8.0 if p.ndim == 2 else 1.0
    return model.eval(), tokenizer


def model(seed: int = 0) -> Any:
    """A fresh copy; the weights are large, so that the next token is far from uniform."""
    return copy.deepcopy(_loaded(seed)[0])


def tokenizer() -> Any:
    return _loaded(0)[1]


def prompt(ids: Ids, name: str = "", expert: str = "alpha") -> Prompt:
    return Prompt(Question(name or str(ids), "", "", prompt_ids={expert: ids}), expert)


PROMPTS = (prompt((1, 5, 6, 14, 7, 19)), prompt((1, 9)), prompt((1, 4, 4, 4, 4, 14, 5, 5, 19)), prompt((1, 8, 14, 8)))


def asks(n: int = 3, decoding: Decoding | None = None) -> list[Ask]:
    return [Ask(one, n, decoding) for one in PROMPTS]


def sampler(its: Any, decoding: Decoding | None = None, **engine: Any) -> TransformersSampler:
    """Over this model; answers end at the tokenizer's end of sequence."""
    decoding = decoding or Decoding(max_tokens=12)
    return TransformersSampler(
        its, tokenizer(), decoding, stop_ids=(tokenizer().eos_token_id,), engine=Engine(**engine)
    )
