"""Judges answers: runs the rewards on each, adds them up, and keeps one bad sample from costing more than itself."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from manyminds import clock
from manyminds.errors import UserError
from manyminds.records import PLAIN, Prompt, Question, Rollout, Scored
from manyminds.rewards.reward import Reward, resolve

NONSENSE = "xyzzy"
ENOUGH = 16
"""With fewer samples in a call, a share of failures says nothing about the reward."""
QUARANTINE = 1000
"""Failed samples kept for the user to look at; all of them are counted."""


@dataclass(slots=True)
class Verdict:
    """What the rewards said of one answer; `failures` are the rewards that broke, with the error."""

    parts: dict[str, float | None] = field(default_factory=dict)
    extras: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        return any(part is not None for part in self.parts.values())


class Judge:
    """`judge(rollouts)` gives the answers with their rewards: the weighted sum of the parts that apply.

    If no part applies the reward is 0. If a reward raises, or returns what is not a finite number, that sample's
    reward is 0, and the sample goes to `quarantine` with its error. `metrics` tells of the last call:
    `verifier/errors` and `verifier/not_available` (samples), `rewards/<name>/mean` and `/std` over the samples to
    which the reward applied, and `rewards/<name>/<key>`, the mean of what a reward logs besides.
    """

    def __init__(
        self,
        rewards: Sequence[str | Reward],
        extract: Callable[[str], str | None],
        *,
        max_error_rate: float = 0.5,
    ) -> None:
        self.rewards = tuple(resolve(name) for name in rewards)
        self.extract = extract
        self.max_error_rate = max_error_rate
        self.quarantine: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        names = [reward.name for reward in self.rewards]
        if not names:
            raise UserError("task.rewards names no reward; at least one is needed, such as exact_answer.")
        if len(set(names)) < len(names):
            raise UserError(f"task.rewards: two rewards have one name ({', '.join(names)}); each needs its own.")

    def __call__(self, rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        """The rollouts in their order, judged. UserError if a reward fails on most of many samples."""
        with clock.span("checks"):
            verdicts = [self._verdict(rollout) for rollout in rollouts]
        for rollout, verdict in zip(rollouts, verdicts, strict=True):
            self.quarantine += [_put_aside(rollout, *failure) for failure in verdict.failures.items()]
        del self.quarantine[QUARANTINE:]
        self._stop_if_broken(verdicts)
        self.metrics = self._metrics(verdicts)
        return tuple(
            Scored(rollout, self._sum(verdict), verdict.parts)
            for rollout, verdict in zip(rollouts, verdicts, strict=True)
        )

    def score(self, question: Question, text: str) -> float:
        """The reward of `text` as an answer to the question."""
        return self._sum(self._verdict(Rollout(Prompt(question, PLAIN), ids=(), logprobs=(), text=text)))

    def check(self, questions: Iterable[Question], answer_form: str = "{answer}") -> tuple[str, ...]:
        """What is wrong with the rewards on these questions, a sentence each; nothing if all is well.

        The first reward is the verifier: it must give 1 to the gold answer (written in the task's `answer_form`)
        and to the worked solution, and 0 to nonsense. No reward may fail on any of them.
        """
        problems = []
        verifier = self.rewards[0].name
        for question in questions:
            texts = {
                "the gold answer": (answer_form.replace("{answer}", question.answer), 1.0),
                "nonsense": (answer_form.replace("{answer}", NONSENSE), 0.0),
                "an empty response": ("", 0.0),
            }
            if question.solution:
                texts["the worked solution"] = (question.solution, 1.0)
            for what, (text, due) in texts.items():
                verdict = self._verdict(Rollout(Prompt(question, PLAIN), ids=(), logprobs=(), text=text))
                place = f"{question.source}: " if question.source else ""
                subject = f"{what} ({text[-40:]!r}) of question {question.id!r}"
                problems += [f"{place}{name} fails on {subject}: {e}." for name, e in verdict.failures.items()]
                given = verdict.parts[verifier]
                if verifier not in verdict.failures and given != due and not (due == 0.0 and given is None):
                    problems.append(f"{place}{verifier} gives {subject} {given}, not {due:g}.")
        return tuple(problems)

    def _verdict(self, rollout: Rollout) -> Verdict:
        question = rollout.prompt.question
        given = {
            "question": question,
            "response": rollout.text,
            "answer": question.answer,
            "rollout": rollout,
            "extract": self.extract,
        }
        verdict = Verdict()
        for reward in self.rewards:
            verdict.parts[reward.name] = None
            # Anything may go wrong in a user's function; it is counted and kept, and ends the run if it is the rule.
            try:
                verdict.parts[reward.name], extras = reward(given)
            except Exception as error:
                verdict.failures[reward.name] = f"{type(error).__name__}: {error}"
            else:
                verdict.extras |= {f"rewards/{reward.name}/{key}": value for key, value in extras.items()}
        return verdict

    def _sum(self, verdict: Verdict) -> float:
        if verdict.failures:
            return 0.0
        parts = ((reward.weight, verdict.parts[reward.name]) for reward in self.rewards)
        return math.fsum(weight * part for weight, part in parts if part is not None)

    def _stop_if_broken(self, verdicts: Sequence[Verdict]) -> None:
        if len(verdicts) < ENOUGH:
            return
        for reward in self.rewards:
            errors = [v.failures[reward.name] for v in verdicts if reward.name in v.failures]
            if len(errors) > self.max_error_rate * len(verdicts):
                raise UserError(
                    f"task.rewards: the reward {reward.name!r} failed on {len(errors)} of {len(verdicts)} answers, "
                    f"first with {errors[0]}; mend it, or raise `max_error_rate`."
                )

    def _metrics(self, verdicts: Sequence[Verdict]) -> dict[str, float]:
        metrics = {
            "verifier/errors": float(sum(bool(v.failures) for v in verdicts)),
            "verifier/not_available": float(sum(not v.available and not v.failures for v in verdicts)),
        }
        values: dict[str, list[float]] = defaultdict(list)
        for reward in self.rewards:
            parts = [part for v in verdicts if (part := v.parts[reward.name]) is not None]
            if parts:
                metrics[f"rewards/{reward.name}/mean"] = statistics.fmean(parts)
                metrics[f"rewards/{reward.name}/std"] = statistics.pstdev(parts)
        for verdict in verdicts:
            for key, value in verdict.extras.items():
                values[key].append(value)
        return metrics | {key: statistics.fmean(numbers) for key, numbers in values.items()}


def _put_aside(rollout: Rollout, reward: str, error: str) -> dict[str, Any]:
    """A failed sample as plain values, so that it can be written as JSON."""
    question = rollout.prompt.question
    return {
        "reward": reward,
        "error": error,
        "question_id": question.id,
        "question": question.text,
        "answer": question.answer,
        "expert": rollout.prompt.expert,
        "response": rollout.text,
    }
