"""Rejection-sampling fine-tuning (RFT, arXiv 2308.01825), on policy: supervised learning of verified answers.

    L = - 1/n sum over the right answers o of every expert asked:  1/|o| log pi(o | question, student prompt)

Every right answer, whoever gave it, is learnt under the `student` prompt. It is the control for everything that lets
prompts teach each other: the same rollouts, no policy gradient.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from manyminds.errors import UserError
from manyminds.methods.grpo import AVERAGES, GRPO
from manyminds.methods.method import Method
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Term
from manyminds.records import PLAIN, Example, Group, Ids, Lesson, Progress, Rollout, Scores, Update


class RFT(GRPO):
    """Supervised learning of all experts' verified answers under one prompt.

    `most` bounds how many distinct answers to one question are learnt (0: all).
    """

    paper: ClassVar[str] = "Scaling Relationship on Learning Mathematical Reasoning with Large Language Models"
    arxiv: ClassVar[str] = "2308.01825"
    summary: ClassVar[str] = "Supervised learning of every expert's verified answers under one prompt."

    name: Literal["rft"] = "rft"
    student: str = PLAIN
    most: int = Field(0, ge=0)

    @classmethod
    def least_answers(cls) -> int:
        return 1

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        known = (*experts, PLAIN)
        if self.student not in known:
            raise UserError(f"method.student: there is no expert '{self.student}'; known are {', '.join(known)}")
        return super().settled(experts, max_tokens)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows = tuple(example for group in groups for example in self.verified(group))
        return Lesson((Update(rows),), memory, {"verified/answers": float(len(rows))})

    def verified(self, group: Group) -> tuple[Example, ...]:
        """The distinct right answers of every expert, under the student's prompt."""
        distinct: dict[Ids, Rollout] = {}
        for rollout in (rollout for answers in group.answers for rollout in answers.right):
            distinct.setdefault(rollout.ids, rollout)
        question = group.question
        return tuple(
            Example(
                "verified",
                question.prompt_ids[self.student],
                rollout.ids,
                mask=rollout.mask,
                media=question.media,
                group_id=(question.id, self.student),
            )
            for rollout in list(distinct.values())[: self.most or None]
        )

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (Term("verified", "verified", CrossEntropy(), average=AVERAGES[self.average]),)
