"""RLPR: the policy's own probability of the reference answer as the reward, no verifier (arXiv 2506.18254).

    r* = mean_t pi(y*_t | x, z, y*_<t)        y* the reference answer, z what the policy wrote before its own
    r0 = mean_t pi_0(y*_t | x, y*_<t)         the same without reasoning, under the policy as training began
    r  = (1 - s) max(r* - r0, 0) + s format   s = 0.1; - 1 for text that goes round in circles, where r is not 0
    groups of spread below half of its moving average are replaced;  GRPO on r, clipped to 1 - 0.2 .. 1 + 0.27

After OpenBMB/RLPR; departures are in docs/papers.md.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from statistics import fmean, stdev
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.formulas.confidence import CONFIDENCES, gain
from manyminds.formulas.repetition import repeats
from manyminds.methods.grpo import GRPO
from manyminds.records import Answers, Floats, Group, Ids, Lesson, Progress, Prompt, Rollout, Scored, Scores, Span


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the policy is: of the reference after its reasoning, of the reference without any (0 if that is not
    asked), and of its own answer (None if it has none)."""

    reference: float
    bare: float
    own: float | None


class RLPR(GRPO):
    """GRPO on how likely the policy's reasoning makes the reference answer.

    The reward takes the verifier's place in training; what the verifier gave remains what metrics call right. A
    trace keeps the reward that it came with. The memory is (steps that learnt, moving average of the spread or None).
    """

    paper: ClassVar[str] = "RLPR: Extrapolating RLVR to General Domains without Verifiers"
    arxiv: ClassVar[str] = "2506.18254"
    summary: ClassVar[str] = "The probability of the reference answer after the policy's reasoning is the reward."

    name: str = "rlpr"
    clip_high: float = Field(0.27, ge=0)
    rounds: int = Field(4, ge=1)
    confidence: Literal["mean", "product", "geometric"] = "mean"
    debias: Literal["rlpr", "none"] = "rlpr"
    debias_by: Literal["initial", "current"] = "initial"
    malformed: Literal["glued", "zero"] = "glued"
    format_share: float = Field(0.1, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0)
    repetition_words: int = Field(10, ge=1)
    repetition_times: int = Field(10, ge=2)
    spread_share: float = Field(0.5, ge=0)
    spread_decay: float = Field(0.99, ge=0, lt=1)
    spread_from: int = Field(6, ge=1)
    spread_filter_from: int = Field(11, ge=1)

    @property
    def needs(self) -> frozenset[str]:
        initial = self.debias == "rlpr" and self.debias_by == "initial"
        return frozenset({"answer_spans"} | ({"reference"} if initial else set()))

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        """The reference after each answer's reasoning, once if several reason alike; and after the bare prompt."""
        spans = {span.key: span for group in groups for answers in group.answers for span in self.spans(answers)}
        return tuple(spans.values())

    def spans(self, answers: Answers) -> Iterator[Span]:
        question, prompt = answers.prompt.question, answers.prompt
        if not question.answer_ids:
            return
        if self.debias == "rlpr":
            bare = prompt.ids + question.marker_ids
            model = "reference" if self.debias_by == "initial" else "policy"
            yield Span(key(prompt, None), bare, question.answer_ids, question.media, model=model)
        for scored in answers.own:
            if scored.rollout.answer_span or self.malformed == "glued":
                before = prompt.ids + reasoning(scored.rollout)
                yield Span(key(prompt, reasoning(scored.rollout)), before, question.answer_ids, question.media)

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        return tuple(
            replace(group, answers=tuple(replace(a, scored=self.rewarded(a, scores)) for a in group.answers))
            for group in groups
        )

    def rewarded(self, answers: Answers, scores: Scores) -> tuple[Scored, ...]:
        own = set(map(id, answers.own))
        return tuple(self.under_reward(s, scores) if id(s) in own else s for s in answers.scored)

    def under_reward(self, scored: Scored, scores: Scores) -> Scored:
        """The answer under this method's reward, with what that was made from among its parts."""
        sure = self.read(scored.rollout, scores)
        worth, parts = self.worth(sure)
        well_formed = float(bool(scored.rollout.answer_span))
        reward = (1 - self.format_share) * worth + self.format_share * well_formed
        if reward and self.repetition_penalty:
            circles = repeats(scored.rollout.text, self.repetition_words, self.repetition_times)
            reward -= self.repetition_penalty * circles
        verdict: Mapping[str, float | None] = scored.parts or {"verdict": scored.reward}
        told = {"reference_probability": sure.reference, "well_formed": well_formed}
        return replace(scored, reward=reward, parts={**verdict, **told, **parts})

    def worth(self, sure: Confidence) -> tuple[float, dict[str, float | None]]:
        """What an answer is worth before its form is looked at, and further parts to be logged."""
        if self.debias == "none":
            return sure.reference, {}
        return float(gain(*torch.tensor([sure.reference, sure.bare], dtype=torch.float64))), {}

    def read(self, rollout: Rollout, scores: Scores) -> Confidence:
        def of(which: str) -> float:
            return self.sure(scores[which].logprobs) if which in scores else 0.0

        own = self.sure(rollout.logprobs[slice(*rollout.answer_span)]) if rollout.answer_span else None
        asked = bool(rollout.answer_span) or self.malformed == "glued"
        reference = of(key(rollout.prompt, reasoning(rollout))) if asked else 0.0
        return Confidence(reference, of(key(rollout.prompt, None)), own)

    def sure(self, logprobs: Floats) -> float:
        return float(CONFIDENCES[self.confidence](torch.tensor(logprobs, dtype=torch.float64)))

    def keeps(self, group: Group, memory: Any) -> bool:
        """Whether under some prompt the answers differ enough, once the moving average has settled."""
        steps, average = memory
        if average is None or steps + 1 < self.spread_filter_from:
            return True
        return max(map(spread, group.answers)) >= self.spread_share * float(average)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        lesson = super().examples(groups, scores, memory, rng, progress)
        if not groups:
            return lesson
        steps, average = memory[0] + 1, memory[1]
        mean = fmean(spread(answers) for group in groups for answers in group.answers)
        if steps >= self.spread_from:
            average = mean if average is None else self.spread_decay * average + (1 - self.spread_decay) * mean
        told = {"rlpr/spread": mean, "rlpr/least_spread": self.spread_share * (average or 0.0)}
        return replace(lesson, memory=(steps, average), metrics={**lesson.metrics, **told})

    def initial_memory(self) -> tuple[int, float | None]:
        return (0, None)


def reasoning(rollout: Rollout) -> Ids:
    """What the reference is read after: all up to where the answer begins. Where none does, all that was written, and
    the marker that is missing."""
    if rollout.answer_span:
        return rollout.ids[: rollout.answer_span[0]]
    written = rollout.ids[:-1] if rollout.finish == "stop" else rollout.ids
    return written + rollout.prompt.question.marker_ids


def key(prompt: Prompt, before: Ids | None) -> str:
    """Names the reference after this reasoning (None: after the prompt alone)."""
    said = blake2b(repr(before).encode(), digest_size=16).hexdigest()
    return f"reference/{prompt.question.id}/{prompt.expert}/{said}"


def spread(answers: Answers) -> float:
    """The standard deviation (of the sample) of the rewards."""
    rewards = [scored.reward for scored in answers.own]
    return stdev(rewards) if len(rewards) > 1 else 0.0
