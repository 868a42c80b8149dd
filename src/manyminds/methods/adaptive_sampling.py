"""Adaptive sampling: a prompt first gives a few answers to a question, and the rest only where one of them is wrong.

    of G answers  `first` are drawn; if all of them are right, the group ends there, else G - first more join it

A part, ours (docs/beyond.md). Where all answers are right, credit that compares them is 0: as a prompt gets better most
of what it samples teaches nothing, and is better spent on other questions. Reinforce-Ada (arXiv 2510.04996) stops
asking once enough right answers are there; this one stops where no wrong one has shown up.

What it biases: a question that is mostly right is left after `first` right answers by chance, so its rarer wrong
answers are seen less often.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from manyminds.errors import UserError
from manyminds.methods.method import Method
from manyminds.records import Ask, Group, Progress


class AdaptiveSampling(Method):
    """A part: of the base's answers per prompt `first` are drawn, the rest where these are not all right.

    Raises UserError where `first` leaves nothing to add.
    """

    paper: ClassVar[str] = "manyminds, docs/beyond.md"
    summary: ClassVar[str] = "A part: questions whose first answers are all right get no more of them."

    name: Literal["adaptive_sampling"] = "adaptive_sampling"
    first: int = Field(2, ge=1)

    @classmethod
    def least_answers(cls) -> int:
        return 2

    def asking_like(self, base: Method) -> Method:
        if self.first >= base.answers_per_prompt:
            raise UserError(
                f"method.with: adaptive_sampling draws {self.first} answers first, and '{base.name}' has "
                f"{base.answers_per_prompt} in all; lower `first` or raise answers_per_prompt"
            )
        return self.model_copy(update={"answers_per_prompt": base.answers_per_prompt})

    def trim(self, asks: tuple[Ask, ...], memory: Any, progress: Progress) -> tuple[Ask, ...]:
        return tuple(replace(ask, n=min(ask.n, self.first)) for ask in asks)

    def follow_up(self, group: Group, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        begun = [answers for answers in group.answers if len(answers.drawn) == self.first]
        return tuple(Ask(its.prompt, self.answers_per_prompt - self.first) for its in begun if its.wrong)
