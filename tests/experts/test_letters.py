"""Questions that a tokenizer cannot spell are told of, whatever else stands in their prompts."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from manyminds.experts.rendering import Renderer
from manyminds.records import Expert, Question
from manyminds.tasks.arithmetic_model import tokenizer

EXPERT = Expert("one", "+" * 40)
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}="


def asked(name: str, text: str) -> Question:
    return Question(name, text, "1", source=f"mine.jsonl:{name}")


def note_of(words: Any, *questions: Question, experts: tuple[Expert, ...] = (EXPERT,)) -> str:
    """All notes after these questions were rendered, as one text."""
    words.chat_template = TEMPLATE
    made = Renderer(words, 256)
    for question in questions:
        made.render(question, experts)
    return "\n".join(made.notes)


def fusing() -> Any:
    """A tokenizer that puts one unknown token in the place of a whole word."""
    core = Tokenizer(models.WordLevel({"<eos>": 0, "<unk>": 1, "how": 2, "many": 3, "+": 4, "=": 5}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


def spelling(**more: str) -> Any:
    """A byte-level tokenizer, which knows every letter."""
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=letters, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", **more)


def test_questions_in_unknown_letters_are_counted_with_the_first_place() -> None:
    known, lost, half = asked("1", "1+1"), asked("2", "сколько будет 1+1"), asked("3", "дщ1+")
    assert note_of(tokenizer(), known, half) == ""
    assert note_of(tokenizer(), known, lost, half, asked("4", "двадцать"), lost) == (
        "2 of 4 questions have a prompt more than half of whose letters the tokenizer does not know, such as "
        "mine.jsonl:2, prompt 'plain': they become `<unk>`, so that the model cannot tell what they say; take a model "
        "whose tokenizer knows them."
    )


def test_a_system_message_in_unknown_letters_is_told_with_its_expert() -> None:
    said = note_of(tokenizer(), asked("1", "1+1"), experts=(Expert("ru", "Отвечай коротко"), EXPERT))
    assert said.startswith("1 of 1 questions")
    assert "mine.jsonl:1, prompt 'ru'" in said


def test_letters_are_counted_where_one_token_stands_for_many() -> None:
    # two of five tokens are unknown, but most of the letters
    some = asked("1", "how many + двадцать пятнадцать"), asked("2", "how many + = двадцать")
    assert "1 of 2 questions have a prompt" in note_of(fusing(), *some, experts=())


@pytest.mark.parametrize("more", [{}, {"unk_token": "<eos>"}], ids=["without an unknown token", "which is the end"])
def test_a_byte_level_tokenizer_knows_every_letter(more: dict[str, str]) -> None:
    assert note_of(spelling(**more), asked("1", "сколько будет 1+1"), asked("2", "<eos>")) == ""
