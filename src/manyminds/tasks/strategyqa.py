"""StrategyQA: yes or no, where the steps to the answer must be found (Geva et al. 2021, arXiv 2101.02235)."""

from __future__ import annotations

import json

from manyminds.errors import UserError
from manyminds.rewards.yes_no_answer import read_yes_no
from manyminds.tasks.rows import Row
from manyminds.tasks.worded import Kind, Style, loader


def texts(row: Row, column: str) -> list[str]:
    """A column that lists sentences; nothing if it is not there."""
    found = row.columns.get(column) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UserError(f"{row.place}: `{column}` must be a list of texts, not {json.dumps(found)[:60]}.")
    return [one.strip() for one in found]


def concluded(row: Row, *parts: str) -> str | None:
    """The parts, and the conclusion; None if a part is empty."""
    return "\n".join([*parts, f"So the answer is {row.text('answer')}."]) if all(parts) else None


def questions(row: Row) -> str:
    return "\n".join(f"{number}. {one}" for number, one in enumerate(texts(row, "decomposition"), start=1))


def facts(row: Row) -> str | None:
    """The supporting facts in one paragraph, with the conclusion."""
    paragraph = " ".join(texts(row, "facts"))
    return f"{paragraph} So the answer is {row.text('answer')}." if paragraph else None


def questions_then_facts(row: Row) -> str | None:
    """The questions into which it breaks up, then the facts that answer them."""
    found = "\n".join(f"- {one}" for one in texts(row, "facts"))
    return concluded(row, questions(row), found and f"What is known:\n{found}")


KIND = Kind(
    name="strategyqa",
    asks='End with the line "answer: yes" or "answer: no".',
    marker="answer:",
    reward="yes_no_answer",
    gold="yes or no",
    styles=(
        Style(
            "human_facts",
            "You answer yes-or-no questions from facts: state the facts that matter in a few sentences, then conclude.",
            facts,
            "human",
        ),
        Style(
            "human_decomposition",
            "You answer yes-or-no questions by breaking them up: list the smaller questions to be asked, #1 meaning "
            "the answer to the first, then conclude.",
            lambda row: concluded(row, questions(row)),
            "human",
        ),
        Style(
            "questions_then_facts",
            "You answer yes-or-no questions in two parts: first the smaller questions to be asked, then what is known "
            "about them as a list, then conclude.",
            questions_then_facts,
            "derived from the columns `decomposition` and `facts`",
        ),
        Style("gpt4_cot", "You answer yes-or-no questions after thinking them through in one sentence.", by="GPT-4"),
        Style(
            "gpt4_least_to_most",
            "You answer yes-or-no questions by asking and answering smaller ones (Q1, Q2, …), then the question.",
            by="GPT-4",
        ),
        Style(
            "gpt35_cot", "You answer yes-or-no questions after thinking them through in a few sentences.", by="GPT-3.5"
        ),
        Style(
            "davinci003_cot",
            "You answer yes-or-no questions after weighing what is known in a few sentences.",
            by="text-davinci-003",
        ),
        Style(
            "codex_datalog",
            "You answer yes-or-no questions with commented sub-questions, then facts and rules as a Datalog program.",
            by="Codex",
        ),
    ),
    licence="MIT (eladsegal/strategyqa, © 2021 Elad Segal).",
    models_licence="Those by models: MIT (veronica320/Faithful-COT, © 2023 Qing Lyu).",
    canonical=lambda text: read_yes_no(text) or text.strip(),
    answer=lambda row: row.text("answer").lower(),
)

strategyqa = loader(KIND)
