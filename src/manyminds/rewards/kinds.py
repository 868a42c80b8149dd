"""The kinds of functions that can be rewards; each gives an outcome for every sample, and the judge sees no more.

- `EachSample`: a function of one answer, its arguments given by name;
- `Verl`: verl's `compute_score(data_source, solution_str, ground_truth, extra_info)`, of one answer too;
- `trl.py:Trl`: TRL's function of a batch, `f(prompts, completions, completion_ids, **columns) -> list`;
- `Batch`: a model's score of a batch, which may fail to come.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from manyminds.errors import UserError
from manyminds.rewards.sample import (
    ARGUMENTS,
    PLURALS,
    Outcome,
    Sample,
    failed,
    named,
    number,
    read,
)
from manyminds.rewards.waiting import is_async, together, wait

Function = Callable[..., Any]

VERL_GIVES = ("data_source", "solution_str", "ground_truth", "extra_info")


@dataclass(frozen=True)
class Portable(ABC):
    """A kind whose function can be called in another process: its arguments are gathered here, its results read there.

    `alone`: it is called once a sample, else once for all. What it makes of equal arguments is equal.
    """

    alone: ClassVar[bool]
    function: Function

    @property
    def portable(self) -> bool:
        """Whether it may be: coroutines share one event loop of this process, and what they wait for does not hang."""
        return not is_async(self.function)

    @abstractmethod
    def given(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The function's arguments for these samples: one, where it is called `alone`. Raises what is wrong."""

    @abstractmethod
    def outcomes(self, given: Mapping[str, Any], count: int) -> list[Outcome]:
        """What the function says of `count` samples, an outcome each. Raises whatever the function raises."""


