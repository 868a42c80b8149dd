"""What the columns of a row mean: four common layouts, recognised by their columns, or the recipe's own mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from manyminds.errors import UserError
from manyminds.records import Question
from manyminds.tasks.rows import Row, shortened
from manyminds.tasks.task import did_you_mean, listed

ROLES = ("question", "answer", "solution", "id")
CONVERSED = ("system", "user", "assistant")
GUESSES = {
    "question": ("problem", "query", "instruction", "input", "prompt", "question", "text"),
    "answer": ("ground_truth", "gold", "target", "label", "final_answer", "expected_answer", "output", "answer"),
}
"""Columns that a message proposes where no layout fits."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a question stand: paths of columns (see `Row`); without one, the part is not there.

    The short gold answer is what `answer` holds, or what stands in it after the last `after`.
    """

    name: str
    question: str
    answer: str
    solution: str = "solution"
    id: str = "id"
    after: str = ""
    marks: tuple[str, ...] = ()
    """Columns besides that speak for this layout, where it is not complete."""

    def lacks(self, row: Row) -> tuple[str, ...]:
        """The columns that this layout must have and the row has not."""
        return tuple(path for path in (self.question, self.answer) if not row.has(path))

    def told(self, solved: bool) -> str:
        """Where each part is read; `solved`: whether any row has a worked solution."""
        answer = f"`{self.answer}`" + (f" (after {self.after!r})" if self.after else "")
        told = f"{self.name}: the question is `{self.question}`, the gold answer {answer}"
        return told + (f", the worked solution `{self.solution}`" if solved else "")


PAIRS = Layout("question/answer", "question", "answer")
LAYOUTS = (
    Layout(
        "verl rows",
        "prompt",
        "reward_model.ground_truth",
        "extra_info.answer",
        id="",
        marks=("data_source", "ability", "reward_model", "extra_info"),
    ),
    Layout("messages + ground_truth (open-instruct)", "messages", "ground_truth", marks=("dataset",)),
    Layout("prompt + columns (TRL)", "prompt", "ground_truth"),
    Layout("prompt + columns (TRL)", "prompt", "answer"),
    PAIRS,
)
"""In the order in which they are tried; the first whose question and answer are there is taken."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The recipe's `task.columns`: a path for each part that it names, None for a part that shall not be read."""

    paths: Mapping[str, str | None]
    after: str = ""

    def on(self, layout: Layout) -> Layout:
        """The layout with what is named here in the place of its own."""
        its = {role: self.paths.get(role, getattr(layout, role)) or "" for role in ROLES}
        return replace(
            layout,
            question=its["question"],
            answer=its["answer"],
            solution=its["solution"],
            id=its["id"],
            after=self.after,
        )


def parse_columns(given: Any) -> Columns:
    """`task.columns` as a recipe gives it: part -> path, or for the answer {column: path, after: text}. UserError."""
    if not isinstance(given, Mapping):
        raise UserError(f"task.columns is {shortened(given)}; it must say which column is what: {{question: my_q}}.")
    paths: dict[str, str | None] = {}
    after = ""
    for role, path in given.items():
        if role not in ROLES:
            raise UserError(f"task.columns.{role}: there is no such part; {did_you_mean(str(role), ROLES)}")
        if role == "answer" and isinstance(path, Mapping):
            if set(path) != {"column", "after"} or not all(isinstance(v, str) and v for v in path.values()):
                raise UserError(
                    f'task.columns.answer is {shortened(path)}; write a column, or {{column: answer, after: "####"}} '
                    "for what stands after a mark in it."
                )
            path, after = path["column"], path["after"]
        optional = role in ("solution", "id")
        if not (isinstance(path, str) and path) and not (optional and path is None):
            wanted = "a column, or null for none" if optional else "a column"
            raise UserError(f"task.columns.{role} is {shortened(path)}; it must name {wanted}.")
        paths[role] = path
    return Columns(paths, after)


