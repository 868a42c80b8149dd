"""Matched tutors: tutored GRPO that asks, of all tutors, the one who answers such questions best so far.

Ours (docs/beyond.md). A running estimate per (question cluster c, tutor e) says who teaches, in the place of a few
noisy answers to the question itself; clusters come from the model's own embedding of the prompts, not from labels.

    R_ce, A_ce   right answers of e to questions of c, and all of them, times `decay` after every step
    p_ce         = (R_ce + 1) / (A_ce + 1)                        tends to 1 for who was not asked for long: a new try
    asked(q)     = all of whom nothing is known yet; if they are less than `tutors_asked`, those of highest p_ce besides

It is a contextual bandit, greedy with optimistic estimates. Everything else is tutored GRPO's without traces. Who is
not asked does not practise either, and is not paid for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from manyminds.errors import UserError
from manyminds.methods.method import Method
from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import Ask, Group, Lesson, Progress, Scores

Estimates = tuple[tuple[int, str, float, float], ...]
"""(cluster, tutor, right answers, answers), the counts weighted by their age."""


class MatchedTutors(TutoredGRPO):
    """Tutored GRPO with the tutors of a question chosen by cluster. The memory is the estimates.

    `clusters` is how many kinds of questions are told apart, `tutors_asked` how many tutors a question is put to,
    `decay` what a count is worth a step later: at 0.98 half after 34 steps. By default tutors teach, and not traces.
    """

    summary: ClassVar[str] = "Tutored GRPO that asks the tutor who answers questions of the same cluster best."

    name: Literal["matched_tutors"] = "matched_tutors"  # type: ignore[assignment]  # not the one it builds on
    traces: Literal["first", "last", "never"] = "never"
    clusters: int = Field(8, ge=1)
    tutors_asked: int = Field(1, ge=1)
    decay: float = Field(0.98, gt=0, le=1)

    @property
    def question_clusters(self) -> int:
        return self.clusters

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        settled = super().settled(experts, max_tokens)
        tutors = [expert for expert in settled.experts if expert != self.student]
        if not self.tutor_answers or len(tutors) <= self.tutors_asked:
            raise UserError(
                f"method: of {len(tutors)} tutors {self.tutors_asked} are asked for {self.tutor_answers} answers each, "
                "which leaves nothing to choose; name more experts or lower tutors_asked, or take 'tutored_grpo'"
            )
        return settled

    def follow_up(self, group: Group, memory: Estimates, progress: Progress) -> tuple[Ask, ...]:
        asks = super().follow_up(group, memory, progress)
        known = {tutor: (right + 1) / (n + 1) for c, tutor, right, n in memory if c == group.question.cluster}
        new = tuple(ask for ask in asks if ask.prompt.expert not in known)
        others = [ask for ask in asks if ask.prompt.expert in known]
        best = sorted(others, key=lambda ask: -known[ask.prompt.expert])
        return new + tuple(best[: max(0, self.tutors_asked - len(new))])

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
