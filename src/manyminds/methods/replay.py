"""Replay: right answers that a prompt seldom finds are learnt again later, so that it does not lose them.

    M      the last `capacity` distinct right answers from groups of which at most the share `rare` was right
    L      + lambda mean over `rows` draws o from M of - 1/|o| sum_t log pi(o_t | q, P)          P as when it was drawn

A part, ours (docs/beyond.md). What is learnt is drawn before the step's own answers enter.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from manyminds.methods.method import Method
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Term
from manyminds.records import Answers, Example, Group, Lesson, Progress, Scores, Update


class Replay(Method):
    """Supervised learning of a prompt's own rare successes. The memory is a tuple of "replayed" examples, oldest first.

    `rows` are learnt in a step, at most once each; fewer while the memory holds fewer.
    """

    paper: ClassVar[str] = "manyminds, docs/beyond.md"
    summary: ClassVar[str] = "A part: right answers that a prompt seldom finds are learnt again later."

    name: Literal["replay"] = "replay"
    coefficient: float = Field(0.1, ge=0)
    rows: int = Field(16, ge=1)
    capacity: int = Field(512, ge=1)
    rare: float = Field(0.5, ge=0, le=1)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        again = tuple(rng.sample(memory, min(self.rows, len(memory))))
        new = [row for group in groups for answers in group.answers for row in self.successes(answers)]
        kept: dict[tuple[Any, ...], Example] = {}
        for row in (*memory, *new):
            key = (row.prompt_ids, row.ids, row.media)
            kept.pop(key, None)  # what was found again is young again
            kept[key] = row
        memory = tuple(kept.values())[-self.capacity :]
        return Lesson((Update(again),), memory, {"replay/rows": float(len(again)), "replay/size": float(len(memory))})

    def successes(self, answers: Answers) -> tuple[Example, ...]:
        """The prompt's right answers, if they were rare."""
        if len(answers.right) > self.rare * len(answers.drawn):
            return ()
        return tuple(
            Example(
                "replayed",
                answers.prompt.ids,
                rollout.ids,
                mask=rollout.mask,
                media=answers.prompt.question.media,
                group_id=answers.prompt.group_id,
            )
            for rollout in answers.right
            if rollout.ids
        )

    def initial_memory(self) -> tuple[Example, ...]:
        return ()

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (Term("replay", "replayed", CrossEntropy(), self.coefficient),)
