"""Puts an expert's system message into a chat template, so that a prompt without one is that expert's prompt."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from manyminds.errors import UserError
from manyminds.experts.rendering import Renderer
from manyminds.records import PLAIN, Expert, Question

PROBES = ("What is 2 + 2?", 'One line.\n\nAnd another, with {braces} and "quotes".', "é × 中")
WITH_ROLE = """\
{%- if messages and messages[0]['role'] != 'system' -%}
{%- set messages = [{'role': 'system', 'content': SYSTEM}] + messages -%}
{%- endif -%}
"""
IN_USERS_TURN = """\
{%- if messages and messages[0]['role'] == 'user' -%}
{%- set messages = [{'role': 'user', 'content': SYSTEM + '\\n\\n' + messages[0]['content']}] + messages[1:] -%}
{%- endif -%}
"""
BARE = "BEGIN{{ SYSTEM + '\\n\\n' }}{%- for message in messages -%}{{ message['content'] + '\\n' }}{%- endfor -%}"


def baked(tokenizer: Any, expert: Expert, context: int, options: Mapping[str, Any] | None = None) -> Any:
    """A copy of the tokenizer whose chat template speaks for `expert` where a conversation has no system message, and
    has these options where the caller does not say otherwise. A date in it is the one that training saw.

    Raises UserError if its prompts are not, token by token, those that the expert was trained under.
    """
    made = copy.deepcopy(tokenizer)
    before = Renderer(tokenizer, context, options=options)
    made.chat_template = _template(tokenizer, expert.system, before) if expert.system else before.template
    if made.chat_template:
        made.chat_template = "".join(map(_option, before.options.items())) + made.chat_template
    after = Renderer(made, context)
    for text in PROBES:
        question = Question("probe", text, "")
        if after.prompt_ids(question, Expert(PLAIN)) != before.prompt_ids(question, expert):
            raise UserError(
                f"this model's chat template does not take in the system message of expert '{expert.name}'; export "
                "without --expert, and send the message with every conversation"
            )
    return made


def _option(option: tuple[str, Any]) -> str:
    name, value = option
    literal = str(value).lower() if isinstance(value, bool) else _literal(value) if isinstance(value, str) else value
    return f"{{%- if {name} is not defined -%}}{{%- set {name} = {literal} -%}}{{%- endif -%}}"


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _template(tokenizer: Any, system: str, renderer: Renderer) -> str:
    literal = _literal(system)
    if not renderer.template:
        begins = tokenizer.encode("a", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
        return BARE.replace("BEGIN", "{{ bos_token }}" if begins else "").replace("SYSTEM", literal)
    head = WITH_ROLE if renderer.has_system_role(system) else IN_USERS_TURN
    return head.replace("SYSTEM", literal) + renderer.template
