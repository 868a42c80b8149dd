"""Asks a model, judges its answers, and measures the uncertainty of every token of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from manyminds.analysis.sources import Source, identity
from manyminds.batch import Row
from manyminds.errors import UserError
from manyminds.evaluate import ask
from manyminds.formulas.exploration import perplexity, uncertainty
from manyminds.loading import Loaded, load
from manyminds.policy.reading import describe
from manyminds.records import PLAIN, Example, Question, Scored
from manyminds.rewards.judge import ENOUGH
from manyminds.sections import Sampling

AT_ONCE = 16
"""Questions asked at least between two looks at the progress."""
FILLS = 4
"""So many times the answers that run together are handed to the sampler at least, as the last of them run alone."""

Watch = Callable[[str, int, int], None]
Rights = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn answer. `entropy` (nats) and `branching` are means over its `tokens`, `perplexity` is its own; all of
    the tempered policy that drew it. `reward` is the verifier's; it and `correct` are None where the verifier gave no
    verdict. `number` counts the answers to one prompt."""

    id: str
    expert: str
    number: int
    correct: bool | None
    reward: float | None
    finish: str
    tokens: int
    entropy: float
    perplexity: float
    branching: float
    text: str


@dataclass(frozen=True)
class Asked:
    """A model's answers: `n` to each of these questions under each prompt, question by question.

    `verifier` is the name of the reward that judged.
    """

    source: Source
    questions: tuple[Question, ...]
    prompts: tuple[str, ...]
    n: int
    samples: tuple[Sample, ...]
    verifier: str

    @property
    def right(self) -> Rights:
        """Whether each answer was judged right, [questions, prompts, n]."""
        flat = np.array([bool(sample.correct) for sample in self.samples], dtype=np.bool_)
        return flat.reshape(len(self.questions), len(self.prompts), self.n)

    def rows(self, split: str) -> list[dict[str, Any]]:
        """The samples as their file holds them."""
        head = {"set": split, "model": str(self.source.model)}
        return [asdict(sample) | head for sample in self.samples]


@dataclass(frozen=True, slots=True)
class Plan:
    """How models are asked: `questions` of the set `split`, `n` answers each; none of `experts` means all."""

    split: str = "test"
    questions: int = 100
    n: int = 16
    experts: tuple[str, ...] = ()
    seed: int = 0


def answers_of(
    source: Source, plan: Plan, sampling: Sampling, *, trust: bool, watch: Watch, note: Callable[[str], None]
) -> Asked:
    """Loads the model and asks it, with these settings of `sampling`. Raises UserError for an expert it does not have,
    or a set without questions."""
    loaded = load(source.recipe.model_copy(update={"sampling": sampling}), source.model, trust=trust)
    for sentence in loaded.notes:
        note(sentence)
    questions = loaded.questions[plan.split][: plan.questions]
    if not questions:
        raise UserError(f"{source.run}: the set '{plan.split}' has no question; name another one with --set")
    prompts = prompts_of(loaded, plan.experts)
    each, verifier = len(prompts) * plan.n, loaded.judge.rewards[0].name
    lot = max(AT_ONCE, math.ceil(FILLS * (loaded.recipe.engine.answers_at_once or 1) / each))
    samples: list[Sample] = []
    with loaded.judge:  # its worker processes end with it
        for first in range(0, len(questions), lot):
            watch(source.label, first, len(questions))
            some = questions[first : first + lot]
            rows = ask(loaded, some, prompts, plan.n, temperature=sampling.temperature, draw=f"analysis/{plan.seed}")
            for sentence in loaded.judge.notes:
                note(sentence)
            loaded.judge.notes.clear()
            samples += measured(loaded, [one for row in rows for name in prompts for one in row[name]], plan.n)
            stop_if_unjudged(source, samples, len(questions) * each, verifier)
    watch(source.label, len(questions), len(questions))
    return Asked(source, questions, prompts, plan.n, tuple(samples), verifier)


def unjudged_of(samples: Sequence[Sample]) -> int:
    """On how many of these answers the verifier gave no verdict."""
    return sum(sample.correct is None for sample in samples)


def stop_if_unjudged(source: Source, samples: Sequence[Sample], total: int, verifier: str) -> None:
    """Raises UserError once it is clear that the verifier judges too few of all `total` answers to say what the model
    can do: more than `judge.max_error_rate` of them, as where a reward breaks, have no verdict."""
    unjudged = unjudged_of(samples)
    if total >= ENOUGH and unjudged > source.recipe.judge.max_error_rate * total:
        raise UserError(
            f"{source.run}: the verifier {verifier!r} gave no verdict on {unjudged:,} of {len(samples):,} answers, so "
            "what the model can do is not known (where a model judges, a note says why); mend it, or raise "
            "`judge.max_error_rate` in its recipe.yaml"
        )


def prompts_of(loaded: Loaded, experts: Sequence[str]) -> tuple[str, ...]:
    """The experts that are named, else all; the plain prompt where there is none. UserError for one that is not."""
    for name in experts:
        if name not in loaded.prompts:
            raise UserError(f"--expert: there is no expert '{name}'; known are {', '.join(loaded.prompts)}")
    return tuple(dict.fromkeys(experts)) or tuple(expert.name for expert in loaded.experts) or (PLAIN,)


def measured(loaded: Loaded, scored: Sequence[Scored], n: int) -> list[Sample]:
    """The judged answers, `n` to each prompt after one another, with what the policy says of their tokens."""
    rows = [
        Row(Example("drawn", one.rollout.prompt.ids, one.rollout.ids, media=one.rollout.prompt.question.media), ())
        for one in scored
    ]
    at_once = loaded.recipe.engine.tokens_at_once or 1
    temperature = loaded.recipe.sampling.temperature
    said = describe(loaded.sampler.line_model, rows, at_once, temperature, uncertainty)
    found = []
    for place, (one, each) in enumerate(zip(scored, said, strict=True)):
        rollout, verdict = one.rollout, next(iter(one.parts.values()))  # the verifier's part is the first
        kept = each.double()
        means = kept.mean(0)
        found.append(
            Sample(
                id=rollout.prompt.question.id,
                expert=rollout.prompt.expert,
                number=place % n,
                correct=None if verdict is None else one.right,
                reward=verdict,
                finish=rollout.finish,
                tokens=len(rollout.ids),
                entropy=float(means[1]),
                perplexity=float(perplexity(kept[:, 0])),
                branching=float(means[2]),
                text=rollout.text,
            )
        )
    return found


def same_questions(first: Asked, other: Asked) -> None:
    """Raises UserError if another tokenizer or context left other questions: those that do not fit are left out."""
    if list(map(identity, first.questions)) != list(map(identity, other.questions)):
        raise UserError(
            f"{other.source.run}: not the same questions fit into its model's context as into that of "
            f"{first.source.run}; ask fewer with --questions, or analyse them one at a time"
        )
