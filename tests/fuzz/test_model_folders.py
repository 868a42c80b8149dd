"""Model folders with files that are gone, cut off, flipped, or say something else: loaded, or one sentence."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import tiny
from fuzzing import as_json, fuzz, plain_values, refused, spoilt, torn
from manyminds.errors import UserError
from manyminds.experts.rendering import Renderer
from manyminds.loading import context_of, load_model, outline, stop_ids
from manyminds.records import Expert, Question
from manyminds.tasks.arithmetic_model import create

pytestmark = pytest.mark.usefixtures("quiet")

TEMPLATES = (
    "{{ raise_exception('no') }}",
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}",
    "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    *(
        "{{ 1 / 0 }}",
        "{{ messages[9].content }}",
        "{{ nothing.at.all }}",
        "{% for %}",
        "{{",
        "",
        "{# #}",
        "same for all",
    ),
    *(
        "{{ messages }}",
        "{{ messages[0]['content'] + 1 }}",
        "{% set x = namespace() %}{{ x.y.z }}",
        "{{ strftime_now('%Y') }}",
    ),
)


@cache
def wholes() -> tuple[Path, Path]:
    """A small model in one file of weights, and one in several."""
    place = Path(tempfile.mkdtemp())
    create(place / "one", 0, hidden=16, layers=1, heads=2)
    model, tokenizer = load_model(place / "one", 0)
    model.save_pretrained(place / "several", max_shard_size="4KB")
    tokenizer.save_pretrained(place / "several")
    return place / "one", place / "several"


@pytest.fixture(autouse=True)
def made() -> None:
    """So that no model is made while inputs are drawn."""
    wholes()


def opened(folder: Path) -> None:
    """What `check` and `train` do with a folder before the first question is asked."""
    seen = outline(str(folder), 0)
    renderer = Renderer(seen.tokenizer, seen.context, 8, {}, seen.words)
    renderer.render(Question("q", "1+1", "2", "1+1=2"), [Expert("a", "You are the concise expert.")])
    model, tokenizer = load_model(str(folder), 0)
    stop_ids(model, tokenizer)
    context_of(model.config, tokenizer)


def again(place: Path, source: Path) -> Path:
    """A copy to be spoilt."""
    shutil.rmtree(place / "model", ignore_errors=True)
    return Path(shutil.copytree(source, place / "model"))


@st.composite
def accidents(draw: st.DrawFn) -> tuple[int, str, bytes | None]:
    number = draw(st.integers(0, 1))
    file = draw(st.sampled_from(sorted(path.name for path in wholes()[number].iterdir())))
    data = (wholes()[number] / file).read_bytes()
    return number, file, draw(st.one_of(st.none(), torn(data)))


@fuzz("model files", accidents())
def test_files(case: tuple[int, str, bytes | None], place: Path) -> None:
    """A file that is gone, cut off, flipped, empty."""
    number, file, data = case
    folder = again(place, wholes()[number])
    (folder / file).unlink()
    if data is not None:
        (folder / file).write_bytes(data)
    refused(lambda: opened(folder), "model:")


INDEX = "model.safetensors.index.json"
JSONS = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", INDEX)
SIZES = re.compile(r"_(size|layers|heads|embeddings|dim)\": (\d{5,}|1e\+?300)")
"""Sizes that no machine has the memory for; they are no mistake that a file could show."""


@st.composite
def settings(draw: st.DrawFn) -> tuple[str, str]:
    file = draw(st.sampled_from(JSONS))
    its = json.loads((wholes()[1] / file).read_text(encoding="utf-8"))
    if file == "tokenizer_config.json" and draw(st.booleans()):
        key = draw(st.sampled_from(["chat_template", "eos_token", "bos_token", "unk_token", "model_max_length"]))
        its[key] = draw(st.one_of(st.sampled_from(TEMPLATES), plain_values))
        return file, as_json(its)
    made, _ = draw(spoilt(st.just(its)))
    return file, as_json(made)


@fuzz("model settings", settings().filter(lambda case: not SIZES.search(case[1])))
def test_settings(case: tuple[str, str], place: Path) -> None:
    """A configuration, tokenizer or index that says something else, and chat templates that refuse or say nothing."""
    file, text = case
    folder = again(place, wholes()[1])
    (folder / file).write_text(text, encoding="utf-8")
    refused(lambda: opened(folder), "model:")


def test_what_the_others_are_made_from_is_valid() -> None:
    for folder in wholes():
        assert refused(lambda folder=folder: opened(folder)) is None
    assert len(list(wholes()[1].glob("*.safetensors"))) > 2


def spoil(folder: Path, file: str, **changes: Any) -> None:
    its = json.loads((folder / file).read_text(encoding="utf-8")) | changes
    (folder / file).write_text(json.dumps({key: value for key, value in its.items() if value != "gone"}))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = again(tmp_path, wholes()[1])
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(
        UserError, match=f"model: .*{lost.name} is not there, though model.safetensors.index.json names it"
    ):
        opened(folder)


def test_a_tokenizer_without_an_end_of_sequence(tmp_path: Path) -> None:
    folder = again(tmp_path, wholes()[0])
    spoil(folder, "tokenizer_config.json", eos_token="gone")
    with pytest.raises(
        UserError, match=r"model: its tokenizer has no end-of-sequence token, .* name one as `eos_token`"
    ):
        opened(folder)


def test_a_tokenizer_without_a_chat_template_is_told(tmp_path: Path) -> None:
    folder = again(tmp_path, wholes()[0])
    (folder / "chat_template.jinja").unlink()
    opened(folder)
    renderer = Renderer(outline(str(folder), 0).tokenizer, 256)
    renderer.prompt_ids(Question("q", "1+1", "2"), Expert("a", "+"))
    assert any("has no chat template" in note for note in renderer.notes)


def test_a_template_that_forbids_a_system_role_is_told(tmp_path: Path) -> None:
    folder = again(tmp_path, wholes()[0])
    (folder / "chat_template.jinja").write_text(TEMPLATES[1])
    opened(folder)
    renderer = Renderer(outline(str(folder), 0).tokenizer, 256)
    renderer.prompt_ids(Question("q", "1+1", "2"), Expert("a", "+"))
    assert any("no system role" in note for note in renderer.notes)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("chat_template.jinja", "{# nothing #}", "its chat template makes nothing of question 'q'; mend"),
        ("chat_template.jinja", "{{ 1 / 0 }}", "its chat template cannot render question 'q': division by zero"),
        ("tokenizer.json", "{}", "cannot be loaded as a causal language model"),
        ("tokenizer.json", "{", "tokenizer.json is not a valid JSON file"),
        ("config.json", "[]", "config.json must hold a JSON object"),
        ("generation_config.json", '{"eos_token_id": "x"}', "`eos_token_id` in its generation_config.json is 'x'"),
        ("model.safetensors.index.json", '{"weight_map": 3}', "has no `weight_map` from weights to files"),
    ],
)
def test_files_that_once_ended_in_a_traceback(tmp_path: Path, file: str, content: str, said: str) -> None:
    folder = again(tmp_path, wholes()[1])
    (folder / file).write_text(content)
    with pytest.raises(UserError) as error:
        opened(folder)
    assert said in str(error.value)


@pytest.mark.parametrize("context", ["long", -1, True, [256]])
def test_a_context_that_is_no_number(context: Any) -> None:
    from types import SimpleNamespace

    with pytest.raises(UserError, match=r"model: its context is .*; give `max_position_embeddings` in its config.json"):
        context_of(SimpleNamespace(max_position_embeddings=context), tiny.tokenizer())


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a/b/c"])
def test_a_name_that_no_folder_can_have(name: str) -> None:
    with pytest.raises(UserError, match="cannot be loaded as a causal language model"):
        outline(name, 0)
