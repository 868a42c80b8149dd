"""What looks wrong in a data set without being an error. It is told, with an example and its place; nothing is changed.

A doubt about columns is one that most of the rows share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from manyminds.records import Question
from manyminds.tasks.layouts import Layout
from manyminds.tasks.rows import shortened

WORKED = re.compile(r"\n\s*####\s*\S[^\n]*\s*$")
"""Worked text as GSM8K writes it: its last line is `#### 72`."""
BARE = re.compile(r"(####)?\s*(\\boxed\{[^{}]*\}|[-+$]*[\w.,/]+%?)\s*")
"""A number or one word, and nothing else."""
FLOATED = re.compile(r"-?\d+\.0")
LONG = 200
"""Characters; a short answer with more of them is none."""


def doubts(
    questions: Sequence[Question], layout: Layout, extract: Callable[[str], str | None], form: str
) -> tuple[str, ...]:
    """What looks wrong with the answers and worked solutions, which were read by `layout`; a sentence each.

    `form` is how the task writes a final answer and `extract` reads it; see `Task`.
    """
    solved = [question for question in questions if question.solution]
    found: list[str] = []
    marked = [question for question in questions if WORKED.search(question.answer)]
    swapped = [question for question in solved if len(question.answer) > len(question.solution)]
    if _most(swapped, solved):
        found.append(
            f"`answer` and `solution` look swapped: the answer is the longer one in {_share(swapped, solved)}, such as "
            f"{_pair(swapped[0])}. If so, set task.columns: {{answer: {layout.solution}, solution: {layout.answer}}}."
        )
    elif _most(marked, questions):
        found.append(
            f"The gold answer is worked text that ends in a line `#### …` in {_share(marked, questions)}, such as "
            f"{_place(marked[0])} ({shortened(marked[0].answer[-40:])}). No response can equal it; to read the gold "
            f'after the mark, set task.columns: {{answer: {{column: {layout.answer}, after: "####"}}, '
            f"solution: {layout.answer}}}."
        )
    elif _most(long := _those(questions, _is_long), questions):
        found.append(
            f"The gold answer is long or has several lines in {_share(long, questions)}, such as {_place(long[0])} "
            f"({shortened(long[0].answer)}). If it is worked text, set task.columns.solution to {layout.answer}, and "
            "task.columns.answer to the column of the short gold."
        )
    elif lost := _those(questions, lambda one: extract(form.replace("{answer}", one.answer)) != one.answer):
        found.append(
            f"The gold answer is not read back out of a response in {_share(lost, questions)}, such as "
            f"{_place(lost[0])} ({shortened(lost[0].answer)}): it must be one line without the answer marker, or no "
            "response can equal it."
        )
    pointed = _those(questions, lambda one: bool(FLOATED.fullmatch(one.answer)))
    if _most(pointed, questions):
        found.append(
            f"The gold answer ends in .0 in {_share(pointed, questions)}, such as {_place(pointed[0])} "
            f"({pointed[0].answer}), as if whole numbers had been stored as floating point. If responses write them "
            "without it, store them as text."
        )
    bare = [question for question in solved if question not in swapped and BARE.fullmatch(question.solution)]
    if _most(bare, solved):
        found.append(
            f"The worked solution is a bare answer in {_share(bare, solved)}, such as {_pair(bare[0])}: it would be "
            "taught as a whole response. If there is no worked text, set task.columns: {solution: null}."
        )
    return tuple(found)


def _is_long(question: Question) -> bool:
    return "\n" in question.answer or len(question.answer) > LONG


def _those(questions: Sequence[Question], has: Callable[[Question], bool]) -> list[Question]:
    return [question for question in questions if has(question)]


def _most(some: Sequence[Question], every: Sequence[Question]) -> bool:
    return 2 * len(some) > len(every)


def _share(some: Sequence[Question], every: Sequence[Question]) -> str:
    return f"{len(some)} of {len(every)} rows"


def _place(question: Question) -> str:
    return question.source or f"question {question.id!r}"


def _pair(question: Question) -> str:
    return f"{_place(question)} (answer {shortened(question.answer, 40)}, solution {shortened(question.solution, 40)})"
