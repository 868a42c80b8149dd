"""Worked answers in several styles: which may be taught, where they come from, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from manyminds.errors import UserError
from manyminds.records import Expert, Question, Trace
from manyminds.rewards.judge import Judge
from manyminds.tasks.rows import Row
from manyminds.tasks.task import did_you_mean

FREE = ("human", "derived", "deepseek-r1")
"""How the origins begin of which no terms of use restrict what may be trained on them."""

TERMS = (
    "What a model wrote stands under its maker's terms of use; those of OpenAI restrict training models on it that "
    "compete with its own."
)


@dataclass(frozen=True, slots=True)
class Worked:
    """A right worked answer, and where it comes from."""

    trace: Trace
    origin: str

    @classmethod
    def of(cls, teacher: str, text: str, origin: str) -> Worked:
        return cls(Trace(text=text, source=teacher, reward=1.0), origin)


def is_free(origin: str) -> bool:
    """Whether worked answers of this origin are used without being asked for."""
    return origin.strip().lower().startswith(FREE)


def right_ones(
    rows: Sequence[Row],
    known: Mapping[str, Row],
    questions: Sequence[Question],
    wanted: Sequence[str],
    with_answer: Callable[[str, str], str],
    judge: Judge,
    allow_model_traces: bool,
) -> tuple[dict[str, dict[str, Worked]], tuple[Row, ...]]:
    """The first right worked answer of each teacher in `wanted` to each of the questions, from experts.jsonl; and the
    rows that are marked right, but the verifier does not find their final answer right.

    Those rows are left out, like those marked wrong or not marked at all. Raises UserError for a row about a question
    that is not `known`, and for one by a model without `allow_model_traces`.
    """
    asked = {question.id: question for question in questions}
    worked: dict[str, dict[str, Worked]] = {}
    contradictory = []
    for row in rows:
        name, teacher = row.text("id"), row.text("expert")
        if name not in known:
            raise UserError(f"{row.place}: there is no question with the id {name!r}; {did_you_mean(name, known)}")
        if not _marked_right(row) or teacher not in wanted or name not in asked:
            continue
        origin = row.text("origin", optional=True) or "not stated"
        if not (allow_model_traces or is_free(origin)):
            raise UserError(
                f"{row.place}: worked answers of {teacher!r} are of the origin {origin!r}. {TERMS} Set "
                "`task.allow_model_traces: true` if you may use them, or leave this expert out."
            )
        text = with_answer(row.text("solution"), row.text("final_answer"))
        if judge.score(asked[name], text) == 1.0:
            worked.setdefault(name, {}).setdefault(teacher, Worked.of(teacher, text, origin))
        else:
            contradictory.append(row)
    return worked, tuple(contradictory)


def _marked_right(row: Row) -> bool:
    correct = row.columns.get("correct")
    if correct is not None and not isinstance(correct, bool):
        raise UserError(f"{row.place}: `correct` must be true, false or null, not {json.dumps(correct)[:60]}.")
    return correct is True


def contradicting(rows: Sequence[Row]) -> tuple[str, ...]:
    """A sentence about rows that are marked right and are not; nothing if there is none."""
    if not rows:
        return ()
    count = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
    return (
        f"{count} marked correct, but the final answer is not the gold one (first {rows[0].place}: "
        f"{rows[0].text('final_answer')!r}); not taught.",
    )


def missing(sets: Mapping[str, Sequence[Question]], experts: Sequence[Expert]) -> tuple[str, ...]:
    """A sentence that counts the questions to which an expert has no right worked answer; nothing if there is none."""
    told = []
    for expert in experts:
        counts = {name: sum(expert.name not in q.traces for q in its) for name, its in sets.items()}
        if any(counts.values()):
            shown = " and ".join(f"{counts[name]} of {len(its)} {name}" for name, its in sets.items() if its)
            told.append(f"{expert.name!r} to {shown} questions")
    return (f"No right worked answer, so nothing to teach: {'; '.join(told)}.",) if told else ()


def licence_of(licence: str, origins: Mapping[str, str], by: Mapping[str, str], of_models: str) -> str:
    """The licence of the data, and where every teacher's worked answers come from; if from models, from which, and the
    licence `of_models`."""
    told = [f"{name} ({origin}{f': {by[name]}' if by.get(name) else ''})" for name, origin in origins.items()]
    models = "" if all(is_free(origin) for origin in origins.values()) else f" {of_models} {TERMS}".replace("  ", " ")
    return f"{licence} Worked answers: {', '.join(told)}.{models}" if told else licence
