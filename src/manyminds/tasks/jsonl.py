"""A user's own questions, from files, folders or the hub (`places`), whatever their columns are called (`layouts`).

Worked answers of experts are in a file of their own, a row each: `id` (of the question), `expert`, `solution`, and
optionally `final_answer` and `correct`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from manyminds.errors import UserError
from manyminds.records import Expert, Question, Trace
from manyminds.tasks.doubts import doubts
from manyminds.tasks.layouts import PAIRS, Columns, Layout, layout_of, parse_columns, question_of
from manyminds.tasks.places import read_rows
from manyminds.tasks.rows import Row, shortened
from manyminds.tasks.task import SPLITS, Task, asked, assert_disjoint, did_you_mean, with_experts

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
    rewards: Sequence[str] = ("exact_answer",),
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
    mapping = parse_columns(columns)
    named = {"warmup": warmup, "train": train, "validation": validation, "test": test}
    read = {key: _read(place, key, mapping) for key, place in named.items() if place is not None}
    splits: dict[str, tuple[Question, ...]] = {key: its.questions for key, its in read.items()}
    if questions is not None:
        read["questions"] = _read(questions, "questions", mapping)
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
        splits, written = _with_traces(splits, experts_file, extract)
        experts = experts or tuple(Expert(name, f"You are the {name} expert.") for name in written)
        splits = _for_experts(splits, experts, str(experts_file))
    finish = _finisher(extract, answer_marker)
    return Task(
        name="jsonl",
        splits={key: tuple(finish(question) for question in splits[key]) for key in SPLITS},
        experts=tuple(experts),
        extract=extract,
        rewards=tuple(rewards),
        answer_form=form,
        licence=licence,
        notes=notes,
    )


def after_marker(marker: str) -> Extract:
    """Reads what stands after the last `marker`, to the end of that line; None if there is nothing."""

    def extract(text: str) -> str | None:
        _, found, rest = text.rpartition(marker)
        return (rest.strip().partition("\n")[0].strip() or None) if found else None

    return extract


@dataclass(frozen=True, slots=True)
class Read:
    """The questions of one place, and the layout in which they stood there. `said`: how many worked solutions are an
    assistant's last turn."""

    place: str
    layout: Layout
    questions: tuple[Question, ...]
    said: int


def _read(place: str | Path, key: str, columns: Columns) -> Read:
    """The questions of a file, folder or data set; the layout is that of its first row. Raises UserError."""
    questions: dict[str, Question] = {}
    layout, said = PAIRS, 0
    for row in read_rows(place, key):
        if not questions:
            layout = layout_of(row, columns)
        question = question_of(row, layout)
        if question.id in questions:
            raise UserError(
                f"{row.place}: the id {question.id!r} is also that of {questions[question.id].source}; give each row "
                "an id of its own, or none."
            )
        questions[question.id] = question
        said += bool(question.solution and row.value(layout.solution) is None)
    return Read(str(place), layout, tuple(questions.values()), said)


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


def _with_traces(
    splits: Mapping[str, Sequence[Question]], place: str | Path, extract: Extract
) -> tuple[dict[str, tuple[Question, ...]], list[str]]:
    """The questions with the worked answers of `place`, filed by the name of who wrote them; and these names.

    Of several by one expert the first right one is kept, else the first.
    """
    answers = {question.id: question.answer for questions in splits.values() for question in questions}
    traces: dict[str, dict[str, Trace]] = {}
    written: dict[str, None] = {}
    for row in read_rows(place, "experts_file"):
        name, expert = row.text("id"), row.text("expert")
        if name not in answers:
            raise UserError(f"{row.place}: there is no question with the id {name!r}; {did_you_mean(name, answers)}")
        trace = _trace(row, expert, answers[name], extract)
        written[expert] = None
        kept = traces.setdefault(name, {}).setdefault(expert, trace)
        if kept.reward != 1.0 and trace.reward == 1.0:
            traces[name][expert] = trace
    filled = {
        split: tuple(replace(question, traces=traces.get(question.id, {})) for question in questions)
        for split, questions in splits.items()
    }
    return filled, list(written)


def _trace(row: Row, expert: str, answer: str, extract: Extract) -> Trace:
    """A worked answer, right or wrong (reward 1 or 0) as its row says, else as its own final answer says."""
    text, final = row.text("solution"), row.text("final_answer", optional=True)
    correct = row.columns.get("correct")
    if correct is not None and not isinstance(correct, bool):
        raise UserError(f"{row.place}: `correct` must be true, false or null, not {shortened(correct)}.")
    found = extract(text) or final
    if correct is None and found:
        correct = found == answer
    return Trace(text=text, source=expert, reward=None if correct is None else float(correct))


def _for_experts(
    splits: Mapping[str, tuple[Question, ...]], experts: Sequence[Expert], place: str
) -> dict[str, tuple[Question, ...]]:
    """Every set with its traces under the experts' names; each expert must have a trace in some set."""
    every = [question for name in SPLITS for question in splits[name]]
    filled = iter(with_experts(every, experts, place))
    return {name: tuple(next(filled) for _ in splits[name]) for name in SPLITS}


def _finisher(extract: Extract, marker: str) -> Callable[[Question], Question]:
    """Adds the final answer to worked answers that are right and do not state it, or they would teach no answer."""

    def finished(text: str, answer: str) -> str:
        return text if extract(text) is not None else f"{text}\n{marker} {answer}"

    def finish(question: Question) -> Question:
        return replace(
            question,
            solution=finished(question.solution, question.answer) if question.solution else "",
            traces={
                name: replace(trace, text=finished(trace.text, question.answer)) if trace.reward == 1.0 else trace
                for name, trace in question.traces.items()
            },
        )

    return finish
