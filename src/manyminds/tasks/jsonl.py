"""A user's own questions, from files, folders or the hub (`places`), whatever their columns are called (`layouts`).

Worked answers of experts are in a file of their own (`traces`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manyminds.errors import UserError
from manyminds.records import Expert, Question
from manyminds.rewards.judge import Judge
from manyminds.sections import RewardConfig
from manyminds.tasks.doubts import doubts
from manyminds.tasks.layouts import PAIRS, Columns, Layout, layout_of, parse_columns, question_of
from manyminds.tasks.places import read_rows
from manyminds.tasks.rows import Row, told_apart
from manyminds.tasks.task import SPLITS, Task, asked, assert_disjoint, did_you_mean
from manyminds.tasks.traces import Final, finisher, with_traces

SHARES = {"warmup": 0.4, "train": 0.4, "validation": 0.1, "test": 0.1}
UNTAUGHT = SHARES | {"warmup": 0.0, "train": 0.8}
"""Without worked answers no question waits for a warm-up that has nothing to learn; the last two sets are the same."""

NO_COLUMNS: Mapping[str, object] = {}

Extract = Callable[[str], str | None]


def jsonl(
    *,
    questions: str | Path | None = None,
    warmup: str | Path | None = None,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    experts_file: str | Path | None = None,
    experts: Sequence[Expert] = (),
    columns: Mapping[str, object] = NO_COLUMNS,
    shares: Mapping[str, float] | None = None,
    answer_marker: str = "####",
    rewards: Sequence[str | RewardConfig] = ("exact_answer",),
    licence: str = "not stated",
    seed: int = 0,
) -> Task:
    """The four sets from one place (`questions`, divided by `shares` and `seed`), from a place each, or from both.

    Where both are given, `questions` is divided among the sets without a place. Equal questions stay in one set.
    Without `shares`: 0.4 warmup, 0.4 train, 0.1 validation, 0.1 test; without an `experts_file` there is nothing to
    warm up on, and train has 0.8. `columns` say which column is what, where that is not one of the known layouts. The
    final answer stands after the last `answer_marker` of a response, and is added to worked answers that lack it.
    Without `experts`, every expert of `experts_file` is one, with the message "You are the … expert."
    """
    if not answer_marker.strip():
        raise UserError("task.answer_marker is empty; it must be the text that stands before a final answer.")
    extract, form = after_marker(answer_marker), f"{answer_marker} {{answer}}"
    final = Final(extract, answer_marker)
    mapping = parse_columns(columns)
    named = {"warmup": warmup, "train": train, "validation": validation, "test": test}
    places = {key: place for key, place in {**named, "questions": questions}.items() if place is not None}
    read = _read_all(places, mapping)
    splits: dict[str, tuple[Question, ...]] = {key: its.questions for key, its in read.items() if key in SPLITS}
    if questions is not None:
        rest = [key for key in SPLITS if key not in splits]
        if shares is None:
            shares = UNTAUGHT if experts_file is None and "train" in rest else SHARES
        splits |= _divided(read["questions"].questions, rest, shares, seed)
    splits = {key: splits.get(key, ()) for key in SPLITS}
    for key in ("train", "validation", "test"):
        if not splits[key]:
            raise UserError(
                f"task.{key}: this set has no question; name a file, or give `questions` enough rows and "
                f"`shares.{key}` a share above 0."
            )
    assert_disjoint(splits)
    notes = _notes(read.values(), extract, form)
    if experts_file is not None:
        taught = with_traces(splits, experts_file, experts, final, lambda: Judge(rewards, extract))
        splits, experts, licence = taught.splits, taught.experts, taught.licence(licence)
    return Task(
        name="jsonl",
        splits={key: tuple(map(finisher(final), splits[key])) for key in SPLITS},
        experts=tuple(experts),
        extract=extract,
        rewards=tuple(rewards),
        answer_form=form,
        licence=licence,
        notes=notes,
    )


def after_marker(marker: str) -> Extract:
    """Reads what stands after the last `marker`, to the end of that line; None if there is nothing."""
    return partial(_after, marker)  # not a closure, so that it can be sent to the processes that judge answers


def _after(marker: str, text: str) -> str | None:
    _, found, rest = text.rpartition(marker)
    return (rest.strip().partition("\n")[0].strip() or None) if found else None


@dataclass(frozen=True, slots=True)
class Read:
    """The questions of one place, and the layout in which they stood there. `said`: how many worked solutions are an
    assistant's last turn."""

    place: str
    layout: Layout
    questions: tuple[Question, ...]
    said: int


def _read_all(places: Mapping[str, str | Path], columns: Columns) -> dict[str, Read]:
    """The questions of each place, by the recipe's key that names it. Raises UserError."""
    rows = {key: list(read_rows(place, key)) for key, place in places.items()}
    named = iter(told_apart(row for its in rows.values() for row in its))
    return {key: _read(str(places[key]), [next(named) for _ in its], columns) for key, its in rows.items()}


def _read(place: str, rows: Sequence[Row], columns: Columns) -> Read:
    """The questions in the rows of a place; the layout is that of its first row. Raises UserError."""
    questions: dict[str, Question] = {}
    layout, said = layout_of(rows[0], columns), 0
    for row in rows:
        question = question_of(row, layout)
        if question.id in questions:
            raise UserError(
                f"{row.place}: the id {question.id!r} is also that of {questions[question.id].source}; give each row "
                "an id of its own, or none."
            )
        questions[question.id] = question
        said += bool(question.solution and row.value(layout.solution) is None)
    return Read(place, layout, tuple(questions.values()), said)


def _notes(read: Iterable[Read], extract: Extract, form: str) -> tuple[str, ...]:
    """How rows were read, unless their columns say so by their very names; and what looks wrong with them."""
    notes: list[str] = []
    by_layout: dict[Layout, list[Read]] = {}
    for its in read:
        by_layout.setdefault(its.layout, []).append(its)
    for layout, alike in by_layout.items():
        questions = [question for its in alike for question in its.questions]
        if layout != PAIRS:
            solved = sum(bool(question.solution) for question in questions) > sum(its.said for its in alike)
            notes.append(f"{', '.join(its.place for its in alike)}: {layout.told(solved)}.")
        if said := sum(its.said for its in alike):
            notes.append(
                f"Of {len(questions)} conversations {said} end with the assistant's answer: it is not asked but "
                "taken as the worked solution."
            )
        notes += doubts(questions, layout, extract, form)
    return tuple(notes)


def _divided(
    questions: Sequence[Question], names: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[Question, ...]]:
    """Questions dealt to the sets by share; equal texts count as one, so that no set sees another's question."""
    for name, share in shares.items():
        if name not in SPLITS:
            raise UserError(f"task.shares.{name}: there is no such set; {did_you_mean(name, SPLITS)}")
        if not 0 <= share < float("inf"):
            raise UserError(f"task.shares.{name} is {share}; a share must be 0 or more.")
    total = sum(shares.get(name, 0.0) for name in names)
    if total <= 0:
        raise UserError("task.shares: no set without a file of its own has a share above 0, so `questions` is unused.")
    by_text: dict[str, list[Question]] = {}
    for question in questions:
        by_text.setdefault(asked(question), []).append(question)
    texts = sorted(by_text)
    random.Random(f"jsonl/{seed}").shuffle(texts)
    divided: dict[str, tuple[Question, ...]] = {}
    start, used = 0, 0.0
    for name in names:
        used += shares.get(name, 0.0)
        end = round(len(texts) * used / total)
        divided[name] = tuple(question for text in texts[start:end] for question in by_text[text])
        start = end
    return divided
