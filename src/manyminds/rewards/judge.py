"""Judges answers: asks the rewards, adds up what they say, and keeps one bad sample from costing more than itself."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyminds import clock
from manyminds.errors import UserError
from manyminds.records import PLAIN, Prompt, Question, Rollout, Scored
from manyminds.rewards.asking import Asker
from manyminds.rewards.judgments import Judgments
from manyminds.rewards.probes import Problem, of_all
from manyminds.rewards.quarantine import Quarantine
from manyminds.rewards.resolve import Entry, resolve_all
from manyminds.rewards.reward import Reward
from manyminds.rewards.sample import Sample, TrainerState
from manyminds.rewards.verdict import Verdict, sums
from manyminds.sections import JudgeConfig, RewardConfig
from manyminds.workers import NOT_WAITED_FOR

ENOUGH = 16
"""With fewer samples in a call, a share of failures says nothing about the reward."""
PATIENCE = 4
"""Failures of a reward after which `check` tries it no further."""
TOLD = 8
"""Different reasons why a model gave no score that are told in a run."""


class Judge:
    """`judge(rollouts)` gives the answers with their rewards: the weighted sum of the parts that apply.

    If no part applies the reward is 0. If a reward raises, is late, ends its process, or returns what is not a finite
    number, that sample's reward is 0 (`config.on_error` "zero"), or it is left out ("skip"), and the sample goes to
    `quarantine` with its error. Where a model gives no score, its part does not apply; such samples go to `quarantine`
    too, and each reason is told once, in `notes`.

    `begin` tells it of each step of a run, and functions that ask how far training is. `metrics` is of all that was
    judged in the step, outside of a run in the last call: `verifier/errors`, `verifier/killed` and
    `verifier/not_available` (samples), `rewards/<name>/mean` and `/std` over the samples to which the reward applied,
    and `rewards/<name>/<key>`, the mean of what a reward logs besides.

    `folder`: where rewards may keep what a run needs to go on to the same numbers, and failed samples are written, as
    are judgments (judgments.py) of what it is called on. Worker processes end with `close`, at the end
    of a `with`, or with the judge. UserError for rewards that do not go together or cannot be sent to them.
    """

    def __init__(
        self,
        rewards: Sequence[Entry],
        extract: Callable[[str], str | None],
        *,
        config: JudgeConfig | None = None,
        folder: Path | None = None,
    ) -> None:
        self.key = "rewards" if any(isinstance(entry, RewardConfig) for entry in rewards) else "task.rewards"
        self.rewards = resolve_all(rewards, self.key, folder)
        self.extract = extract
        self.config = config or JudgeConfig()
        self.metrics: dict[str, float] = {}
        self.notes: list[str] = []
        self.state = TrainerState()
        self._told: set[tuple[str, str]] = set()
        self._of_step: list[Verdict] = []
        self._ask = Asker(self.rewards, extract, self.config, self.key)
        self._aside = Quarantine(folder)
        self._judgments = Judgments(folder)

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        """The first failed samples, as plain values."""
        return self._aside.rows

    @property
    def _step(self) -> int:
        """The training step that is under way; 0 before the first, and where there is no run."""
        return self.state.global_step + 1 if self.state.max_steps else 0

    def begin(self, state: TrainerState) -> None:
        """A step of a run begins."""
        self.state = state
        self._of_step.clear()
        self.metrics = {}

    def close(self) -> None:
        """End the worker processes; the next call starts others."""
        self._ask.close()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        """The rollouts in their order, judged; without those that failed if `config.on_error` is "skip".

        UserError if a reward fails on most of many samples, or at all if `config.on_error` is "raise".
        """
        scored, verdicts = self._judged(rollouts, self.rewards)
        self._judgments.add(rollouts, verdicts, self._step)
        if not self._step:
            self._of_step.clear()
        self._of_step += verdicts
        self.metrics = _metrics(self._of_step, self.rewards)
        return without_failures(scored, verdicts) if self.config.on_error == "skip" else scored

    def verify(self, rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        """As calling it, but by the verifier alone, the first reward: what an evaluation goes by. Nothing is left out:
        an answer on which the verifier fails is not right."""
        return self._judged(rollouts, self.rewards[:1])[0]

    def score(self, question: Question, text: str) -> float:
        """The weighted sum for `text` as an answer to the question; nothing is standardised, as there is no group."""
        return self.look(question, [text])[0][0]

    def look(self, question: Question, texts: Sequence[str]) -> list[tuple[float, Verdict]]:
        """Of each text as an answer to the question: the weighted sum, not standardised, and what each reward said. A
        reward that fails on several of them is asked no further."""
        verdicts = self._verdicts([_written(question, text) for text in texts], self.rewards, PATIENCE)
        alone = [replace(reward, normalise="none") for reward in self.rewards]
        return list(zip(sums(verdicts, alone), verdicts, strict=True))

    def check(self, questions: Iterable[Question], answer_form: str = "{answer}") -> tuple[Problem, ...]:
        """What is wrong with the rewards on these questions; nothing if all is well.

        The first reward is the verifier: it must give 1 to the gold answer (written in the task's `answer_form`)
        and to the worked solution, and 0 to every trick (probes.py). No reward may fail on any of them. Gates do not
        count here, and rewards that ask a model are asked about the first question only, and not about what is very
        long.
        """
        tried = list(of_all(list(questions), answer_form))
        samples = [self._sample(_written(question, probe.text)) for _, question, probe in tried]
        problems: list[tuple[int, Problem]] = []
        for reward in self.rewards:
            asked = [n for n, (at, _, probe) in enumerate(tried) if not reward.paid or (at == 0 and not probe.long)]
            outcomes = self._ask(reward, [samples[n] for n in asked], PATIENCE)
            for n, outcome in zip(asked, outcomes, strict=True):
                place, question, probe = tried[n]
                who = f"{question.source}: {reward.name}" if question.source else reward.name
                subject = f"{probe.what} ({probe.text[-40:]!r}) of question {question.id!r}"
                why = outcome.failure or outcome.unanswered
                if why and why != NOT_WAITED_FOR:
                    problems.append((place, Problem(f"{who} fails on {subject}: {why}.")))
                elif not why and reward is self.rewards[0] and not reward.gives(outcome.value, probe.due):
                    said = f"{who} gives {subject} {outcome.value}, not {probe.due:g}."
                    problems.append((place, Problem(said, fooled=not probe.due)))
        return tuple(problem for _, problem in sorted(problems, key=lambda one: one[0]))

    def _judged(
        self, rollouts: Sequence[Rollout], rewards: Sequence[Reward]
    ) -> tuple[tuple[Scored, ...], list[Verdict]]:
        """The rollouts judged by these rewards, and what each reward said."""
        with clock.span("checks"):
            verdicts = self._verdicts(rollouts, rewards)
            totals = sums(verdicts, rewards)
        self._aside.add(rollouts, verdicts, self._step)
        self._stop_if_broken(rollouts, verdicts, rewards)
        self._tell(verdicts)
        scored = (Scored(*its) for its in zip(rollouts, totals, [verdict.parts for verdict in verdicts], strict=True))
        return tuple(scored), verdicts

    def _verdicts(
        self, rollouts: Sequence[Rollout], rewards: Sequence[Reward], patience: float | None = None
    ) -> list[Verdict]:
        """What each reward says of each answer; `patience` by default what the configuration leaves."""
        verdicts = [Verdict(rollout.prompt.group_id) for rollout in rollouts]
        samples = [self._sample(rollout) for rollout in rollouts]
        named = {reward.name: reward for reward in rewards}
        for reward in rewards:
            gate = named.get(reward.gate)
            for verdict in verdicts:
                verdict.parts[reward.name] = None
                if not verdict.open(gate):
                    verdict.shut.add(reward.name)
            asked = [i for i, verdict in enumerate(verdicts) if reward.name not in verdict.shut]
            its = self._patience(len(asked)) if patience is None else patience
            outcomes = self._ask(reward, [samples[i] for i in asked], its)
            for i, outcome in zip(asked, outcomes, strict=True):
                verdicts[i].take(reward.name, outcome)
        return verdicts

    def _patience(self, asked: int) -> float:
        """How many of so many answers a reward may fail on before it is clear that the run ends."""
        if self.config.on_error == "raise":
            return 0
        return int(self.config.max_error_rate * asked) if asked >= ENOUGH else math.inf

    def _sample(self, rollout: Rollout) -> Sample:
        return Sample(rollout, self.extract, self.state)

    def _stop_if_broken(
        self, rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], rewards: Sequence[Reward]
    ) -> None:
        where = f"; what it failed on is in {self._aside.path}" if self._aside.path else ""
        for rollout, verdict in zip(rollouts, verdicts, strict=True):
            if verdict.failures and self.config.on_error == "raise":
                (name, why), *_ = verdict.failures.items()
                raise UserError(
                    f"{self.key}: the reward {name!r} failed on an answer to question {rollout.prompt.question.id!r} "
                    f"with {why}{where}; mend it, or set `judge.on_error` to zero or skip."
                )
        for reward in rewards:
            asked = [verdict for verdict in verdicts if reward.name not in verdict.shut]
            errors = [verdict.failures[reward.name] for verdict in asked if reward.name in verdict.failures]
            if len(asked) >= ENOUGH and len(errors) > self.config.max_error_rate * len(asked):
                failed = sum(error != NOT_WAITED_FOR for error in errors)
                rest = f" ({len(errors) - failed} more were not waited for)" if failed < len(errors) else ""
                raise UserError(
                    f"{self.key}: the reward {reward.name!r} failed on {failed} of {len(asked)} answers{rest}, "
                    f"first with {errors[0]}{where}; mend it, or raise `judge.max_error_rate`."
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
        "verifier/killed": float(sum(v.killed for v in verdicts)),
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


def without_failures(scored: Sequence[Scored], verdicts: Sequence[Verdict]) -> tuple[Scored, ...]:
    """The answers on which no reward failed. A question loses all its answers if an expert has none left on it, so that
    the experts stay comparable."""
    kept = [one for one, verdict in zip(scored, verdicts, strict=True) if not verdict.failures]
    emptied = {verdict.group for verdict in verdicts} - {one.rollout.prompt.group_id for one in kept}
    lost = {question for question, _ in emptied}
    return tuple(one for one in kept if one.rollout.prompt.question.id not in lost)
