"""What a task is: four disjoint sets of questions, the experts that answer them, and how answers are read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from manyminds.errors import UserError
from manyminds.records import Expert, Question
from manyminds.sections import RewardConfig

SPLITS = ("warmup", "train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Task:
    """Questions by split, and what is needed to put and to judge them.

    `extract` reads the final answer out of a response (None: there is none). `style` names the manner of a
    response, where the task knows manners. `answer_form` is how a bare final answer is written, with the
    answer in the place of `{answer}`; `extract` reads it back. `rewards` name the reward functions; the first
    one is the verifier: it gives the gold answer 1 and nonsense 0. `licence` is that of the questions and traces, as
    a model card states it. `notes` are what the user should know about the data.
    """

    name: str
    splits: Mapping[str, tuple[Question, ...]]
    experts: tuple[Expert, ...]
    extract: Callable[[str], str | None]
    style: Callable[[str], str] | None = None
    rewards: tuple[str | RewardConfig, ...] = ("exact_answer",)
    answer_form: str = "{answer}"
    licence: str = "not stated"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Holds the promise of four disjoint sets."""
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"a task has the splits {', '.join(SPLITS)}, not {', '.join(self.splits)}")
        assert_disjoint(self.splits)


def assert_disjoint(splits: Mapping[str, Sequence[Question]]) -> None:
    """No id occurs twice, and no question text stands in two splits; UserError names both places."""
    ids: dict[str, Question] = {}
    texts: dict[str, tuple[str, Question]] = {}
    for split, questions in splits.items():
        for question in questions:
            if question.id in ids:
                raise UserError(
                    f"{where(question)}: the id {question.id!r} is also that of {where(ids[question.id])}; ids must "
                    "differ in all sets together."
                )
            ids[question.id] = question
            first_split, first = texts.setdefault(asked(question), (split, question))
            if first_split != split:
                raise UserError(
                    f"{where(question)}: this question of `{split}` is also in `{first_split}` ({where(first)}); "
                    "the four sets must be disjoint."
                )


def asked(question: Question) -> str:
    """What is asked, as one string: equal where two sets would share a question. System messages do not count."""
    turns = [content for role, content in question.messages if role != "system"]
    return "\x00".join(turns) if len(turns) > 1 else question.text


def where(question: Question) -> str:
    """Where a question comes from, for messages."""
    return question.source or f"question {question.id!r}"


def with_experts(questions: Sequence[Question], experts: Sequence[Expert], place: str) -> tuple[Question, ...]:
    """The questions with one trace per expert, each filed under the name of the expert whose teacher wrote it.

    An expert without any trace is a UserError; `place` says in it where the traces were looked for.
    """
    written = sorted({name for question in questions for name in question.traces})
    for expert in experts:
        if (expert.teacher or expert.name) not in written:
            wanted = f"expert {expert.name!r}" + (f" (teacher {expert.teacher!r})" if expert.teacher else "")
            raise UserError(f"{place}: there is no trace of {wanted}; traces are there of {listed(written)}.")
    return tuple(
        replace(
            question,
            traces={
                expert.name: question.traces[expert.teacher or expert.name]
                for expert in experts
                if (expert.teacher or expert.name) in question.traces
            },
        )
        for question in questions
    )


def listed(names: Iterable[str], most: int = 12) -> str:
    """`a, b, c`, or `none`; a long list is cut with `…`."""
    shown = list(names)
    return ", ".join([*shown[:most], *(["…"] if len(shown) > most else [])]) or "none"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` if a known name is close, otherwise `known are a, b, c.`"""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {listed(names)}."
