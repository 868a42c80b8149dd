"""Judges answers: asks the rewards, adds up what they say, and keeps one bad sample from costing more than itself."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyminds import clock
from manyminds.errors import UserError
from manyminds.records import PLAIN, Prompt, Question, Rollout, Scored
from manyminds.rewards.resolve import Entry, resolve_all
from manyminds.rewards.reward import Reward
from manyminds.rewards.sample import Sample, TrainerState
from manyminds.rewards.verdict import Verdict, sums
from manyminds.sections import RewardConfig

NONSENSE = "xyzzy"
ENOUGH = 16
"""With fewer samples in a call, a share of failures says nothing about the reward."""
QUARANTINE = 1000
"""Failed samples kept for the user to look at; all of them are counted."""
TOLD = 8
"""Different reasons why a model gave no score that are told in a run."""


class Judge:
    """`judge(rollouts)` gives the answers with their rewards: the weighted sum of the parts that apply.

    If no part applies the reward is 0. If a reward raises, or returns what is not a finite number, that sample's
    reward is 0, and the sample goes to `quarantine` with its error. Where a model gives no score, its part does not
    apply; such samples go to `quarantine` too, and each reason is told once, in `notes`. `metrics` tells of the last
    call: `verifier/errors` and `verifier/not_available` (samples), `rewards/<name>/mean` and `/std` over the samples to
    which the reward applied, and `rewards/<name>/<key>`, the mean of what a reward logs besides.

    `state`, which a run sets, is handed to functions that ask how far training is. `folder`: where rewards may keep
    what a run needs to go on to the same numbers.
    """

    def __init__(
        self,
        rewards: Sequence[Entry],
        extract: Callable[[str], str | None],
        *,
        max_error_rate: float = 0.5,
        folder: Path | None = None,
    ) -> None:
        self.key = "rewards" if any(isinstance(entry, RewardConfig) for entry in rewards) else "task.rewards"
        self.rewards = resolve_all(rewards, self.key, folder)
        self.extract = extract
        self.max_error_rate = max_error_rate
        self.quarantine: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self.notes: list[str] = []
        self.state = TrainerState()
        self._told: set[tuple[str, str]] = set()

    def __call__(self, rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        """The rollouts in their order, judged. UserError if a reward fails on most of many samples."""
        scored, self.metrics = self._judged(rollouts, self.rewards)
        return scored

    def verify(self, rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        """As calling it, but by the verifier alone, the first reward: what an evaluation goes by."""
        return self._judged(rollouts, self.rewards[:1])[0]

    def score(self, question: Question, text: str) -> float:
        """The weighted sum for `text` as an answer to the question; nothing is standardised, as there is no group."""
        alone = [replace(reward, normalise="none") for reward in self.rewards]
        return sums([self._verdict(question, text)], alone)[0]

    def parts(self, question: Question, text: str) -> dict[str, float | None]:
        """What each reward gives `text` as an answer to the question, before weights; None where it is not asked."""
        return self._verdict(question, text).parts

    def check(self, questions: Iterable[Question], answer_form: str = "{answer}") -> tuple[str, ...]:
        """What is wrong with the rewards on these questions, a sentence each; nothing if all is well.

        The first reward is the verifier: it must give 1 to the gold answer (written in the task's `answer_form`)
        and to the worked solution, and 0 to nonsense. No reward may fail on any of them. Gates do not count here, and
        rewards that ask a model are asked about the first question only.
        """
        some = list(questions)
        texts: dict[str, tuple[list[tuple[int, str]], float]] = {
            "the gold answer": ([(i, answer_form.replace("{answer}", q.answer)) for i, q in enumerate(some)], 1.0),
            "nonsense": ([(i, answer_form.replace("{answer}", NONSENSE)) for i, _ in enumerate(some)], 0.0),
            "an empty response": ([(i, "") for i, _ in enumerate(some)], 0.0),
            "the worked solution": ([(i, q.solution) for i, q in enumerate(some) if q.solution], 1.0),
        }
        problems: list[tuple[int, str]] = []
        for what, (written, due) in texts.items():
            samples = [self._sample(_written(some[i], text)) for i, text in written]
            for reward in self.rewards:
                tried = [one for one in range(len(written)) if not reward.paid or written[one][0] == 0]
                for one, outcome in zip(tried, reward([samples[one] for one in tried]), strict=True):
                    i, text = written[one]
                    question = some[i]
                    place = f"{question.source}: " if question.source else ""
                    subject = f"{what} ({text[-40:]!r}) of question {question.id!r}"
                    given = outcome.value
                    if why := outcome.failure or outcome.unanswered:
                        problems.append((i, f"{place}{reward.name} fails on {subject}: {why}."))
                    elif reward is self.rewards[0] and given != due and not (due == 0.0 and given is None):
                        problems.append((i, f"{place}{reward.name} gives {subject} {given}, not {due:g}."))
        return tuple(problem for _, problem in sorted(problems, key=lambda one: one[0]))

    def _judged(
        self, rollouts: Sequence[Rollout], rewards: Sequence[Reward]
    ) -> tuple[tuple[Scored, ...], dict[str, float]]:
        """The rollouts judged by these rewards, and what there is to log of it."""
        with clock.span("checks"):
            verdicts = self._verdicts(rollouts, rewards)
            totals = sums(verdicts, rewards)
        for rollout, verdict in zip(rollouts, verdicts, strict=True):
            broken = {**verdict.failures, **verdict.unanswered}
            self.quarantine += [_put_aside(rollout, *failure) for failure in broken.items()]
        del self.quarantine[QUARANTINE:]
        self._stop_if_broken(verdicts, rewards)
        self._tell(verdicts)
        scored = (Scored(*its) for its in zip(rollouts, totals, [verdict.parts for verdict in verdicts], strict=True))
        return tuple(scored), _metrics(verdicts, rewards)

    def _verdicts(self, rollouts: Sequence[Rollout], rewards: Sequence[Reward]) -> list[Verdict]:
        verdicts = [Verdict(rollout.prompt.group_id) for rollout in rollouts]
        samples = [self._sample(rollout) for rollout in rollouts]
        for reward in rewards:
            for verdict in verdicts:
                verdict.parts[reward.name] = None
                if not verdict.open(reward):
                    verdict.shut.add(reward.name)
            asked = [i for i, verdict in enumerate(verdicts) if reward.name not in verdict.shut]
            for i, outcome in zip(asked, reward([samples[i] for i in asked]), strict=True):
                verdicts[i].take(reward.name, outcome)
        return verdicts

    def _verdict(self, question: Question, text: str) -> Verdict:
        return self._verdicts([_written(question, text)], self.rewards)[0]

    def _sample(self, rollout: Rollout) -> Sample:
        return Sample(rollout, self.extract, self.state)

    def _stop_if_broken(self, verdicts: Sequence[Verdict], rewards: Sequence[Reward]) -> None:
        for reward in rewards:
            asked = [verdict for verdict in verdicts if reward.name not in verdict.shut]
            errors = [verdict.failures[reward.name] for verdict in asked if reward.name in verdict.failures]
            if len(asked) >= ENOUGH and len(errors) > self.max_error_rate * len(asked):
                raise UserError(
                    f"{self.key}: the reward {reward.name!r} failed on {len(errors)} of {len(asked)} answers, "
                    f"first with {errors[0]}; mend it, or raise `max_error_rate`."
                )

    def _tell(self, verdicts: Sequence[Verdict]) -> None:
        """Note each reason once for which a model gave no score."""
        counts = Counter(reason for verdict in verdicts for reason in verdict.unanswered.items())
        for (name, why), count in counts.items():
            if (name, why) not in self._told and len(self._told) < TOLD:
                self._told.add((name, why))
                self.notes.append(
                    f"the reward {name!r} gave no score to {count} of {len(verdicts)} answers, which count without it: "
                    f"{why}"
                )


def _metrics(verdicts: Sequence[Verdict], rewards: Sequence[Reward]) -> dict[str, float]:
    metrics = {
        "verifier/errors": float(sum(bool(v.failures) for v in verdicts)),
        "verifier/not_available": float(sum(not v.available and not v.failures for v in verdicts)),
    }
    values: dict[str, list[float]] = defaultdict(list)
    for reward in rewards:
        parts = [part for v in verdicts if (part := v.parts[reward.name]) is not None]
        if parts:
            metrics[f"rewards/{reward.name}/mean"] = statistics.fmean(parts)
            metrics[f"rewards/{reward.name}/std"] = statistics.pstdev(parts)
    for verdict in verdicts:
        for key, value in verdict.extras.items():
            values[key].append(value)
    return metrics | {key: statistics.fmean(numbers) for key, numbers in values.items()}


def _written(question: Question, text: str) -> Rollout:
    """A text as an answer that nobody drew."""
    return Rollout(Prompt(question, PLAIN), ids=(), logprobs=(), text=text)


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
