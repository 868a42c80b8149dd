"""The embedded model's folder loads as any Hugging Face folder does, and is the same for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from manyminds.errors import UserError
from manyminds.experts.rendering import Renderer
from manyminds.tasks.arithmetic import EXPERTS, question
from manyminds.tasks.arithmetic_model import CONTEXT, create


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create(tmp_path_factory.mktemp("model") / "initial", 0)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, other = create(tmp_path / "again", 0), create(tmp_path / "other", 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert hashes(again) == hashes(folder)
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= set(hashes(folder))
    changed = {name for name, digest in hashes(other).items() if digest != hashes(folder)[name]}
    assert changed == {"model.safetensors"}


def test_loads_as_llama(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert sum(p.numel() for p in model.parameters()) == 125_184
    assert model.config.intermediate_size == 160
    assert model.config.num_key_value_heads == 1
    assert model.config.max_position_embeddings == CONTEXT == 256
    assert model.dtype == torch.float32
    assert model.lm_head.weight is model.model.embed_tokens.weight
    logits = model(torch.tensor([[1, 5, 6]])).logits
    assert logits.shape == (1, 3, 29)
    assert torch.isfinite(logits).all()


def test_prompts_are_short_and_text_survives(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    renderer = Renderer(tokenizer, CONTEXT, max_tokens=60)
    longest = 0
    for family, a, b in [("addition", 1234, 5678), ("multiplication", 237, 3), ("division", 907, 8)]:
        asked = renderer.render(question(family, a, b), EXPERTS)
        for expert in EXPERTS:
            ids = asked.prompt_ids[expert.name]
            assert tokenizer.decode(ids) == f"<bos>{expert.system}{asked.text}="
            assert len(ids) == len(asked.prompt_ids["plain"]) + 1
            longest = max(longest, len(ids))
        assert tokenizer.decode(asked.prompt_ids["plain"]) == f"<bos>{asked.text}="
        for trace in asked.traces.values():
            assert len(trace.ids) == len(trace.text) + 1
            assert trace.ids[-1] == tokenizer.eos_token_id
            assert tokenizer.unk_token_id not in trace.ids
            assert tokenizer.decode(trace.ids, skip_special_tokens=True) == trace.text
    assert longest == 12
    assert renderer.notes == []


def test_sizes_must_divide(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hidden=60, heads=4"):
        create(tmp_path / "odd", 0, hidden=60)
    assert not (tmp_path / "odd").exists()
