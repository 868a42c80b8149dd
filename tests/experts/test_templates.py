"""What chat templates do of their own accord: dates, system messages, ends of turns."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from transformers.utils import chat_template_utils

from families import FAMILIES, tokenizer_of
from manyminds.errors import UserError
from manyminds.experts.baking import baked
from manyminds.experts.rendering import DATED, OWN_SYSTEM, Renderer, end_of_answer
from manyminds.experts.templates import held, own_system, template_of
from manyminds.records import PLAIN, Expert, Question

QUESTION = Question("q", "How many?", "")
EXPERT = Expert("one", "You are brief.")


class Tomorrow(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Tomorrow:
        return cls(2031, 5, 6)


@pytest.mark.parametrize("name", ["llama3", "smollm3"])
def test_prompts_are_the_same_on_another_day_also_when_exported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tokenizer_of(FAMILIES[name])
    today = Renderer(words, 9999).prompt_ids(QUESTION, EXPERT)
    made = baked(words, EXPERT, 9999)
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    chat_template_utils._compile_jinja_template.cache_clear()
    asked = [{"role": "user", "content": QUESTION.text}]
    assert "2031" in words.apply_chat_template(asked, tokenize=False)
    assert Renderer(words, 9999).prompt_ids(QUESTION, EXPERT) == today
    assert "2024" in words.decode(today)
    again = made.apply_chat_template(asked, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert tuple(again) == today


def test_each_format_of_a_date_is_kept_and_a_template_without_one_is_untouched() -> None:
    words = tokenizer_of(FAMILIES["llama3"])
    words.chat_template = held("{{ strftime_now('%Y') }} {{ strftime_now(\"%d.%m.\") }}{{ messages[0]['content'] }}")
    assert words.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "2024 26.07.x"
    assert held(words.chat_template) == words.chat_template
    assert held("{{ messages }}") == "{{ messages }}"


def test_a_date_of_ones_own_stands_and_needs_no_note() -> None:
    made = Renderer(tokenizer_of(FAMILIES["llama3"]), 9999, options={"date_string": "1 Jan 1970"})
    assert "Today Date: 1 Jan 1970" in made.tokenizer.decode(made.prompt_ids(QUESTION, EXPERT))
    assert DATED not in made.notes
    assert DATED in Renderer(tokenizer_of(FAMILIES["llama3"]), 9999).notes


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("qwen2.5", "You are Qwen, a helpful assistant."),
        ("smollm3", "You are a helpful AI assistant named SmolLM."),
        ("qwen3", ""),
        ("llama3", ""),
        ("gemma2", ""),
        ("gemma3", ""),
        ("mistral", ""),
    ],
)
def test_a_templates_own_system_message_is_found(name: str, own: str) -> None:
    words = tokenizer_of(FAMILIES[name])
    assert own_system(words, template_of(words) or "", {}) == own
    made = Renderer(words, 9999)
    assert (OWN_SYSTEM.format(own) in made.notes) is bool(own)
    if own:
        assert own in words.decode(made.prompt_ids(QUESTION, Expert(PLAIN)))
        assert own not in words.decode(made.prompt_ids(QUESTION, EXPERT))


def test_a_chat_template_on_a_base_model_says_where_answers_end() -> None:
    """As Qwen's base models: the document ends otherwise than the turn."""
    words = tokenizer_of(FAMILIES["qwen2.5"])
    words.eos_token = "<|endoftext|>"
    assert end_of_answer(words) == words.convert_tokens_to_ids("<|im_end|>")
    assert Renderer(words, 9999).solution_ids("7")[-1] == end_of_answer(words)
    words.chat_template = "{% for m in messages %}{{ m['content'] }} and so on{% endfor %}"
    assert end_of_answer(words) == words.eos_token_id
    words.chat_template = None
    assert end_of_answer(words) == words.eos_token_id


def test_of_several_templates_the_default_is_meant() -> None:
    words = tokenizer_of(FAMILIES["qwen2.5"])
    several = {"default": words.chat_template, "tool_use": "{{ tools }}"}
    wanted = Renderer(words, 9999).prompt_ids(QUESTION, EXPERT)
    words.chat_template = several
    assert Renderer(words, 9999).prompt_ids(QUESTION, EXPERT) == wanted
    assert Renderer(baked(words, EXPERT, 9999, {"mood": "x"}), 9999).prompt_ids(QUESTION, Expert(PLAIN)) == wanted
    words.chat_template = {"rag": "", "tool_use": "{{ tools }}"}
    with pytest.raises(UserError, match=r"chat templates rag, tool_use and none named `default`"):
        Renderer(words, 9999)


def test_thinking_switches_change_the_prompt() -> None:
    for name, empty in (("qwen3", "<think>\n\n</think>\n\n"), ("smollm3", "<think>\n\n</think>\n")):
        words = tokenizer_of(FAMILIES[name])
        off = words.decode(Renderer(words, 9999, options={"enable_thinking": False}).prompt_ids(QUESTION, EXPERT))
        on = words.decode(Renderer(words, 9999).prompt_ids(QUESTION, EXPERT))
        assert off.endswith(empty)
        assert "<think>" not in on
