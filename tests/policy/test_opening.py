"""Folders that are no model to train, or not all of one: one sentence each, before anything is read or trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Qwen2Config,
    Qwen2Model,
    T5Config,
    T5ForConditionalGeneration,
)
from typer.testing import CliRunner

from families import write
from manyminds.cli import app
from manyminds.durable import read_jsonl
from manyminds.errors import UserError
from manyminds.experts.rendering import Renderer
from manyminds.export import export
from manyminds.loading import load, load_model, outline
from manyminds.preview import preview
from manyminds.records import PLAIN, Expert, Question
from manyminds.run import train
from test_resume import tiny

SHAPE: dict[str, Any] = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48}
SHAPE |= {"num_attention_heads": 4, "num_hidden_layers": 1}
SEES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
BART = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("attention_heads", 4))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("qwen2.5", tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refused(folder: Path, sentence: str, *, weights: bool = False) -> None:
    """By training and, unless it takes the weights to see it, by `check`; with the folder's name."""
    for read in (load_model,) if weights else (load_model, outline):
        with pytest.raises(UserError, match=sentence) as told:
            read(folder, 0)
        assert str(folder) in str(told.value)
        assert "\n" not in str(told.value)


def configured(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def sharded(folder: Path) -> list[Path]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    return sorted(folder.glob("model-*.safetensors"))


def test_shards_are_read_and_a_missing_one_is_named(folder: Path) -> None:
    shards = sharded(folder)
    assert len(shards) > 2
    load_model(folder, 0)
    shards[1].unlink()
    refused(folder, rf"{shards[1].name} is not there, though model\.safetensors\.index\.json names it; download")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda data: data[: len(data) // 2], r"model\.safetensors is not a whole file of weights .*not fully covered"),
        (lambda data: data[:3], r"model\.safetensors is not a whole file of weights .*header too small"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid x", "is a pointer of Git LFS.*git lfs pull"),
    ],
    ids=["half", "three bytes", "pointer"],
)
def test_a_file_that_is_cut_off(folder: Path, content: Callable[[bytes], bytes], sentence: str) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    refused(folder, sentence)


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, r"holds no weights \(no model\.safetensors")


def test_weights_that_would_be_random(folder: Path) -> None:
    configured(folder, num_hidden_layers=3, layer_types=["full_attention"] * 3)
    refused(
        folder, r"12 of its weights are in none of its files, first model\.layers\.2\..* would be random", weights=True
    )


