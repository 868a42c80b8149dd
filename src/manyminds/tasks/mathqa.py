"""MathQA: five options, a written rationale and an operation program (Amini et al. 2019, arXiv 1905.13319).

Its labels are noisy: more than a quarter of the programs do not compute the marked option. Those are not taught.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from manyminds.errors import UserError
from manyminds.rewards.choice_answer import read_letter
from manyminds.tasks.rows import Row
from manyminds.tasks.worded import Kind, Style, loader

STATED = re.compile(r"\b(?:answer|ans|option)\b(?:\s+is)?\s*[:=.-]*\s*(?:option\s+)?\(?\s*([a-e])\b", re.IGNORECASE)


def put(row: Row) -> str:
    """The question, and its options one a line."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "\n".join([row.text("question"), *(f"{a}) {b}" for a, b in zip(letters, options(row), strict=False))])


def options(row: Row) -> list[str]:
    """The texts of the options, in the order of their letters."""
    found = row.columns.get("options")
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise UserError(f"{row.place}: `options` must be a list of texts, not {json.dumps(found)[:60]}.")
    return found


def extras(row: Row) -> Mapping[str, Any]:
    category = row.text("category", optional=True)
    return {"options": options(row)} | ({"family": category} if category else {})


def rationale(row: Row) -> str | None:
    """The human rationale, if the last letter it states is the gold one."""
    text = row.text("rationale", optional=True)
    stated = STATED.findall(text)
    return text if stated and stated[-1].lower() == row.text("answer").lower() else None


def formula(row: Row, column: str) -> str | None:
    """A program of the row, if its value was found to be that of the marked option."""
    right = row.columns.get("formula_matches_answer") is True
    return row.text(column, optional=True).rstrip("|") or None if right else None


KIND = Kind(
    name="mathqa",
    asks='End with a line of the form "answer: LETTER".',
    marker="answer:",
    reward="choice_answer",
    gold="the letter of one of the options",
    styles=(
        Style(
            "rationale",
            "You solve multiple-choice word problems with a short written rationale: what is given, what is asked, and "
            "the calculation.",
            rationale,
            "human",
        ),
        Style(
            "nested_formula",
            "You solve multiple-choice word problems with one nested expression of named operations, such as "
            "divide(multiply(3, 4), 2), and no words.",
            lambda row: formula(row, "annotated_formula"),
            "human",
        ),
        Style(
            "linear_formula",
            "You solve multiple-choice word problems with a sequence of named operations separated by |, where n0 is "
            "the first number of the question and #0 the first result, and no words.",
            lambda row: formula(row, "linear_formula"),
            "human",
        ),
        Style(
            "program",
            "You solve multiple-choice word problems as a straight-line Python program: the numbers of the question "
            "first, then one operation per line, the last one to `answer`.",
        ),
    ),
    licence="MathQA: Apache-2.0 (Amini et al. 2019); its Python programs: CC BY 4.0 (allenai/Lila).",
    canonical=lambda text: read_letter(text) or text.strip(),
    put=put,
    answer=lambda row: row.text("answer").lower(),
    extras=extras,
)

mathqa = loader(KIND)
