"""What every kind of reward is given, an answer to judge, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from manyminds.records import Question, Rollout

Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TrainerState:
    """How far training is, under the names that TRL's functions read: optimiser steps taken, and steps in all."""

    global_step: int = 0
    max_steps: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer to judge; `extract` is the task's function that reads the final answer out of a text."""

    rollout: Rollout
    extract: Callable[[str], str | None]
    state: TrainerState = TrainerState()

    @property
    def question(self) -> Question:
        return self.rollout.prompt.question


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a verifier of one word said: which `judge`, the line that it read, its `label` (None for a word that is
    none), and the probability of what it said. A run keeps all that it trains on."""

    judge: str
    line: str
    label: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reward says of one sample: a value (None: it does not apply) and numbers to log besides.

    `failure` says why a function broke on the sample: the sample's reward is then 0. `unanswered` says why a model
    gave no score: the sample is judged without this part. Either way the value is None. `killed`: the function took its
    worker process with it, or was too late and was killed. `judgment`: what the value follows from.
    """

    value: float | None = None
    extras: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""
    unanswered: str = ""
    killed: bool = False
    judgment: Judgment | None = None


def read(result: Any) -> Outcome:
    """A function's result for one sample: a number (a bool is one), None, or either with a dict of numbers to log.

    Whatever else it is becomes a failure that says so.
    """
    if isinstance(result, Outcome):
        return result
    extras: Any = {}
    try:
        if isinstance(result, tuple):
            if len(result) != 2 or not isinstance(result[1], Mapping):
                raise TypeError("a reward returns a number, None, or a number and a dict")
            result, extras = result
        value = None if result is None else number("the result", result)
        return Outcome(value, {str(key): number(str(key), extra) for key, extra in extras.items()})
    except (TypeError, ValueError) as error:
        return failed(error)


def failed(error: BaseException) -> Outcome:
    """The outcome of a sample on which a function raised."""
    return Outcome(failure=f"{type(error).__name__}: {error}")


def number(what: str, value: Any) -> float:
    """A finite number. Raises TypeError or ValueError that names `what`."""
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{what} is {type(value).__name__} {str(value)[:60]!r}, not a number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{what} is {found}, not a finite number")
    return found


def messages_of(question: Question) -> Messages | None:
    """The question as the chat messages in which its row has it, or None where the row has it as text."""
    if question.messages:
        return [{"role": role, "content": content} for role, content in question.messages]
    for column in ("prompt", "messages"):
        rows = question.extras.get(column)
        if isinstance(rows, list | tuple) and rows and all(isinstance(m, Mapping) and "role" in m for m in rows):
            return [dict(message) for message in rows]
    return None


def prompt_of(sample: Sample) -> str | Messages:
    """The question as its row has it, text or messages; no expert's system message."""
    return messages_of(sample.question) or sample.question.text


def completion_of(sample: Sample) -> str | Messages:
    """The response in the form of the question: text, or one message of the assistant."""
    return answered(sample.rollout.text) if messages_of(sample.question) else sample.rollout.text


def answered(text: str) -> Messages:
    """A response as chat messages."""
    return [{"role": "assistant", "content": text}]


ARGUMENTS: Mapping[str, Callable[[Sample], Any]] = MappingProxyType(
    {
        "question": lambda sample: sample.question,
        "response": lambda sample: sample.rollout.text,
        "answer": lambda sample: sample.question.answer,
        "solution": lambda sample: sample.question.solution,
        "rollout": lambda sample: sample.rollout,
        "extract": lambda sample: sample.extract,
        "expert": lambda sample: sample.rollout.prompt.expert,
        "prompt": prompt_of,
        "completion": completion_of,
        "info": lambda sample: sample.question.extras,
    }
)
"""What a function of one answer may ask for, by name."""

PLURALS: Mapping[str, str] = MappingProxyType(
    {f"{name}s": name for name in ARGUMENTS if name not in ("extract", "info")}
)
"""What a function of a batch may ask for: lists, one entry a sample."""


def named(sample: Sample, names: Sequence[str]) -> dict[str, Any]:
    """These arguments of one sample."""
    return {name: ARGUMENTS[name](sample) for name in names}
