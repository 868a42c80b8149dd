"""A chat template with an expert's message in it renders that expert's prompts, and leaves other messages alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from manyminds.errors import UserError
from manyminds.experts import baking
from manyminds.experts.baking import baked
from manyminds.experts.rendering import Renderer
from manyminds.records import PLAIN, Expert, Question

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</>{% endfor %}"
ASK = "{% if add_generation_prompt %}<assistant>{% endif %}"
DEFAULT = "{% if messages[0]['role'] != 'system' %}<system>You are helpful.</>{% endif %}"
FORBIDS = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
DROPS = "{% for m in messages if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
FIRST = "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}[{{ messages[0]['content'] }}]{% else %}\
{% set rest = messages %}{% endif %}{% for m in rest %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
TEMPLATES = {
    "roles": TURNS + ASK,
    "a message of its own": DEFAULT + TURNS + ASK,
    "no system role": FORBIDS + TURNS + ASK,
    "dropped in silence": DROPS + ASK,
    "first apart": FIRST + ASK,
    "base model": None,
}
SYSTEMS = ["You are brief.", 'Say "x" {{ not a variable }}\n\nand C:\\dir — 中 😀, it\'s {% raw %}']
QUESTION = Question("q", "How many?", "")


def tokenizer(template: str | None) -> Any:
    """Bytes; whatever text comes, it can be spelled."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>")
    made.chat_template = template
    return made


@pytest.mark.parametrize("system", SYSTEMS, ids=["plain", "awkward"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_plain_prompt_becomes_the_experts(template: str | None, system: str, tmp_path: Path) -> None:
    """After it was saved and loaded again, as a user would."""
    words, expert = tokenizer(template), Expert("one", system)
    baked(words, expert, 9999).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert Renderer(again, 9999).prompt_ids(QUESTION, Expert(PLAIN)) == Renderer(words, 9999).prompt_ids(
        QUESTION, expert
    )
    assert words.chat_template == template


@pytest.mark.parametrize("template", [TEMPLATES["roles"], TEMPLATES["a message of its own"], TEMPLATES["first apart"]])
def test_a_message_that_is_sent_stays(template: str) -> None:
    words = tokenizer(template)
    sent = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "How many?"}]
    made = baked(words, Expert("one", "You are brief."), 9999)
    assert made.apply_chat_template(sent, tokenize=False) == words.apply_chat_template(sent, tokenize=False)


@pytest.mark.parametrize("thinking", [True, False])
def test_options_of_the_template_stay_as_they_were_in_training(thinking: bool, tmp_path: Path) -> None:
    """A template with a switch for thinking, which is on if nobody says otherwise, and a text."""
    switch = "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{{ mood }}"
    words, expert = tokenizer(TURNS + ASK + switch), Expert("one", "You are brief.")
    options = {"enable_thinking": thinking, "mood": 'calm "and" slow'}
    baked(words, expert, 9999, options).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    wanted = Renderer(words, 9999, options=options).prompt_ids(QUESTION, expert)
    assert Renderer(again, 9999).prompt_ids(QUESTION, Expert(PLAIN)) == wanted
    assert ("<think></think>" in words.decode(wanted)) is not thinking
    other = Renderer(again, 9999, options={"enable_thinking": not thinking}).prompt_ids(QUESTION, Expert(PLAIN))
    assert other != wanted


def test_an_expert_without_a_message_changes_nothing() -> None:
    words = tokenizer(TEMPLATES["roles"])
    assert baked(words, Expert("one"), 9999).chat_template == words.chat_template


def test_a_template_that_will_not_have_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baking, "_template", lambda words, system, renderer: words.chat_template)
    with pytest.raises(UserError, match="does not take in the system message of expert 'one'"):
        baked(tokenizer(TEMPLATES["roles"]), Expert("one", "You are brief."), 9999)
