"""What does not fit into the model's context is left out, counted and told; nothing is ever cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from manyminds.errors import UserError
from manyminds.records import Question

Splits = Mapping[str, tuple[Question, ...]]


def with_room(splits: Splits, context: int, max_tokens: int) -> tuple[dict[str, tuple[Question, ...]], tuple[str, ...]]:
    """The rendered questions by set that fit, and a sentence for each kind of thing that was left out.

    A question fits if its longest prompt, under any expert, leaves `max_tokens` of the `context` for an answer. A trace
    or worked solution fits if it ends within the context after that prompt; otherwise it goes and the question stays.
    Raises UserError if a set loses all its questions; it names the largest `max_tokens` with which none would.
    """
    room = context - max_tokens
    kept = {split: tuple(q for q in questions if _prompt(q) <= room) for split, questions in splits.items()}
    out = {split: [q for q in questions if _prompt(q) > room] for split, questions in splits.items()}
    for split, its in out.items():
        if its and not kept[split]:
            least = min(its, key=_prompt)
            raise UserError(
                f"task.{split}: none of the {len(its)} prompts fits; the shortest has {_prompt(least)} tokens "
                f"({place_of(least)}), but {left(context, max_tokens)}; shorten the prompts or "
                f"{_instead(splits, context)}."
            )
    notes = []
    if any(out.values()):
        longest = max((q for its in out.values() for q in its), key=_prompt)
        notes.append(
            f"Questions left out as their prompts are too long: {_counts(out, splits)}. The longest has "
            f"{_prompt(longest)} tokens ({place_of(longest)}), but {left(context, max_tokens)}."
        )
    return _worked(kept, context, notes), tuple(notes)


def _instead(splits: Splits, context: int) -> str:
    """What to do where a set loses all its questions, besides shortening prompts."""
    lengths = [[_prompt(question) for question in questions] for questions in splits.values() if questions]
    all_fit, one_fits = context - max(map(max, lengths)), context - max(map(min, lengths))
    if all_fit > 0:
        return f"lower sampling.max_tokens to {all_fit}, with which all fit"
    if one_fits > 0:
        return f"lower sampling.max_tokens to {one_fits}, with which a question is left in each set"
    return "take a model with a longer context"


def _worked(splits: Splits, context: int, notes: list[str]) -> dict[str, tuple[Question, ...]]:
    """The questions without the worked answers that end beyond the context; what went is added to `notes`."""
    lost: dict[str, list[tuple[int, Question]]] = {}
    done: dict[str, tuple[Question, ...]] = {}
    every: dict[str, int] = {}
    for split, questions in splits.items():
        fitting = []
        for question in questions:
            room = context - _prompt(question)
            worked = {name: trace.ids for name, trace in question.traces.items()}
            for what, ids in (("worked solutions", question.solution_ids), *((_of(n), i) for n, i in worked.items())):
                every[what] = every.get(what, 0) + bool(ids)
                if len(ids) > room:
                    lost.setdefault(what, []).append((len(ids), question))
            traces = {name: trace for name, trace in question.traces.items() if len(trace.ids) <= room}
            solution = question.solution_ids if len(question.solution_ids) <= room else ()
            fitting.append(replace(question, traces=traces, solution_ids=solution))
        done[split] = tuple(fitting)
    for what, its in lost.items():
        length, question = max(its, key=lambda one: one[0])
        notes.append(
            f"Left out as they are too long, their questions stay: {len(its)} of {every[what]} {what}. The longest has "
            f"{length} tokens ({place_of(question)}), which with the {_prompt(question)} of its prompt exceeds the "
            f"model's context of {context}."
        )
    return done


def _of(expert: str) -> str:
    return f"traces of {expert!r}"


def _prompt(question: Question) -> int:
    """Tokens of the longest prompt, and of the gold answer where it is to be read after a response."""
    return max(map(len, question.prompt_ids.values())) + len(question.marker_ids) + len(question.answer_ids)


def left(context: int, max_tokens: int) -> str:
    """How much room there is for a prompt, in words."""
    room = max(0, context - max_tokens)
    return f"the model's context of {context} leaves {room} beside `max_tokens`={max_tokens} for the answer"


def place_of(question: Question) -> str:
    """Where a question stands, for messages."""
    return question.source or f"question {question.id!r}"


def _counts(some: Mapping[str, Sequence[Question]], every: Splits) -> str:
    return ", ".join(f"{len(its)} of {len(every[split])} in {split}" for split, its in some.items() if its)