@dataclass(frozen=True)
class EachSample(Portable):
    """A function of one answer. What it raises costs that answer.

    An `async def` is run on up to `concurrency` answers at once, each for at most `deadline` seconds.
    """

    alone: ClassVar[bool] = True

    arguments: tuple[str, ...] = ()
    concurrency: int = 16
    deadline: float | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Outcome]:
        if is_async(self.function):
            return wait(together([partial(self._later, sample) for sample in samples], self.concurrency))
        return [self._now(sample) for sample in samples]

    def given(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """What it asks for of one sample."""
        (sample,) = samples
        return named(sample, self.arguments)

    def outcomes(self, given: Mapping[str, Any], count: int) -> list[Outcome]:
        """What it says of one sample."""
        return [self.read(self.function(**given))]

    def read(self, result: Any) -> Outcome:
        """The function's result."""
        return read(result)

    # Anything may go wrong in a user's function; it is counted and kept, and ends the run if it is the rule.

    def _now(self, sample: Sample) -> Outcome:
        try:
            return self.outcomes(self.given([sample]), 1)[0]
        except Exception as error:
            return failed(error)

    async def _later(self, sample: Sample) -> Outcome:
        try:
            return self.read(await asyncio.wait_for(self.function(**self.given([sample])), self.deadline))
        except TimeoutError as error:
            return failed(error) if str(error) else failed(TimeoutError(f"no result in {self.deadline} s"))
        except Exception as error:
            return failed(error)


@dataclass(frozen=True)
class Verl(EachSample):
    """verl's `compute_score`: a number, or a dict with `score` whose other numbers are logged.

    `ground_truth` is the row's `reward_model.ground_truth` if it has one, else the gold answer; `extra_info` the row's
    own, else all its further columns; `data_source` the row's. `columns` names others: {ground_truth: solution}.
    """

    columns: Mapping[str, str] = field(default_factory=dict)

    def given(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """verl's arguments for one sample. LookupError for a column that is not there."""
        (sample,) = samples
        row, extras = columns_of(sample), sample.question.extras
        model, info = extras.get("reward_model"), extras.get("extra_info")
        gold = model.get("ground_truth") if isinstance(model, Mapping) else None
        given = {
            "data_source": row.get("data_source", ""),
            "solution_str": sample.rollout.text,
            "ground_truth": sample.question.answer if gold is None else gold,
            "extra_info": dict(info) if isinstance(info, Mapping) else dict(extras),
        }
        given |= {name: column(row, ours) for name, ours in self.columns.items()}
        return given if takes_any(self.function) else {name: given[name] for name in self.arguments}

    def read(self, result: Any) -> Outcome:
        if not isinstance(result, Mapping):
            return read(result)
        if "score" not in result:
            raise TypeError(f"compute_score returned a dict without `score`; it has {', '.join(map(str, result))}")
        return read((result["score"], numbers({key: its for key, its in result.items() if key != "score"})))


@dataclass(frozen=True)
class Batch:
    """A model's scores of a batch of samples, sync or async, within `deadline` seconds.

    What does not come, is late or is no finite number is unanswered: the part does not apply. The share of such
    samples is logged as `unanswered`. A UserError ends the run: nothing would ever be answered.
    """

    function: Function
    arguments: tuple[str, ...]
    deadline: float | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Outcome]:
        try:
            results = self._results(samples)
            if len(results) != len(samples):
                raise ValueError(f"it returned {len(results)} scores for {len(samples)} samples")
        except UserError:
            raise
        except TimeoutError as error:
            results = [Outcome(unanswered=str(error) or f"no result in {self.deadline} s")] * len(samples)
        except Exception as error:
            results = [Outcome(unanswered=f"{type(error).__name__}: {error}")] * len(samples)
        return [self._outcome(result) for result in results]

    def _results(self, samples: Sequence[Sample]) -> list[Any]:
        given: dict[str, Any] = {
            name: [ARGUMENTS[PLURALS[name]](sample) for sample in samples] for name in self.arguments if name in PLURALS
        }
        given |= {"samples": list(samples), "extract": samples[0].extract}
        given = {name: given[name] for name in self.arguments}
        if is_async(self.function):
            return list(wait(asyncio.wait_for(self.function(**given), self.deadline)))
        return list(self.function(**given))

    def _outcome(self, result: Any) -> Outcome:
        outcome = read(result)
        why = outcome.failure or outcome.unanswered
        extras = {**outcome.extras, "unanswered": float(bool(why))}
        return Outcome(None if why else outcome.value, extras, unanswered=why, judgment=outcome.judgment)


def columns_of(sample: Sample) -> dict[str, Any]:
    """What a row of the questions' file would hold; its own further columns go before ours.

    Without a worked solution, `solution` is the gold answer, as data sets for TRL have it.
    """
    question = sample.question
    ours = {
        "id": question.id,
        "question": question.text,
        "answer": question.answer,
        "solution": question.solution or question.answer,
        "expert": sample.rollout.prompt.expert,
    }
    return {**ours, **question.extras}


def column(row: Mapping[str, Any], name: str) -> Any:
    """One column of a row. Raises LookupError if there is none."""
    if name not in row:
        raise LookupError(f"there is no column {name!r}; the questions have {', '.join(row)}")
    return row[name]


def numbers(values: Mapping[Any, Any]) -> dict[str, float]:
    """Those of the values that are finite numbers; text that a function returns besides has no place among metrics."""
    found = {}
    for key, value in values.items():
        try:
            found[str(key)] = number(str(key), value)
        except (TypeError, ValueError):
            continue
    return found


def parameters(function: Function) -> list[str]:
    """The names of a function's arguments, without * and **."""
    its = inspect.signature(function).parameters.values()
    return [p.name for p in its if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def required(function: Function, name: str) -> bool:
    """Whether the argument has no default."""
    return inspect.signature(function).parameters[name].default is inspect.Parameter.empty


def takes_any(function: Function) -> bool:
    """Whether it has **kwargs."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def bound(function: Function) -> frozenset[str]:
    """The arguments that a recipe's options have settled."""
    return frozenset(function.keywords) if isinstance(function, partial) else frozenset()
