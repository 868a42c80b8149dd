"""GSM8K: grade-school word problems whose solutions carry calculator annotations (Cobbe et al. 2021, arXiv 2110.14168).

`<<48/2=24>>` in a solution is what its author's calculator did. From them come two more styles than the plain text.
"""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from pathlib import Path

from manyminds.errors import UserError
from manyminds.rewards.number_answer import one_spelling, read_number
from manyminds.tasks.places import HUB, read_rows
from manyminds.tasks.rows import Row
from manyminds.tasks.sets import LAYOUT, Pools, read_folder
from manyminds.tasks.worded import Hub, Kind, Style, loader

ANNOTATION = re.compile(r"<<([^<>]*)>>")
LITERAL = re.compile(r"(?<![\w.])(\d+\.?\d*|\.\d+)", re.ASCII)
MARKER = "####"
HELD_OUT = 500
"""Questions of the hub's training split that are kept for validation."""


def answer(row: Row) -> str:
    """The final number: `answer`, or on the hub what stands in it after `####`."""
    return row.text("answer").rpartition(MARKER)[2].strip().replace(",", "")


def solution(row: Row) -> str:
    """The annotated solution without its last line: `solution`, or on the hub `answer`."""
    text = row.text("solution", "answer", optional=True)
    return text.rpartition(MARKER)[0].strip() if MARKER in text else ""


def in_words(row: Row) -> str | None:
    """The solution as it is read: without annotations."""
    return ANNOTATION.sub("", solution(row)) or None


def calculations(row: Row) -> list[tuple[str, str]]:
    """Each annotation as (expression, result); nothing if there is none, or the last result is not the answer."""
    found = [(left, right) for left, _, right in (one.rpartition("=") for one in ANNOTATION.findall(solution(row)))]
    due = read_number(answer(row))
    return found if found and due is not None and read_number(found[-1][1]) == due else []


def equations(row: Row) -> str | None:
    """The annotations alone, one a line."""
    return "\n".join(f"{left.replace('=', ' = ')} = {right}" for left, right in calculations(row)) or None


def program(row: Row) -> str | None:
    """The annotations as straight-line Python: a number that was computed before is called by its latest name."""
    lines: list[str] = []
    results: dict[Fraction | None, str] = {}
    for place, (expression, result) in enumerate(calculations(row), start=1):
        named = LITERAL.sub(lambda literal: results.get(read_number(literal[0]), literal[0]), expression)
        lines.append(f"t{place} = {named}")
        results[read_number(result)] = f"t{place}"
    return "\n".join([*lines, f"answer = t{len(lines)}"]) if lines else None


def from_hub(data: str) -> Pools:
    """`openai/gsm8k`, or whatever `datasets` loads with the same columns: question, and answer with `#### n`.

    `HELD_OUT` training questions (at most a tenth), chosen by their text alone, are for validation; the test split is
    for the test. Raises UserError if `data` is neither a folder in our own layout nor such a data set.
    """
    if not Path(data).is_dir() and not HUB.fullmatch(data):
        return read_folder(data, "gsm8k")  # which says what is wrong
    train, test = _split(data, "train"), _split(data, "test")
    ranked = sorted(train, key=lambda row: hashlib.sha256(row.text("question").encode()).hexdigest())
    held = {row.number for row in ranked[: min(HELD_OUT, len(ranked) // 10)]}
    taught = tuple(row for row in train if row.number not in held)
    return Pools(data, taught, tuple(row for row in train if row.number in held), test)


def _split(data: str, split: str) -> tuple[Row, ...]:
    config = "" if Path(data).is_dir() else "@main"
    try:
        its = read_rows(f"{data}{config}:{split}", "data")
        return tuple(Row(f"{data}/{split}", number, row.columns) for number, row in enumerate(its, start=1))
    except UserError as error:
        raise UserError(
            f"{error} For the task 'gsm8k' a data set must have the splits train and test, a folder must hold {LAYOUT}."
        ) from error


KIND = Kind(
    name="gsm8k",
    asks='End with a line of the form "#### NUMBER".',
    marker=MARKER,
    reward="number_answer",
    gold="a number",
    styles=(
        Style(
            "human_nl",
            "You solve word problems in plain sentences: one short step per sentence, each calculation written out.",
            in_words,
            "human",
        ),
        Style(
            "equations",
            "You solve word problems with equations only: one calculation per line with its result, and no words.",
            equations,
            "derived from the calculator annotations",
        ),
        Style(
            "program",
            "You solve word problems as a straight-line Python program: one assignment per line, the last to `answer`.",
            program,
            "derived from the calculator annotations",
        ),
    ),
    licence="MIT (openai/grade-school-math, © 2021 OpenAI).",
    canonical=one_spelling,
    answer=answer,
    hub=Hub("openai/gsm8k", from_hub),
)

gsm8k = loader(KIND)
