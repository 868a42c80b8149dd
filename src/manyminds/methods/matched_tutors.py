"""Matched tutors: tutored GRPO that asks, of all tutors, the one who answers such questions best so far.

Ours (docs/beyond.md). A running estimate per (question cluster c, tutor e) says who teaches, in the place of a few
noisy answers to the question itself; clusters come from the model's own embedding of the prompts, not from labels.

    R_ce, A_ce   right answers of e to questions of c, and all of them, times `decay` after every step
    p_ce         = (R_ce + 1) / (A_ce + 1)                        1 for who was not asked, or long ago: that is tried
    asked(q)     = the `tutors_asked` tutors of highest p_ce, c the cluster of q            where the student is stuck

Everything else is tutored GRPO's. What is not asked is not paid for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import Ask, Group, Lesson, Progress, Scores

Estimates = tuple[tuple[int, str, float, float], ...]
"""(cluster, tutor, right answers, answers), the counts weighted by their age."""


class MatchedTutors(TutoredGRPO):
    """Tutored GRPO with the tutors of a question chosen by cluster. The memory is the estimates.

    `clusters` is how many kinds of questions are told apart, `tutors_asked` how many tutors a question is put to,
    `decay` what a count is worth a step later: at 0.98 half after 34 steps.
    """

    summary: ClassVar[str] = "Tutored GRPO that asks the tutor who answers questions of the same cluster best."

    name: Literal["matched_tutors"] = "matched_tutors"  # type: ignore[assignment]
    clusters: int = Field(8, ge=1)
    tutors_asked: int = Field(1, ge=1)
    decay: float = Field(0.98, gt=0, le=1)

    @property
    def question_clusters(self) -> int:
        return self.clusters

    def follow_up(self, group: Group, memory: Estimates, progress: Progress) -> tuple[Ask, ...]:
        asks = super().follow_up(group, memory, progress)
        known = {(cluster, tutor): (right + 1) / (asked + 1) for cluster, tutor, right, asked in memory}
        asks = tuple(sorted(asks, key=lambda ask: -known.get((group.question.cluster, ask.prompt.expert), 1.0)))
        return asks[: self.tutors_asked]

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Estimates, rng: random.Random, progress: Progress
    ) -> Lesson:
        lesson = super().examples(groups, scores, memory, rng, progress)
        asked = {f"tutoring/asked/{tutor}": 0.0 for tutor in self.tutors}
        for answers in (answers for group in groups for answers in group.answers if answers.expert in self.tutors):
            asked[f"tutoring/asked/{answers.expert}"] += 1.0
        return replace(lesson, memory=self.remembered(memory, groups), metrics={**lesson.metrics, **asked})

    def remembered(self, memory: Estimates, groups: Sequence[Group]) -> Estimates:
        """The estimates after a step: what was known is worth less, what tutors answered now is counted whole."""
        counts = {(cluster, tutor): (self.decay * r, self.decay * n) for cluster, tutor, r, n in memory}
        for group in groups:
            for answers in (answers for answers in group.answers if answers.expert in self.tutors):
                right, asked = counts.get(place := (group.question.cluster, answers.expert), (0.0, 0.0))
                counts[place] = (right + len(answers.right), asked + len(answers.drawn))
        return tuple((*place, *counts[place]) for place in sorted(counts))

    def initial_memory(self) -> Estimates:
        return ()
