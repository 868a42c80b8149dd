"""The hooks: everything a method may say about a training step.

A method is a frozen value: its fields are its hyper-parameters, its hooks are pure functions of what they are given.
The defaults here are neutral, so a part that says one thing leaves everything else as it was.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator
from torch import Tensor

from manyminds.errors import UserError
from manyminds.objective import Term
from manyminds.records import Answers, Ask, Group, Lesson, Progress, Question, Scores, Span, Update


class Method(BaseModel):
    """A method or a part of one. Which hook combines how is the composition law (methods/compose.py).

    `experts` are the prompts that are asked (names; empty: all of the recipe's); `rounds` bounds how often a step asks
    again when `keeps` refused groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    paper: ClassVar[str] = ""
    arxiv: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    name: str
    experts: tuple[str, ...] = ()
    questions_per_step: int = Field(12, ge=1)
    answers_per_prompt: int = Field(8, ge=1)
    rounds: int = Field(1, ge=1)
    parts: tuple[SerializeAsAny[Method], ...] = Field((), alias="with")

    @field_validator("parts", mode="before")
    @classmethod
    def _named_parts(cls, parts: Any) -> Any:
        from manyminds.methods import build  # the table imports every method, and so this module

        if not isinstance(parts, list | tuple):
            return parts  # which pydantic refuses
        return tuple(build(part) if isinstance(part, dict) else part for part in parts)

    @classmethod
    def least_experts(cls) -> int:
        """How many experts the method needs to mean anything."""
        return 1

    @classmethod
    def least_answers(cls) -> int:
        """How many answers a group needs to carry a signal."""
        return 1

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        """The method with what its recipe left open filled in: all experts are asked. Raises UserError for too few."""
        strict = max((self, *self.parts), key=lambda layer: layer.least_answers())
        if self.answers_per_prompt < strict.least_answers():
            raise UserError(
                f"method.answers_per_prompt: {strict.name} compares answers with one another and needs "
                f"{strict.least_answers()} or more, not {self.answers_per_prompt}"
            )
        asked = self.experts or experts
        if len(asked) < self.least_experts():
            raise UserError(
                f"method.experts: {self.name} needs {self.least_experts()} or more of them, not {len(asked)}; add some "
                "under `experts`"
            )
        parts = tuple(part.asking_like(self).settled(asked, max_tokens) for part in self.parts)
        return self.model_copy(update={"experts": asked, "parts": parts})

    def asking_like(self, base: Method) -> Method:
        """The part, before it is settled, with what it takes over from its base."""
        return self

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        """Which prompts are answered, how many answers each, drawn how. One owner."""
        return ()

    def begin(self, ask: Ask, memory: Any, progress: Progress) -> int:
        """How many of the answers, 1 or more, are drawn at first; the rest where all `finish`. The least."""
        return ask.n

    def finish(self, answers: Answers, memory: Any) -> bool:
        """Whether the rest is drawn of what was begun, its first answers being judged. All must agree."""
        return True

    def follow_up(self, group: Group, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        """What else is asked about a question once the answers to `ask` are judged; they join its group. Union."""
        return ()

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        """Spans to be scored under the policy before rewards are final. Union."""
        return ()

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        """The groups under the rewards that training sees; also with traces among the answers. A chain, in order."""
        return tuple(groups)

    def keeps(self, group: Group, memory: Any) -> bool:
        """Whether the group can be used; refused groups are replaced, and count as sampled. All must agree."""
        return True

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        """Credit of each answer; a row is what one expert answered to one question. Exactly one owner."""
        return rewards

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        """The groups under the credit that training sees: `Scored.advantage` may become another, also one per response
        id. A chain, in order, after `advantage`."""
        return tuple(groups)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        """What is learnt from the groups, and what is remembered. Union by kind; memory by part."""
        return Lesson((Update(()),), memory)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        """The objective. Merged by name: a part's term replaces the base's of that name."""
        return ()

    @property
    def needs(self) -> frozenset[str]:
        """What the run must provide: "solutions", "traces", "trace_answers" (where the final answer stands in traces),
        "reference", "values", "partner", "answer_spans" (where it stands in what is drawn). Union."""
        return frozenset()

    @property
    def question_clusters(self) -> int:
        """Into how many clusters the run sorts the training questions (`Question.cluster`); 0: into none. The most."""
        return 0

    def initial_memory(self) -> Any:
        """The memory before the first step. It must survive JSON (records, tuples, numbers, strings)."""
        return None
