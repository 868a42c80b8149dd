"""Where the questions of a data set come from, and how they are dealt into four disjoint sets."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manyminds.errors import UserError
from manyminds.records import Question
from manyminds.tasks.places import read_rows
from manyminds.tasks.rows import Row
from manyminds.tasks.task import SPLITS, did_you_mean

SHARES = {"warmup": 0.5, "train": 0.5, "validation": 0.3, "test": 0.7}

LAYOUT = (
    "train.jsonl and dev.jsonl (rows with `question` and `answer`), and may hold test.jsonl (rows of the same kind) "
    "and experts.jsonl (rows with `id`, `expert`, `solution`, `final_answer`, `correct` and `origin`)"
)


@dataclass(frozen=True, slots=True)
class Pools:
    """A data set as it was published: rows to learn from, rows to choose by, rows to test on, and worked answers.

    Without `test` rows those of `dev` serve for both. `worked` is None where there is no such file.
    """

    place: str
    train: tuple[Row, ...]
    dev: tuple[Row, ...]
    test: tuple[Row, ...] = ()
    worked: tuple[Row, ...] | None = None


def read_folder(data: str, task: str) -> Pools:
    """A folder in the layout of `LAYOUT`. Raises UserError that says what it must hold."""
    folder = Path(data)
    if not data:
        raise UserError(f"task.data is missing; it names the folder of the task {task!r}, which must hold {LAYOUT}.")
    if not folder.is_dir():
        raise UserError(f"task.data: there is no folder {data!r}; for the task {task!r} it must hold {LAYOUT}.")
    for name in ("train.jsonl", "dev.jsonl"):
        if not (folder / name).is_file():
            raise UserError(f"task.data: {folder} has no {name}; for the task {task!r} it must hold {LAYOUT}.")
    test, worked = folder / "test.jsonl", folder / "experts.jsonl"
    return Pools(
        place=data,
        train=tuple(read_rows(folder / "train.jsonl", "data")),
        dev=tuple(read_rows(folder / "dev.jsonl", "data")),
        test=tuple(read_rows(test, "data")) if test.is_file() else (),
        worked=tuple(read_rows(worked, "data")) if worked.is_file() else None,
    )


def dealt(
    pools: Mapping[str, Sequence[Question]],
    shares: Mapping[str, float],
    sizes: Mapping[str, int | None],
    seed: int,
) -> dict[str, tuple[Question, ...]]:
    """The four sets: warm-up and training from `pools["train"]`, validation and test from `dev`, or test from `test`.

    Where two sets come from one pool they share it by `shares` and `seed`; equal question texts stay together. `sizes`
    then cut a set to its first so many. Raises UserError for a share or a size that cannot be.
    """
    for name, share in shares.items():
        if name not in SPLITS:
            raise UserError(f"task.shares.{name}: there is no such set; {did_you_mean(name, SPLITS)}")
        if not 0 <= share < float("inf"):
            raise UserError(f"task.shares.{name} is {share}; a share must be 0 or more.")
    parts = SHARES | dict(shares)
    sets = _shared(pools["train"], ("warmup", "train"), parts, seed)
    if pools["test"]:
        sets |= _shared(pools["dev"], ("validation",), parts, seed) | _shared(pools["test"], ("test",), parts, seed)
    else:
        sets |= _shared(pools["dev"], ("validation", "test"), parts, seed)
    return {name: _cut(name, sets[name], sizes.get(name)) for name in SPLITS}


def _shared(
    questions: Sequence[Question], names: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[Question, ...]]:
    by_text: dict[str, list[Question]] = {}
    for question in questions:
        by_text.setdefault(question.text, []).append(question)
    texts = sorted(by_text)
    random.Random(f"{names[0]}/{seed}").shuffle(texts)
    total = sum(shares[name] for name in names)
    if total <= 0:
        raise UserError(f"task.shares: {' and '.join(names)} have no share above 0, so their questions are unused.")
    sets: dict[str, tuple[Question, ...]] = {}
    start, used = 0, 0.0
    for name in names:
        used += shares[name]
        end = round(len(texts) * used / total)
        sets[name] = tuple(question for text in texts[start:end] for question in by_text[text])
        start = end
    return sets


def _cut(name: str, questions: tuple[Question, ...], size: int | None) -> tuple[Question, ...]:
    if size is not None and not 0 <= size <= len(questions):
        raise UserError(f"task.{name} is {size}; it must be from 0 to {len(questions)}, the questions that are there.")
    chosen = questions[:size]
    if not chosen and name != "warmup":
        raise UserError(f"task.{name}: this set has no question; give it a share and a size above 0.")
    return chosen