def layout_of(row: Row, columns: Columns) -> Layout:
    """How this row is to be read. UserError if no layout fits: with its columns, what is missing, and the row."""
    named = {role for role, path in columns.paths.items() if path}
    for role in ROLES:
        if role in named and not row.has(str(columns.paths[role])):
            raise UserError(
                f"task.columns.{role}: {row.place} has no `{columns.paths[role]}`; its columns are "
                f"{listed(row.columns)}. The row: {row.sample()}"
            )
    candidates = [columns.on(layout) for layout in ((PAIRS,) if {"question", "answer"} <= named else LAYOUTS)]
    fits = next((layout for layout in candidates if not layout.lacks(row)), None)
    if fits is not None:
        return fits
    raise UserError(_no_layout(row, candidates, columns))


def _no_layout(row: Row, candidates: list[Layout], columns: Columns) -> str:
    # Of equally near ones the last: the simplest.
    nearest = min(reversed(candidates), key=lambda one: (len(one.lacks(row)), -sum(map(row.has, one.marks))))
    lacks = nearest.lacks(row)
    proposed: dict[str, str] = {role: path for role, path in columns.paths.items() if path}
    for role, path in (("question", nearest.question), ("answer", nearest.answer)):
        guesses = [guess for guess in GUESSES[role] if row.has(guess) and guess not in proposed.values()]
        if path in lacks:
            proposed[role] = guesses[0] if guesses else f"YOUR_{role.upper()}_COLUMN"
    mapping = ", ".join(f"{role}: {path}" for role, path in proposed.items())
    return (
        f"{row.place}: these columns are none of the layouts that are known: {listed(row.columns)}. The nearest is "
        f"{nearest.name}, but there is no {' and no '.join(f'`{path}`' for path in lacks)}. Say which column is what, "
        f"such as task.columns: {{{mapping}}}. The row: {row.sample()}"
    )


def question_of(row: Row, layout: Layout) -> Question:
    """The question in a row. `extras` are its columns, but for those that are read under their own name; a list of
    chat messages stays among them, for rewards that read it. UserError."""
    asked = row.value(layout.question)
    messages: tuple[tuple[str, str], ...] = ()
    worked = row.text(layout.solution, optional=True) if layout.solution else ""
    if isinstance(asked, list):
        messages, said = _conversation(row, layout.question, asked)
        text, worked = messages[-1][1], worked or (said if layout.solution else "")
    else:
        text = row.text(layout.question)
    answer = row.text(layout.answer)
    if layout.after:
        answer = _after(row, layout, answer)
    taken = {*(() if messages else (layout.question,)), *(role for role in ROLES if getattr(layout, role) == role)}
    return Question(
        id=(row.text(layout.id, optional=True) if layout.id else "") or row.name,
        text=text,
        answer=answer,
        solution=worked,
        source=row.place,
        messages=messages if len(messages) > 1 else (),
        extras={name: value for name, value in row.columns.items() if name not in taken},
    )


def _after(row: Row, layout: Layout, text: str) -> str:
    _, found, rest = text.rpartition(layout.after)
    if not found or not rest.strip():
        raise UserError(
            f"{row.place}: `{layout.answer}` has nothing after {layout.after!r}, where task.columns.answer says that "
            f"the gold answer stands: {shortened(text[-60:])}."
        )
    return rest.strip()


def _conversation(row: Row, path: str, turns: list[Any]) -> tuple[tuple[tuple[str, str], ...], str]:
    """The turns up to the user's last, as (role, content); and the assistant's answer to it, if the row holds one."""
    found: list[tuple[str, str]] = []
    for number, turn in enumerate(turns):
        subject = f"{row.place}: turn {number + 1} of `{path}`"
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise UserError(f"{subject} must have a `role` and a `content`, both text, not {shortened(turn)}.")
        if role not in CONVERSED:
            raise UserError(f"{subject} is by {role!r}; roles are {listed(CONVERSED)}.")
        if role == "system" and number:
            raise UserError(f"{subject} is a system message; only the first turn may be one.")
        if not content.strip():
            raise UserError(f"{subject} is empty; it must hold text.")
        found.append((role, content))
    said = found.pop()[1] if found and found[-1][0] == "assistant" else ""
    if not found or found[-1][0] != "user":
        raise UserError(f"{row.place}: `{path}` has no turn of the user at its end; there is nothing to answer.")
    return tuple(found), said
