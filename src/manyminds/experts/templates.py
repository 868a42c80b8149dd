"""What a chat template does that nobody asked it to: it prints today's date, adds a system message, closes a turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from manyminds.errors import UserError
from manyminds.records import Ids

HELD = date(2024, 7, 26)
"""The day that it is in every prompt: the one that Llama 3's own template falls back to."""
DATES = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
MACRO = "{%- macro strftime_now(format) -%}CASES{%- endmacro -%}"
MARKER = "nobody-would-write-this"


def template_of(tokenizer: Any) -> str | None:
    """The tokenizer's chat template, of several the default one, with its date held; None if there is none.

    A prompt that changes from day to day could not be trained on, resumed or baked into an export. Raises UserError if
    there are several templates and none is the default.
    """
    found = tokenizer.chat_template
    if isinstance(found, Mapping):
        if "default" not in found:
            raise UserError(
                f"model: its tokenizer has the chat templates {', '.join(sorted(found))} and none named `default`; set "
                "`chat_template` in its tokenizer_config.json to the one that is meant"
            )
        found = found["default"]
    return held(str(found)) if found else None


def held(template: str) -> str:
    """The template with `strftime_now` saying what it would on the day HELD, in every format that it is asked for."""
    formats = dict.fromkeys(form for _, form in DATES.findall(template))
    if not formats or "macro strftime_now" in template:
        return template
    cases = [f"{{%- if format == {form!r} -%}}{HELD.strftime(form)}{{%- endif -%}}" for form in formats]
    return MACRO.replace("CASES", "".join(cases)) + template


def prints_date(tokenizer: Any, template: str, options: Mapping[str, Any]) -> bool:
    """Whether a prompt holds the date HELD, because the template asked for today's."""
    text = _rendered(tokenizer, template, [{"role": "user", "content": "question"}], options)
    return any(HELD.strftime(form) in text for _, form in DATES.findall(template))


def own_system(tokenizer: Any, template: str, options: Mapping[str, Any]) -> str:
    """The system message that the template writes where a conversation has none; empty if it writes none."""
    asked = {"role": "user", "content": "question"}
    given = _rendered(tokenizer, template, [{"role": "system", "content": MARKER}, asked], options)
    none = _rendered(tokenizer, template, [asked], options)
    head, found, tail = given.partition(MARKER)
    if not found or len(none) < len(head) + len(tail) or not (none.startswith(head) and none.endswith(tail)):
        return ""
    return none[len(head) : len(none) - len(tail)].strip()


def closing_ids(tokenizer: Any, template: str | None, options: Mapping[str, Any]) -> Ids:
    """The token with which the template closes an answer, if it is one that text is never spelled with; else nothing.

    It need not be the tokenizer's end of sequence: Gemma's turns end in another, as do those of base models that were
    given a template for chats.
    """
    if template is None:
        return ()
    said = [{"role": "user", "content": "question"}, {"role": "assistant", "content": MARKER}]
    after = _rendered(tokenizer, template, said, options, asks=False).rpartition(MARKER)[2]
    ids = tokenizer.encode(after, add_special_tokens=False) if after else []
    return (int(ids[0]),) if ids and ids[0] in tokenizer.added_tokens_decoder else ()


def template_errors() -> tuple[type[Exception], ...]:
    """What a chat template raises: its own refusals, and the errors of templates that assume the role is absent."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def _rendered(
    tokenizer: Any, template: str, messages: list[dict[str, str]], options: Mapping[str, Any], *, asks: bool = True
) -> str:
    """The conversation as text; empty if the template refuses it."""
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=asks, tokenize=False, **options
            )
        )
    except template_errors():
        return ""