def test_weights_of_another_shape(folder: Path) -> None:
    configured(folder, vocab_size=500)
    refused(folder, r"embed_tokens\.weight are \(299, 32\) in its files and \(500, 32\) by its config", weights=True)


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "encoder": (lambda: BertForMaskedLM(BertConfig(**SHAPE)), "is a BertForMaskedLM .*not a decoder-only"),
    "encoder with a head": (lambda: BertLMHeadModel(BertConfig(**SHAPE)), "is a BertLMHeadModel .*not a decoder-only"),
    "encoder and decoder": (
        lambda: T5ForConditionalGeneration(T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=48, num_layers=1)),
        "is a T5ForConditionalGeneration .*not a decoder-only",
    ),
    "decoder of one": (
        lambda: BartForConditionalGeneration(BartConfig(vocab_size=99, d_model=32, **BART)),
        "is a BartForConditionalGeneration .*not a decoder-only",
    ),
    "without a head": (lambda: Qwen2Model(Qwen2Config(**SHAPE)), "is a Qwen2Model .*such as a Qwen2ForCausalLM"),
    "sees": (
        lambda: Gemma3ForConditionalGeneration(
            Gemma3Config(
                text_config={**SHAPE, "num_key_value_heads": 2, "head_dim": 8},
                vision_config={**SEES, "image_size": 28, "patch_size": 14},
                mm_tokens_per_image=4,
            )
        ),
        r"\(Gemma3ForConditionalGeneration\) has parts besides its language model \(vision_config\)",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_another_kind_of_model(kind: str, folder: Path) -> None:
    for file in (*folder.glob("*.safetensors"), folder / "config.json"):
        file.unlink()
    make, sentence = MODELS[kind]
    make().save_pretrained(folder)
    refused(folder, sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "fancy"}, "has model type `fancy` but Transformers does not recognize"),
        ({"model_type": "fancy", "auto_map": {"AutoConfig": "a.B"}}, "comes with Python code of its own"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "is a Qwen2ForSequenceClassification"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantised weights \(gptq\)"),
    ],
    ids=["unknown", "code of its own", "classifier", "quantised"],
)
def test_a_configuration_that_cannot_be_trained(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    configured(folder, **changes)
    refused(folder, sentence)


def test_a_configuration_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    refused(folder, "is not a valid JSON file")


def test_a_folder_without_a_tokenizer_gets_none_without_words(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, r"has no tokenizer \(none of .*tokenizer\.json")


def test_a_tokenizer_without_an_end_is_told_how_to_name_one(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": None}))
    with pytest.raises(UserError, match=r"no end-of-sequence token.*`eos_token` in its tokenizer_config\.json"):
        Renderer(load_model(folder, 0)[1], 999)


def test_a_tokenizer_with_more_words_than_the_model(folder: Path) -> None:
    """As where tokens for chats were added to a base model that was not resized."""
    model, words = load_model(folder, 0)
    known = model.get_input_embeddings().num_embeddings
    words.add_tokens([f"<{i}>" for i in range(known - len(words) + 1)])
    last = words.convert_ids_to_tokens(known)
    asked = Question("q", f"What is {last}?", "")
    with pytest.raises(UserError, match=rf"has the token '{last}' \({known}\), but the model knows only {known}"):
        Renderer(words, 999, words=known).render(asked, [Expert(PLAIN)])
    Renderer(words, 999, words=known + 1).render(asked, [Expert(PLAIN)])


def test_settings_of_sampling_that_are_off_do_not_stop_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    """As Llama 2 was published; transformers reads them and refuses to write them."""
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": 0.6, "top_p": 0.9}))
    model, _ = load_model(folder, 0)
    model.save_pretrained(tmp_path / "again")
    assert model.generation_config.do_sample in (None, False)
    file.write_text(json.dumps({"do_sample": True, "temperature": 0.6}))
    assert load_model(folder, 0)[0].generation_config.temperature == 0.6


def test_weights_in_half_precision_are_trained_in_float32(tmp_path: Path) -> None:
    write("qwen2.5", tmp_path / "model", torch.bfloat16)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert {p.dtype for p in load_model(tmp_path / "model", 0)[0].parameters()} == {torch.float32}


OWN = """
from pathlib import Path
from transformers import Qwen2Config, Qwen2ForCausalLM

Path({mark!r}).touch()


class OwnConfig(Qwen2Config):
    model_type = "own"


class OwnForCausalLM(Qwen2ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of a kind of its own, whose code leaves a mark where it is executed."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (folder / "own.py").write_text(OWN.format(mark=str(tmp_path / "executed")), encoding="utf-8")
    kinds = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    configured(folder, model_type="own", architectures=["OwnForCausalLM"], auto_map=kinds)
    return folder


def test_code_that_comes_with_a_model_is_not_executed(own: Path, tmp_path: Path) -> None:
    refused(own, r"comes with Python code of its own, which is not executed; .* set trust_remote_code: true in the re")
    assert not (tmp_path / "executed").exists()


def test_code_that_is_trusted_is_executed_and_told(own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny(tmp_path, model=str(own), warmup=None, trust_remote_code=True, steps=1, lora=None)
    seen = preview(recipe)
    assert seen.model.parameters > 0
    assert f"Python code that comes with the model '{own}' is executed" in caplog.text
    assert (tmp_path / "executed").exists()
    train(recipe)
    told = [note["text"] for note in read_jsonl(recipe.folder / "notes.jsonl")]
    assert any("trust_remote_code is on" in text for text in told)
    saved = recipe.folder / "checkpoints" / "step-000001" / "model"
    model, _ = load_model(saved, 0, trust=True)
    assert type(model).__name__ == "OwnForCausalLM"
    refused(saved, "comes with Python code of its own")
    with pytest.raises(UserError, match="give --trust-remote-code"):
        export(recipe.folder, tmp_path / "out")
    assert export(recipe.folder, tmp_path / "out", trust=True).difference < 1e-5
    for arguments in (["export", str(recipe.folder), str(tmp_path / "two")], ["eval", str(recipe.folder)]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2, done.output
        assert "give --trust-remote-code" in done.stderr


def test_another_model_than_the_recipes_is_not_trusted(own: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(own, tmp_path / "other"))
    recipe = tiny(tmp_path, model=str(own), warmup=None, trust_remote_code=True)
    assert recipe.trusts(own)
    assert recipe.trusts(recipe.folder / "checkpoints" / "step-000001" / "model")
    assert not recipe.trusts(other)
    with pytest.raises(UserError, match="comes with Python code of its own"):
        load(recipe, other)
    assert not (tmp_path / "executed").exists()


def test_trusted_code_makes_no_quantised_weights_trainable(own: Path) -> None:
    configured(own, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UserError, match=r"quantised weights \(gptq\)"):
        outline(own, 0, trust=True)
