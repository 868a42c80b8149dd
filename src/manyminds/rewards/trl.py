"""TRL's reward functions: one call for a batch, `f(prompts, completions, completion_ids, **columns) -> list`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from manyminds.rewards.kinds import (
    Portable,
    bound,
    column,
    columns_of,
    numbers,
    parameters,
    required,
    takes_any,
)
from manyminds.rewards.sample import Outcome, Sample, answered, failed, messages_of, number, read
from manyminds.rewards.waiting import is_async, wait

LOGGERS = ("log_extra", "log_metric")
TRL_GIVES = ("prompts", "completions", "completion_ids", "trainer_state", *LOGGERS)


@dataclass(frozen=True)
class Trl(Portable):
    """TRL's reward function, sync or async, called once for all samples.

    It is given keyword lists: prompts, completions, completion_ids, and every column of the questions (`columns` names
    them anew: {solution: answer}); and trainer_state, log_extra, log_metric. Completions are texts, or lists of one
    message where the question is chat messages (`messages` says which, whatever the rows are).
    If it raises, it is called once more for each sample alone, so that a bad answer costs itself.
    """

    alone: ClassVar[bool] = False

    columns: Mapping[str, str] = field(default_factory=dict)
    messages: bool | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Outcome]:
        try:
            return self.outcomes(self.given(samples), len(samples))
        except Exception as error:
            if len(samples) == 1:
                return [failed(error)]
        return [outcome for sample in samples for outcome in self([sample])]

    def given(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Its arguments, but for the two functions that it logs with. LookupError for a column that is not there."""
        given = {
            **self._columns(samples),
            **self._texts(samples),
            "completion_ids": [list(sample.rollout.ids) for sample in samples],
            "trainer_state": samples[0].state,
        }
        settled, named = bound(self.function), parameters(self.function)
        wanted = [*given] if takes_any(self.function) else named
        known = {**given, **dict.fromkeys(LOGGERS)}
        missing = [n for n in named if n not in known and n not in settled and required(self.function, n)]
        if missing:
            raise LookupError(f"it asks for the column {missing[0]!r}; the questions have {', '.join(known)}")
        return {name: given[name] for name in wanted if name in given and name not in settled}

    def outcomes(self, given: Mapping[str, Any], count: int) -> list[Outcome]:
        """What it returns and logs, an outcome each; all failed if it returns too few or too many."""
        metrics: dict[str, list[float]] = defaultdict(list)
        logged: dict[str, list[Any]] = {}
        loggers: dict[str, Callable[..., Any]] = {
            "log_extra": lambda name, values: logged.update({str(name): list(values)}),
            "log_metric": lambda name, value: metrics[str(name)].append(number(str(name), value)),
        }
        named, settled = parameters(self.function), bound(self.function)
        its = {n: log for n, log in loggers.items() if (n in named or takes_any(self.function)) and n not in settled}
        results = self._results({**given, **its})
        if len(results) != count:  # not raised: a function that returns one whatever it is given must not pass alone
            return [failed(ValueError(f"it returned {len(results)} rewards for {count} completions"))] * count
        means = {name: statistics.fmean(values) for name, values in metrics.items()}
        rows = [{name: its[i] for name, its in logged.items() if len(its) == count} for i in range(count)]
        return [_with(read(one), means | numbers(row)) for one, row in zip(results, rows, strict=True)]

    def _results(self, given: Mapping[str, Any]) -> list[Any]:
        """What the function returns. A TypeError has a hint where text may have been read as messages."""
        try:
            result = self.function(**given)
            return list(wait(result) if is_async(self.function) else result)
        except TypeError as error:
            if "string indices" in str(error) and self.messages is None:
                raise TypeError(f"{error}; if it reads chat messages, say `messages: true`") from error
            raise

    def _texts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Prompts and completions, in one form for all samples."""
        prompts = [messages_of(sample.question) for sample in samples]
        chat = any(prompts) if self.messages is None else self.messages
        texts = [sample.question.text for sample in samples]
        completions = [sample.rollout.text for sample in samples]
        if not chat:
            return {"prompts": texts, "completions": completions}
        as_chat = [its or [{"role": "user", "content": text}] for its, text in zip(prompts, texts, strict=True)]
        return {"prompts": as_chat, "completions": list(map(answered, completions))}

    def _columns(self, samples: Sequence[Sample]) -> dict[str, list[Any]]:
        rows = [columns_of(sample) for sample in samples]
        names = dict.fromkeys(name for row in rows for name in row if name not in ("prompt", "completion"))
        found = {name: [row.get(name) for row in rows] for name in names}
        return found | {name: [column(row, ours) for row in rows] for name, ours in self.columns.items()}


def _with(outcome: Outcome, extras: Mapping[str, float]) -> Outcome:
    return replace(outcome, extras={**outcome.extras, **extras})
