"""A user's own questions, as JSON Lines: one object per line, UTF-8.

Questions: `question` (or `prompt`), `answer`, and optionally `id` and `solution`. Worked answers of experts, in a
file of their own: `id` (of the question), `expert`, `solution`, and optionally `final_answer` and `correct`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.records import Expert, Question, Trace
from manyminds.tasks.task import SPLITS, Task, assert_disjoint, did_you_mean, listed, with_experts

SHARES = {"warmup": 0.4, "train": 0.4, "validation": 0.1, "test": 0.1}

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
    shares: Mapping[str, float] | None = None,
    answer_marker: str = "####",
    rewards: Sequence[str] = ("exact_answer",),
    licence: str = "not stated",
    seed: int = 0,
) -> Task:
    """The four sets from one file (`questions`, divided by `shares` and `seed`), from a file each, or from both.

    Without `shares`: 0.4 warmup, 0.4 train, 0.1 validation, 0.1 test; without an `experts_file` there is nothing to
    warm up on, and train has 0.8. Validation and test hold the same questions either way.
    Where both are given, `questions` is divided among the sets without a file. Equal question texts stay in one
    set. The final answer stands after the last `answer_marker` of a response, and is added to worked answers that
    lack it. Without `experts`, every expert of `experts_file` is one, with the message "You are the … expert."
    """
    if not answer_marker.strip():
        raise UserError("task.answer_marker is empty; it must be the text that stands before a final answer.")
    extract = after_marker(answer_marker)
    files = {"warmup": warmup, "train": train, "validation": validation, "test": test}
    splits = {name: read_questions(path, name) if path is not None else () for name, path in files.items()}
    rest = [name for name, path in files.items() if path is None]
    if questions is not None:
        splits |= _divided(read_questions(questions, "questions"), rest, SHARES if shares is None else shares, seed)
        if shares is None and experts_file is None and {"warmup", "train"} <= {*rest}:
            splits |= {"warmup": (), "train": (*splits["warmup"], *splits["train"])}
    for name in ("train", "validation", "test"):
        if not splits[name]:
            raise UserError(
                f"task.{name}: this set has no question; name a file, or give `questions` enough rows and "
                f"`shares.{name}` a share above 0."
            )
    assert_disjoint(splits)
    if experts_file is not None:
        splits, written = _with_traces(splits, Path(experts_file), extract)
        experts = experts or tuple(Expert(name, f"You are the {name} expert.") for name in written)
        splits = _for_experts(splits, experts, str(experts_file))
    finish = _finisher(extract, answer_marker)
    return Task(
        name="jsonl",
        splits={name: tuple(finish(question) for question in splits[name]) for name in SPLITS},
        experts=tuple(experts),
        extract=extract,
        rewards=tuple(rewards),
        answer_form=f"{answer_marker} {{answer}}",
        licence=licence,
    )


def after_marker(marker: str) -> Extract:
    """Reads what stands after the last `marker`, to the end of that line; None if there is nothing."""

    def extract(text: str) -> str | None:
        _, found, rest = text.rpartition(marker)
        return (rest.strip().partition("\n")[0].strip() or None) if found else None

    return extract


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file, and the errors about it."""

    path: Path
    line: int
    columns: Mapping[str, Any]

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"

    def text(self, *keys: str, optional: bool = False) -> str:
        """The first of these columns that is there, as text; empty only if `optional` and none is there."""
        key = next((key for key in keys if self.columns.get(key) is not None), None)
        wanted = " or ".join(f"`{key}`" for key in keys)
        if key is None:
            if optional:
                return ""
            raise UserError(f"{self.place}: the key {wanted} is missing; this row has {listed(self.columns)}.")
        value = self.columns[key]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"{self.place}: `{key}` must be text or a number, not {json.dumps(value)[:60]}.")
        text = str(value).strip()
        if not text and not optional:
            raise UserError(f"{self.place}: `{key}` is empty; it must hold text.")
        return text


def read_rows(path: str | Path, key: str) -> Iterator[Row]:
    """The rows of a file; blank lines are passed over. `key` is the recipe's key that names the file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"task.{key}: there is no file {path}; it must be a JSON Lines file.") from error
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"task.{key}: {path} cannot be read as UTF-8 text ({error}).") from error
    if not text.strip():
        raise UserError(f"task.{key}: {path} is empty; it must hold one JSON object per line.")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error.msg}, column {error.colno}).") from error
        if not isinstance(columns, dict):
            raise UserError(f"{path}:{number}: a row must be a JSON object, not {line.strip()[:40]}.")
        yield Row(path, number, columns)


def read_questions(path: str | Path, key: str) -> tuple[Question, ...]:
    """The questions of a file; a row without `id` is called after its file and line."""
    questions: dict[str, Question] = {}
    for row in read_rows(path, key):
        question = Question(
            id=row.text("id", optional=True) or f"{row.path.stem}:{row.line}",
            text=row.text("question", "prompt"),
            answer=row.text("answer"),
            solution=row.text("solution", optional=True),
            source=row.place,
        )
        if question.id in questions:
            raise UserError(f"{row.place}: the id {question.id!r} is also that of {questions[question.id].source}.")
        questions[question.id] = question
    return tuple(questions.values())


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
        by_text.setdefault(question.text, []).append(question)
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
    splits: Mapping[str, Sequence[Question]], path: Path, extract: Extract
) -> tuple[dict[str, tuple[Question, ...]], list[str]]:
    """The questions with the worked answers of `path`, filed by the name of who wrote them; and these names.

    Of several by one expert the first right one is kept, else the first.
    """
    answers = {question.id: question.answer for questions in splits.values() for question in questions}
    traces: dict[str, dict[str, Trace]] = {}
    written: dict[str, None] = {}
    for row in read_rows(path, "experts_file"):
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
        raise UserError(f"{row.place}: `correct` must be true, false or null, not {json.dumps(correct)[:60]}.")
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
