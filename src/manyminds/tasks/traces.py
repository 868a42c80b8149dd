"""Worked answers of a user's experts, from a file of their own: a row each, with `id` (of the question), `expert`,
`solution`, and optionally `final_answer`, `correct` and `origin`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from manyminds.errors import UserError
from manyminds.records import PLAIN, Expert, Prompt, Question, Rollout, Trace
from manyminds.rewards.judge import Judge
from manyminds.tasks.places import read_rows
from manyminds.tasks.rows import Row, shortened
from manyminds.tasks.task import SPLITS, did_you_mean, listed, with_experts

Splits = Mapping[str, Sequence[Question]]


@dataclass(frozen=True, slots=True)
class Final:
    """The final answer of a text: `extract` reads it, and it is written after `marker`."""

    extract: Callable[[str], str | None]
    marker: str

    def stated(self, text: str, answer: str) -> str:
        """The text, with this final answer if it states none."""
        return text if self.extract(text) is not None else f"{text}\n{self.marker} {answer}"


@dataclass(frozen=True, slots=True)
class Taught:
    """The sets with their experts' worked answers, whose `origins` are named as the rows name them."""

    splits: dict[str, tuple[Question, ...]]
    experts: tuple[Expert, ...]
    origins: tuple[str, ...]

    def licence(self, licence: str) -> str:
        """The data's licence, and where the worked answers come from."""
        return f"{licence}; worked answers: {listed(self.origins)}" if self.origins else licence


def with_traces(
    splits: Splits, place: str | Path, experts: Sequence[Expert], final: Final, judge: Callable[[], Judge]
) -> Taught:
    """The questions with the worked answers in `place`; each expert must have one in some set.

    Without `experts`, all who wrote one are experts, with the message "You are the … expert." Of several answers by
    one expert to a question the first right one is kept, else the first. Raises UserError for a row that cannot be
    read, or is about no question of these.
    """
    asked = {question.id: question for questions in splits.values() for question in questions}
    rows = tuple(read_rows(place, "experts_file"))
    for row in rows:
        if (name := row.text("id")) not in asked:
            raise UserError(f"{row.place}: there is no question with the id {name!r}; {did_you_mean(name, asked)}")
    traces: dict[str, dict[str, Trace]] = {}
    for row, trace in zip(rows, _traces(rows, asked, final, judge), strict=True):
        its = traces.setdefault(row.text("id"), {})
        if its.setdefault(trace.source, trace).reward != 1.0 and trace.reward == 1.0:
            its[trace.source] = trace
    experts = tuple(experts) or _writers(rows)
    every = [replace(q, traces=traces.get(q.id, {})) for split in SPLITS for q in splits[split]]
    filled = iter(with_experts(every, experts, str(place)))
    origins = dict.fromkeys(origin for row in rows if (origin := row.text("origin", optional=True)))
    return Taught({split: tuple(next(filled) for _ in splits[split]) for split in SPLITS}, experts, tuple(origins))


def _writers(rows: Sequence[Row]) -> tuple[Expert, ...]:
    """All who wrote a worked answer, as experts. UserError for one that the plain prompt could not be told from."""
    first = {row.text("expert"): row.place for row in reversed(rows)}
    if PLAIN in first:
        raise UserError(
            f"{first[PLAIN]}: an expert may not be named '{PLAIN}': that is the prompt without an expert; rename it, "
            f"or name the experts in the recipe, one of them with `teacher: {PLAIN}`."
        )
    names = dict.fromkeys(row.text("expert") for row in rows)
    return tuple(Expert(name, f"You are the {name} expert.") for name in names)


def _traces(
    rows: Sequence[Row], asked: Mapping[str, Question], final: Final, judge: Callable[[], Judge]
) -> list[Trace]:
    """The worked answers, right or wrong (reward 1 or 0) as their rows say, else as the verifier says of what they
    state; None where nothing is stated, or the verifier is a model that would have to be paid."""
    says = [_says(row) for row in rows]
    texts = [row.text("solution") for row in rows]
    stated = [
        final.stated(text, answer) if (answer := row.text("final_answer", optional=True)) else text
        for row, text in zip(rows, texts, strict=True)
    ]
    open_ones = [i for i, text in enumerate(stated) if says[i] is None and final.extract(text) is not None]
    if open_ones and not (verifier := judge()).rewards[0].paid:
        written = [Rollout(Prompt(asked[rows[i].text("id")], PLAIN), (), (), stated[i]) for i in open_ones]
        for i, scored in zip(open_ones, verifier.verify(written), strict=True):
            says[i] = scored.right
    return [
        Trace(text=text, source=row.text("expert"), reward=None if right is None else float(right))
        for row, text, right in zip(rows, texts, says, strict=True)
    ]


def _says(row: Row) -> bool | None:
    correct = row.columns.get("correct")
    if correct is not None and not isinstance(correct, bool):
        raise UserError(f"{row.place}: `correct` must be true, false or null, not {shortened(correct)}.")
    return correct


def finisher(final: Final) -> Callable[[Question], Question]:
    """Adds the final answer to worked answers that are right and do not state it, or they would teach no answer."""

    def finish(question: Question) -> Question:
        return replace(
            question,
            solution=final.stated(question.solution, question.answer) if question.solution else "",
            traces={
                name: replace(trace, text=final.stated(trace.text, question.answer)) if trace.reward == 1.0 else trace
                for name, trace in question.traces.items()
            },
        )

    return finish
