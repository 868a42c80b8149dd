"""GRPO: group-relative policy optimisation (DeepSeekMath, arXiv 2402.03300, eq. 3), the base every method stands on.

    A_g = (r_g - mean r) / (std r + floor)                                   per (question, expert) group
    L   = - 1/n sum_i 1/|o_i| sum_t min(rho A, clip(rho, 1 - low, 1 + high) A)      over all n answers

Departures: no KL to a reference (its published coefficient was 0.04; since then it is usually left out). With several
experts every expert's answers are a group of their own; one expert is plain GRPO.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from manyminds.batch import RowWeights
from manyminds.formulas.advantages import centred, standardised
from manyminds.formulas.averages import mean_of_sums, over_sequences, over_tokens
from manyminds.methods.method import Method
from manyminds.methods.terms import ClippedSurrogate
from manyminds.objective import Term
from manyminds.records import Answers, Ask, Example, Group, Lesson, Progress, Prompt, Question, Scores, Update

AVERAGES: dict[str, RowWeights] = {
    "over_sequences": over_sequences,
    "over_tokens": over_tokens,
    "mean_of_sums": mean_of_sums,
}


class GRPO(Method):
    """Group-relative advantages and the clipped surrogate, once over every step's answers.

    The step's questions are cut into `minibatches` of nearly equal size, with an optimiser step on each, and all of
    them are gone through `epochs` times; from the second optimiser step on, the ratio is against the policy that drew.
    """

    paper: ClassVar[str] = "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models"
    arxiv: ClassVar[str] = "2402.03300"
    summary: ClassVar[str] = (
        "Group-relative advantages with the clipped policy loss; every expert is a group of its own."
    )

    name: str = "grpo"
    scale: Literal["std", "none"] = "std"
    clip_low: float = Field(0.2, ge=0)
    clip_high: float = Field(0.2, ge=0)
    average: Literal["over_sequences", "over_tokens", "mean_of_sums"] = "over_sequences"
    epochs: int = Field(1, ge=1)
    minibatches: int = Field(1, ge=1)

    @classmethod
    def least_answers(cls) -> int:
        return 2

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        return tuple(Ask(Prompt(question, expert), self.answers_per_prompt) for expert in self.experts)

    def advantage(
        self, rewards: Float[Tensor, "groups answers"], progress: Progress
    ) -> Float[Tensor, "groups answers"]:
        return standardised(rewards) if self.scale == "std" else centred(rewards)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows = [tuple(e for answers in group.answers for e in sampled(answers)) for group in groups]
        return Lesson(cut(rows, self.minibatches) * self.epochs, memory)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(),)

    def policy_term(self) -> Term:
        """The policy loss on the answers this policy drew."""
        return Term(
            "policy",
            "sampled",
            ClippedSurrogate(self.clip_low, self.clip_high),
            average=AVERAGES[self.average],
            needs=frozenset({"old_logprobs"}) if self.epochs * self.minibatches > 1 else frozenset(),
            credit="nonzero",
        )


def cut(rows: Sequence[tuple[Example, ...]], minibatches: int) -> tuple[Update, ...]:
    """The rows of each question as so many updates of whole questions, in order; fewer where there are fewer questions.

    Their sizes in questions differ by one at most. Without questions it is one update without rows.
    """
    n = max(1, min(minibatches, len(rows)))
    bounds = [len(rows) * i // n for i in range(n + 1)]
    return tuple(Update(tuple(e for its in rows[a:b] for e in its)) for a, b in pairwise(bounds))


def sampled(answers: Answers) -> tuple[Example, ...]:
    """Every answer of the policy under the prompt that drew it, with its advantage and the sampler's log-probs."""
    return tuple(
        Example(
            "sampled",
            answers.prompt.ids,
            scored.rollout.ids,
            advantage=scored.advantage,
            mask=scored.rollout.mask,
            planes={"sampling_logprobs": scored.rollout.logprobs},
            media=answers.prompt.question.media,
            group_id=answers.prompt.group_id,
        )
        for scored in answers.own
        if scored.rollout.ids
    )
