"""Parts that say one thing each, named in recipes as `toy_methods:Name`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from manyminds.batch import Batch
from manyminds.formulas import divergences
from manyminds.formulas.averages import over_tokens
from manyminds.methods.grpo import GRPO, sampled
from manyminds.methods.method import Method
from manyminds.methods.terms import ClippedSurrogate, CrossEntropy
from manyminds.objective import Outputs, Term
from manyminds.records import (
    Ask,
    Decoding,
    Example,
    Group,
    Lesson,
    Progress,
    Prompt,
    Question,
    Scored,
    Scores,
    Span,
    Update,
)


class Silent(Method):
    """Says nothing."""

    name: str = "toy_methods:Silent"


class Again(Method):
    """Asks again when groups are refused, and says nothing else."""

    name: str = "toy_methods:Again"
    rounds: int = 4


def shaped(groups: Sequence[Group], function: Any) -> tuple[Group, ...]:
    return tuple(g.with_rewards(tuple(tuple(map(function, a.rewards)) for a in g.answers)) for g in groups)


class Halved(Method):
    """Half the reward."""

    name: str = "toy_methods:Halved"

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        return shaped(groups, lambda reward: reward / 2)


class Raised(Method):
    """One more reward."""

    name: str = "toy_methods:Raised"

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        return shaped(groups, lambda reward: reward + 1)


class Faded(Method):
    """Less credit for every further token."""

    name: str = "toy_methods:Faded"
    factor: float = 0.5

    def refine(self, groups: Sequence[Group], memory: Any, progress: Progress) -> tuple[Group, ...]:
        return tuple(g.with_advantages(tuple(tuple(map(self.faded, a.scored)) for a in g.answers)) for g in groups)

    def faded(self, scored: Scored) -> tuple[float, ...]:
        before, n = scored.advantage, len(scored.rollout.ids)
        each = before if isinstance(before, tuple) else (before,) * n
        return tuple(value * self.factor**t for t, value in enumerate(each))


class SomeRight(Method):
    """Groups with a right answer."""

    name: str = "toy_methods:SomeRight"

    def keeps(self, group: Group, memory: Any) -> bool:
        return any(answers.right for answers in group.answers)


class SomeWrong(Method):
    """Groups with a wrong answer."""

    name: str = "toy_methods:SomeWrong"

    def keeps(self, group: Group, memory: Any) -> bool:
        return any(answers.wrong for answers in group.answers)


class Ranked(GRPO):
    """Credit is 1 for the best answer of a group."""

    name: str = "toy_methods:Ranked"

    def advantage(self, rewards: Tensor, progress: Progress) -> Tensor:
        return (rewards == rewards.amax(-1, keepdim=True)).to(rewards.dtype)


class Generous(GRPO):
    """Credit is the reward and 2 more: no row is dead."""

    name: str = "toy_methods:Generous"

    def advantage(self, rewards: Tensor, progress: Progress) -> Tensor:
        return rewards + 2.0


class OneGreedy(Method):
    """One greedy answer of the first expert."""

    name: str = "toy_methods:OneGreedy"

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        return (Ask(Prompt(question, next(iter(question.prompt_ids))), 1, Decoding(temperature=0.0)),)


class Clip(GRPO):
    """Another clip range: its policy term in place of the base's."""

    name: str = "toy_methods:Clip"
    clip_high: float = 0.28

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(),)


class Entropy(Method):
    """A term of its own on the base's answers, and nothing in place of anything."""

    name: str = "toy_methods:Entropy"

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (Term("entropy", "sampled", CrossEntropy(), 0.01, needs=frozenset({"entropies"})),)


class Traced(Method):
    """Every expert's own trace as a "trace", and as "sampled", which the base makes; remembers how many there were."""

    name: str = "toy_methods:Traced"
    lr_scale: float = 0.5
    source: str = ""

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        return tuple(Span(f"trace/{g.question.id}", (11,), g.question.solution_ids) for g in groups)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        pairs = [(a.prompt, a.prompt.question.traces[a.expert]) for group in groups for a in group.answers]
        rows = [Example("trace", prompt.ids, trace.ids) for prompt, trace in pairs]
        again = [replace(row, kind="sampled") for row in rows]
        return Lesson((Update((*rows, *again), self.lr_scale),), memory + len(rows), {"traces": float(len(rows))})

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (Term("trace", "trace", CrossEntropy(), 0.5),)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"traces"})

    def initial_memory(self) -> int:
        return 0


class Recalled(Traced):
    """Traces with a ratio against the policy before the first update, beside answers that have none."""

    name: str = "toy_methods:Recalled"

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (Term("recalled", "trace", ClippedSurrogate(0.2, 0.2), 0.5, needs=frozenset({"old_logprobs"})),)


class Discounted(Method):
    """The answers once more, with less credit towards their beginning; long ones weigh more."""

    name: str = "toy_methods:Discounted"

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        rows = (row for group in groups for answers in group.answers for row in sampled(answers))
        return Lesson((Update(tuple(map(self.discounted, rows))),), memory)

    def discounted(self, row: Example) -> Example:
        n = len(row.ids)
        credit = tuple(row.advantage * 0.5 ** (n - 1 - t) for t in range(n))
        return replace(row, kind="discounted", advantage=credit, weight=1.0 + n)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        loss = ClippedSurrogate(0.2, 0.2)
        return (Term("discounted", "discounted", loss, 0.5, over_tokens, credit="nonzero"),)


@dataclass(frozen=True, slots=True)
class NearAndOpen:
    """The divergence from a reference, less the entropy."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        assert outputs.entropies is not None
        return divergences.k3(batch.planes["reference_logprobs"], outputs.logprobs) - outputs.entropies


class Anchored(Method):
    """A term on all of the base's answers, right or wrong, that reads a reference and the entropy."""

    name: str = "toy_methods:Anchored"

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        needs = frozenset({"reference_logprobs", "entropies"})
        return (Term("anchored", "sampled", NearAndOpen(), 0.1, needs=needs),)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"reference"})


class PolicyOfItsOwn(Method):
    """Sets a term that `Clip` sets as well, otherwise."""

    name: str = "toy_methods:PolicyOfItsOwn"

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (Term("policy", "sampled", ClippedSurrogate(0.1, 0.1)),)
