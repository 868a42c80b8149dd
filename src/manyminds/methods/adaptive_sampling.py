"""Adaptive sampling: a prompt first gives a few answers to a question, and the rest only where one of them is wrong.

    of G answers  `first` are drawn; if all of them are right, the group ends there, else G - first more join it

A part, ours (docs/beyond.md). Where all answers have one reward, credit that compares them is 0: as a prompt gets
better most of what it samples teaches nothing, and is better spent on other questions, or on more steps. Reinforce-Ada
(arXiv 2510.04996) too lets the answers so far say whether more are drawn, but goes on until enough of them are right,
or, in another variant, right and wrong.

What it biases: a question that is mostly right is left after `first` right answers by chance, so that its rarer wrong
answers are seen less often; where it goes on, a wrong answer has been seen. Means over answers (`reward`) lean towards
hard questions, which have more of them, and an average over sequences weighs those more.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from manyminds.errors import UserError
from manyminds.methods.method import Method
from manyminds.records import Answers, Ask, Progress


class AdaptiveSampling(Method):
    """A part: of whatever is asked of a prompt `first` answers are drawn, the rest where these are not all right.

    Right is what the verifier says, whatever else is rewarded. Raises UserError where `first` leaves nothing to add.
    """

    paper: ClassVar[str] = "manyminds, docs/beyond.md"
    summary: ClassVar[str] = "A part: questions whose first answers are all right get no more of them."

    name: Literal["adaptive_sampling"] = "adaptive_sampling"
    first: int = Field(2, ge=1)

    def asking_like(self, base: Method) -> Method:
        if self.first >= base.answers_per_prompt:
            raise UserError(
                f"method.with: adaptive_sampling draws {self.first} answers first, and '{base.name}' has "
                f"{base.answers_per_prompt} in all; lower `first` or raise answers_per_prompt"
            )
        return self

    def begin(self, ask: Ask, memory: Any, progress: Progress) -> int:
        return self.first

    def finish(self, answers: Answers, memory: Any) -> bool:
        return answers.wrong > 0
