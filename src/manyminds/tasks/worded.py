"""Tasks of worded questions with experts who work them out in different styles: what they share.

A task of this kind says how a question is put and judged, and which styles there are (`Kind`); `loader` makes of it the
function that a recipe's `task` section calls. A final answer stands in a line of its own, after the task's marker
(`#### 72`, `answer: b`); what stands elsewhere is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.records import Expert, Question
from manyminds.rewards.judge import Judge
from manyminds.tasks.rows import Row
from manyminds.tasks.sets import Pools, dealt, read_folder
from manyminds.tasks.task import Task, did_you_mean, listed, with_experts
from manyminds.tasks.worked import Worked, contradicting, licence_of, missing, right_ones

Derive = Callable[[Row], str | None]
"""A question's worked answer in some style, made from its own row; None where that cannot be done."""

DEFAULTS = 3
"""How many of a task's styles are its experts if a recipe names none."""


@dataclass(frozen=True, slots=True)
class Style:
    """A way to work out questions: `manner` is how its system prompt asks for it.

    `derive` makes its worked answers where experts.jsonl has none, and `origin` says of what. `by` names the model that
    wrote those of experts.jsonl, if one did.
    """

    name: str
    manner: str
    derive: Derive | None = None
    origin: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set on the Hugging Face hub that `data` may name: its id, and how it is read."""

    name: str
    read: Callable[[str], Pools]


@dataclass(frozen=True, slots=True)
class Kind:
    """A task of worded questions.

    `asks` is the sentence about the final line, which ends every question and every system prompt; `marker` begins that
    line, and `canonical` is how what follows is written for the vote. `reward` is the verifier. `gold` says what a gold
    answer must be, for messages. `styles`: the first three are the experts if a recipe names none. `models_licence` is
    that of worked answers by models, told where they are used.
    """

    name: str
    asks: str
    marker: str
    reward: str
    gold: str
    styles: tuple[Style, ...]
    licence: str
    models_licence: str = ""
    canonical: Callable[[str], str] = str.strip
    put: Callable[[Row], str] = lambda row: row.text("question")
    answer: Callable[[Row], str] = lambda row: row.text("answer")
    extras: Callable[[Row], Mapping[str, Any]] = lambda row: {}
    hub: Hub | None = None

    @property
    def answer_form(self) -> str:
        return f"{self.marker} {{answer}}"

    def expert(self, style: Style) -> Expert:
        return Expert(style.name, f"{style.manner} {self.asks}")

    def with_answer(self, worked: str, answer: str) -> str:
        """Worked text, and the final line."""
        return f"{worked}\n{self.marker} {answer}".strip()


def loader(kind: Kind) -> Callable[..., Task]:
    """The function that builds tasks of this kind from a recipe's options."""

    def load(
        *,
        data: str | Path = kind.hub.name if kind.hub else "",
        warmup: int | None = None,
        train: int | None = None,
        validation: int | None = None,
        test: int | None = None,
        shares: Mapping[str, float] | None = None,
        styles: Sequence[str] = (),
        experts: Sequence[Expert] = (),
        allow_model_traces: bool = False,
        seed: int = 0,
    ) -> Task:
        """The four sets of the data in `data`, with worked answers in the styles of the experts.

        Warm-up and training share train.jsonl, validation and test share dev.jsonl (test.jsonl is the test set where it
        is there), by `shares` and `seed`; `warmup` to `test` cut a set. The experts are those of the recipe, else the
        `styles` named here, else the task's first three. Worked answers by models are used only with
        `allow_model_traces`.
        """
        pools = kind.hub.read(str(data)) if kind.hub and _on_the_hub(data) else read_folder(str(data), kind.name)
        chosen = tuple(experts) or tuple(map(kind.expert, _styles(kind, styles)))
        sizes = {"warmup": warmup, "train": train, "validation": validation, "test": test}
        return _task(kind, pools, chosen, sizes, shares or {}, allow_model_traces, seed)

    load.__name__ = kind.name
    return load


def _on_the_hub(data: str | Path) -> bool:
    """Whether `data` is no folder in our own layout."""
    return not (Path(data) / "train.jsonl").is_file()


def _styles(kind: Kind, names: Sequence[str]) -> tuple[Style, ...]:
    known = {style.name: style for style in kind.styles}
    for name in names:
        if name not in known:
            raise UserError(f"task.styles: there is no style {name!r}; {did_you_mean(name, known)}")
    return tuple(known[name] for name in names) or kind.styles[:DEFAULTS]


