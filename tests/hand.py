"""Groups and log-probs written down by hand, for tests that assert numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from manyminds.batch import Batch, collate, weigh
from manyminds.methods.compose import Composed
from manyminds.objective import Outputs, evaluate, total
from manyminds.records import (
    Answers,
    Example,
    Floats,
    Group,
    Ids,
    Lesson,
    Progress,
    Prompt,
    Question,
    Rollout,
    Scored,
    Trace,
)

START = Progress(1, 0.0)
GOLD = (900, 901)


def question(name: str, experts: int, solution: Ids = GOLD) -> Question:
    """A question to experts e0, e1, ...; expert i's prompt is (length of the name, 100 + i), its trace (700 + i,)."""
    names = [f"e{i}" for i in range(experts)]
    return Question(
        id=name,
        text=name,
        answer="1",
        traces={e: Trace(e, e, (700 + i,), reward=1.0) for i, e in enumerate(names)},
        prompt_ids={e: (len(name), 100 + i) for i, e in enumerate(names)},
        solution_ids=solution,
    )


def group(
    rewards: Sequence[Sequence[float]],
    logprobs: Sequence[Sequence[float]] | None = None,
    ids: Sequence[Sequence[Ids]] | None = None,
    *,
    name: str = "q",
    solution: Ids = GOLD,
) -> Group:
    """One question's judged answers by [expert][answer]; answer g is the one token g, of the given log-prob."""
    asked = question(name, len(rewards), solution)

    def scored(i: int, g: int) -> Scored:
        its = ids[i][g] if ids else (g,)
        said = (logprobs[i][g] if logprobs else -1.0,) + (-1.0,) * (len(its) - 1)
        return Scored(Rollout(Prompt(asked, f"e{i}"), its, said, str(its)), rewards[i][g])

    return Group(
        asked,
        tuple(
            Answers(Prompt(asked, f"e{i}"), tuple(scored(i, g) for g in range(len(row))))
            for i, row in enumerate(rewards)
        ),
    )


class Draws(Random):
    """Random numbers in [0, 1) that were decided beforehand."""

    def __init__(self, *draws: float) -> None:
        super().__init__(0)
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0)


def lesson_of(
    method: Composed,
    groups: Sequence[Group],
    *,
    memory: Any = None,
    rng: Random | None = None,
) -> Lesson:
    """What the first step would learn from the groups."""
    credited = method.credit(groups, method.initial_memory(), START)
    memory = method.initial_memory() if memory is None else memory
    return method.learn(credited, {}, memory, rng or Random(0), START)


Says = Callable[[Ids, Ids], Floats]


@dataclass
class Told:
    """The losses of an update, and the gradient of their total in the log-prob of each row's tokens."""

    losses: dict[str, float]
    total: float
    gradients: list[Floats]


def evaluated(
    method: Composed,
    examples: Sequence[Example],
    says: Says,
    *,
    teacher_kl: Tensor | None = None,
) -> Told:
    """The losses where the policy gives `says(prompt, response)` as log-probs, and perhaps this divergence."""
    terms = method.terms(START)
    batch: Batch = collate(weigh(examples, terms), dtype=torch.float64)
    width = batch.targets.shape[1]
    rows = [says(e.prompt_ids, e.ids) for e in examples]
    padded = [[*row, *[0.0] * (width - len(row))] for row in rows]
    logprobs = torch.tensor(padded, dtype=torch.float64, requires_grad=True)
    shares = evaluate(terms, Outputs(logprobs, teacher_kl), batch)
    loss = total(terms, shares)
    if loss.requires_grad:
        torch.autograd.backward(loss)
    gradient = torch.zeros_like(logprobs) if logprobs.grad is None else logprobs.grad
    return Told(
        {name: float(share.detach()) for name, share in shares.items()},
        float(loss.detach()),
        [tuple(line[: len(e.ids)]) for line, e in zip(gradient.tolist(), examples, strict=True)],
    )


def of_kind(lesson: Lesson, kind: str) -> list[Example]:
    """The examples of one kind, of all updates."""
    return [e for update in lesson.updates for e in update.examples if e.kind == kind]
