"""How a question becomes token ids, under templates with, without and against a system role."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from manyminds.errors import UserError
from manyminds.experts.rendering import NO_SYSTEM_ROLE, NO_TEMPLATE, NO_TEMPLATE_TURNS, TWO_SYSTEM_MESSAGES, Renderer
from manyminds.records import PLAIN, Expert, Question
from manyminds.tasks.arithmetic import EXPERTS, question
from manyminds.tasks.arithmetic_model import tokenizer

ASKED = question("division", 907, 8)
TURNS = "{% for m in messages %}{{ m['role'][:1] }}:{{ m['content'] }}{% endfor %}="
FORBIDS = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
)
DROPS = "{% for m in messages if m['role'] == 'user' %}:{{ m['content'] }}{% endfor %}="
ROLES = "{% for m in messages %}[{{ m['role'] }}:{{ m['content'] }}]{% endfor %}"
NO_ROLE = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
BREAKS = "{{ raise_exception('nothing will do') }}"


def renderer(template: str | None, context: int = 256, max_tokens: int = 60) -> Renderer:
    words = tokenizer()
    words.chat_template = template
    return Renderer(words, context, max_tokens)


def letters(template: str | None) -> Any:
    """A tokenizer that can spell everything."""
    spelling = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words = Tokenizer(models.BPE(vocab=spelling, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>")
    made.chat_template = template
    return made


def test_system_role_is_used() -> None:
    made = renderer(tokenizer().chat_template)
    words = made.tokenizer
    assert made.prompt_ids(ASKED, EXPERTS[0]) == tuple(
        words.convert_tokens_to_ids(["<bos>", "You are the concise expert.", *"907/8="])
    )
    assert made.prompt_ids(ASKED, Expert(PLAIN)) == tuple(words.convert_tokens_to_ids(["<bos>", *"907/8="]))
    assert made.notes == []


@pytest.mark.parametrize(("template", "turn"), [(FORBIDS, "<unk>:"), (DROPS, ":")])
def test_system_message_is_folded_into_the_user_turn(template: str, turn: str) -> None:
    made = renderer(template)
    ids = [made.prompt_ids(ASKED, expert) for expert in EXPERTS]
    for expert, row in zip(EXPERTS, ids, strict=True):
        assert made.tokenizer.decode(row) == f"{turn}{expert.system}<unk><unk>907/8="
    assert made.tokenizer.decode(made.prompt_ids(ASKED, Expert(PLAIN))) == f"{turn}907/8="
    assert made.notes == [NO_SYSTEM_ROLE]


def test_plain_prompt_alone_needs_no_note() -> None:
    made = renderer(FORBIDS)
    made.prompt_ids(ASKED, Expert(PLAIN))
    assert made.notes == []


def test_without_template() -> None:
    made = renderer(None)
    words = made.tokenizer
    for _ in range(2):
        ids = made.prompt_ids(ASKED, EXPERTS[1])
    # The two line breaks between message and question, and the one at the end, are not in this vocabulary.
    assert words.decode(ids) == "You are the deliberate expert.<unk><unk>907/8<unk>"
    assert words.decode(made.prompt_ids(ASKED, Expert(PLAIN))) == "907/8<unk>"
    assert made.notes == [NO_TEMPLATE]


def test_without_template_an_end_of_sequence_is_taken_off() -> None:
    from tokenizers.processors import TemplateProcessing

    made = renderer(None)
    made.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert made.tokenizer.decode(made.prompt_ids(ASKED, Expert(PLAIN))) == "<bos>907/8<unk>"
    assert made.solution_ids("#1") == (*made.tokenizer.convert_tokens_to_ids(["#", "1"]), 2)


def asked_in(*turns: str) -> Question:
    """A conversation written as `role content`."""
    messages = tuple((role, content) for role, _, content in (turn.partition(" ") for turn in turns))
    return Question("c", messages[-1][1], "1", messages=messages)


EXPERT = Expert("one", "SYS")


@pytest.mark.parametrize(
    ("template", "plain", "expert"),
    [
        (
            ROLES,
            "[system:own][user:1+1][assistant:2][user:4?]",
            "[system:SYS\n\nown][user:1+1][assistant:2][user:4?]",
        ),
        (
            NO_ROLE + ROLES,
            "[user:own\n\n1+1][assistant:2][user:4?]",
            "[user:SYS\n\nown\n\n1+1][assistant:2][user:4?]",
        ),
        (None, "own\n\n1+1\n\n2\n\n4?\n", "SYS\n\nown\n\n1+1\n\n2\n\n4?\n"),
    ],
    ids=["system role", "no system role", "no template"],
)
def test_a_conversation_keeps_its_system_message_after_the_experts(template: str, plain: str, expert: str) -> None:
    made = Renderer(letters(template), 256)
    question = asked_in("system own", "user 1+1", "assistant 2", "user 4?")
    assert made.tokenizer.decode(made.prompt_ids(question, Expert(PLAIN))) == plain
    assert TWO_SYSTEM_MESSAGES not in made.notes
    assert made.tokenizer.decode(made.prompt_ids(question, EXPERT)) == expert
    assert TWO_SYSTEM_MESSAGES in made.notes
    assert (NO_TEMPLATE_TURNS in made.notes) == (template is None)


def test_a_conversation_may_begin_with_the_assistant() -> None:
    question = asked_in("assistant Ask me.", "user 2+2")
    made = Renderer(letters(ROLES), 256)
    assert made.tokenizer.decode(made.prompt_ids(question, EXPERT)) == "[system:SYS][assistant:Ask me.][user:2+2]"
    made = Renderer(letters(NO_ROLE + ROLES), 256)
    assert made.tokenizer.decode(made.prompt_ids(question, EXPERT)) == "[user:SYS][assistant:Ask me.][user:2+2]"


def test_broken_template() -> None:
    with pytest.raises(UserError, match=r"cannot render question '907/8' \(arithmetic 907/8\): nothing will do"):
        renderer(BREAKS).prompt_ids(ASKED, EXPERTS[0])


def test_render_fills_everything_and_changes_nothing_else() -> None:
    made = renderer(tokenizer().chat_template)
    full = made.render(ASKED, EXPERTS)
    assert set(full.prompt_ids) == {"concise", "deliberate", "structured", PLAIN}
    assert full.solution_ids == made.solution_ids(ASKED.solution) == full.traces["concise"].ids
    assert full.solution_ids[-1] == 2
    assert made.tokenizer.decode(full.solution_ids[:-1]) == ASKED.solution
    assert [t.text for t in full.traces.values()] == [t.text for t in ASKED.traces.values()]
    assert (full.id, full.text, full.answer) == (ASKED.id, ASKED.text, ASKED.answer)
    bare = made.render(Question("q", "1+1", "2"), ())
    assert bare.solution_ids == ()
    assert bare.traces == {}
    assert set(bare.prompt_ids) == {PLAIN}


def test_tokenizer_without_end() -> None:
    words = tokenizer()
    words.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        Renderer(words, 256)
