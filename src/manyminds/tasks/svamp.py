"""SVAMP: short word problems with misleading numbers, each with its equation (Patel et al. 2021, arXiv 2103.07191)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyminds.rewards.number_answer import one_spelling, read_number
from manyminds.tasks.equations import Operation, operations, program, stepwise
from manyminds.tasks.rows import Row
from manyminds.tasks.worded import Kind, Style, loader


def computed(row: Row) -> tuple[Operation, ...]:
    """The operations of the row's equation; nothing if they do not come to its answer."""
    done = operations(row.text("equation", optional=True))
    return done if done and done[-1].value == read_number(row.text("answer")) else ()


def extras(row: Row) -> Mapping[str, Any]:
    kind = row.text("type", optional=True)
    return {"family": kind} if kind else {}


DERIVED = "derived from the column `equation`"
STYLES = (
    Style(
        "equation",
        "You solve word problems with a single equation over the numbers of the question, and no words.",
        lambda row: row.text("equation") if computed(row) else None,
        "human",
    ),
    Style(
        "steps",
        "You solve word problems one operation per line, each with its result, and no words.",
        lambda row: stepwise(computed(row)) or None,
        DERIVED,
    ),
    Style(
        "program",
        "You solve word problems as a straight-line Python program: one operation per line, the last sets `answer`.",
        lambda row: program(done) if (done := computed(row)) else None,
        DERIVED,
    ),
    Style("gpt4_cot", "You solve word problems by thinking aloud in a few sentences.", by="GPT-4"),
    Style(
        "gpt4_least_to_most",
        "You solve word problems by asking and answering smaller questions (Q1, Q2, …), then the question itself.",
        by="GPT-4",
    ),
    Style(
        "gpt4_program",
        "You solve word problems as a Python program; a comment before each line says which question it answers.",
        by="GPT-4",
    ),
    Style(
        "gpt4_bare_program",
        "You solve word problems as a Python program with telling names and no comments.",
        by="GPT-4",
    ),
    Style("gpt35_cot", "You solve word problems by explaining each step in plain sentences.", by="GPT-3.5"),
    Style(
        "codex_program",
        "You solve word problems as a Python program; each comment numbers the question that its line answers.",
        by="Codex",
    ),
)

KIND = Kind(
    name="svamp",
    asks='End with a line of the form "#### NUMBER".',
    marker="####",
    reward="number_answer",
    gold="a number",
    styles=STYLES,
    licence="MIT (arkilpatel/SVAMP, © 2021 Arkil Patel).",
    models_licence="Those by models: MIT (veronica320/Faithful-COT, © 2023 Qing Lyu).",
    canonical=one_spelling,
    extras=extras,
)

svamp = loader(KIND)