def answer_line(marker: str, canonical: Callable[[str], str]) -> Callable[[str], str | None]:
    """Reads the last line that begins with `marker` (in any case), without it; None if there is none that goes on."""
    line = re.compile(rf"^[ \t]*{re.escape(marker)}[ \t]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
    return partial(_last, line, canonical)  # not a closure, so that it can be sent to the processes that judge answers


def _last(line: re.Pattern[str], canonical: Callable[[str], str], text: str) -> str | None:
    found = line.findall(text)
    return canonical(found[-1]) if found else None


def _task(
    kind: Kind,
    pools: Pools,
    experts: Sequence[Expert],
    sizes: Mapping[str, int | None],
    shares: Mapping[str, float],
    allow_model_traces: bool,
    seed: int,
) -> Task:
    extract = answer_line(kind.marker, kind.canonical)
    judge = Judge((kind.reward,), extract)
    rows = _by_id(pools)
    pooled = {"train": pools.train, "dev": pools.dev, "test": pools.test}
    questions = {name: tuple(_question(kind, row, judge) for row in its) for name, its in pooled.items()}
    sets = dealt(questions, shares, sizes, seed)
    learnt = [question for name in ("warmup", "train") for question in sets[name]]
    wanted = tuple(dict.fromkeys(expert.teacher or expert.name for expert in experts))
    worked, wrong = right_ones(
        pools.worked or (), rows, questions["train"], wanted, kind.with_answer, judge, allow_model_traces
    )
    _derive(kind, worked, rows, questions["train"], wanted)
    filled = with_experts(
        [replace(q, traces={name: one.trace for name, one in worked.get(q.id, {}).items()}) for q in learnt],
        experts,
        f"task.data: {pools.place}",
    )
    by_id = {question.id: question for question in filled}
    sets = {name: tuple(by_id.get(question.id, question) for question in its) for name, its in sets.items()}
    origins = {name: _origins(worked, name) for name in wanted}
    return Task(
        name=kind.name,
        splits=sets,
        experts=tuple(experts),
        extract=extract,
        rewards=(kind.reward,),
        answer_form=kind.answer_form,
        licence=licence_of(kind.licence, origins, {style.name: style.by for style in kind.styles}, kind.models_licence),
        notes=(*contradicting(wrong), *missing({name: sets[name] for name in ("warmup", "train")}, experts)),
    )


def _id(row: Row) -> str:
    return row.text("id", optional=True) or row.name


def _by_id(pools: Pools) -> dict[str, Row]:
    """All rows by the id of their question. Raises UserError for an id that occurs twice."""
    rows: dict[str, Row] = {}
    for row in (*pools.train, *pools.dev, *pools.test):
        if _id(row) in rows:
            raise UserError(f"{row.place}: the id {_id(row)!r} is also that of {rows[_id(row)].place}.")
        rows[_id(row)] = row
    return rows


def _question(kind: Kind, row: Row, judge: Judge) -> Question:
    """The question of a row. Raises UserError for a gold answer to which the verifier does not give 1."""
    answer = kind.answer(row)
    solution = next((text for style in kind.styles if (text := _derived(style, row))), "")
    question = Question(
        id=_id(row),
        text=f"{kind.put(row)}\n{kind.asks}",
        answer=answer,
        solution=kind.with_answer(solution, answer),
        source=row.place,
        extras=kind.extras(row),
    )
    if judge.score(question, kind.answer_form.replace("{answer}", answer)) != 1.0:
        raise UserError(f"{row.place}: the answer {answer!r} cannot be checked; it must be {kind.gold}.")
    return question


def _derived(style: Style, row: Row) -> str | None:
    return style.derive(row) if style.derive else None


def _derive(
    kind: Kind,
    worked: dict[str, dict[str, Worked]],
    rows: Mapping[str, Row],
    questions: Sequence[Question],
    wanted: Sequence[str],
) -> None:
    """Adds what a style can derive from the questions' own rows, where experts.jsonl has none of that style."""
    there = {name for its in worked.values() for name in its}
    for style in kind.styles:
        if style.name not in wanted or style.name in there:
            continue
        for question in questions:
            if text := _derived(style, rows[question.id]):
                its = worked.setdefault(question.id, {})
                its[style.name] = Worked.of(style.name, kind.with_answer(text, question.answer), style.origin)


def _origins(worked: Mapping[str, Mapping[str, Worked]], name: str) -> str:
    """Where the worked answers of a teacher come from."""
    return listed(dict.fromkeys(its[name].origin for its in worked.values() if name in its))
