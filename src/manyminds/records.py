"""What flows through a training step. Frozen values, never dicts; every name is in docs/glossary.md.

Question ─ ask ─▶ Ask ─ sampler ─▶ Rollout ─ judge ─▶ Scored ─▶ Group ─ learn ─▶ Lesson ─ weigh ─▶ rows
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

Ids = tuple[int, ...]
Floats = tuple[float, ...]

PLAIN = "plain"
"""The name of the prompt without an expert: the question alone, no system message."""


@dataclass(frozen=True, slots=True)
class Expert:
    """A system prompt that makes the one model answer as somebody; `teacher` names whose traces taught it."""

    name: str
    system: str | None = None
    teacher: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A worked answer that the policy did not sample: a teacher's, or the data set's own.

    `reward` is 1 for a right one, 0 for a wrong one, None where nobody judged it. For methods that ask how likely the
    gold answer is after this reasoning, `reasoning_ids` are the ids up to the final answer, and `reference_ids` those
    of the gold answer in its place; empty where no final answer was found.
    """

    text: str
    source: str
    ids: Ids = ()
    reward: float | None = None
    logprobs: Floats = ()
    reasoning_ids: Ids = ()
    reference_ids: Ids = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its gold answer. `answer` is short; `solution` is worked text.

    A conversation is in `messages`, as (role, content), the user's last turn also in `text`; else they are empty.
    `prompt_ids` (a prompt per expert, and `PLAIN`), `solution_ids` and the traces' ids are filled once, when
    the question is rendered for a tokenizer; hooks only ever read them. `media` are content hashes.
    For methods that ask for them: `answer_ids`, the gold answer's own, and `marker_ids`, what the task writes before it
    (need "answer_spans"); `cluster`, the number of those that the model takes for alike (`question_clusters`).
    """

    id: str
    text: str
    answer: str
    solution: str = ""
    source: str = ""
    traces: Mapping[str, Trace] = field(default_factory=dict)
    prompt_ids: Mapping[str, Ids] = field(default_factory=dict)
    solution_ids: Ids = ()
    media: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    answer_ids: Ids = ()
    marker_ids: Ids = ()
    cluster: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as put to one expert. Answers to equal `group_id`s share a baseline."""

    question: Question
    expert: str

    @property
    def ids(self) -> Ids:
        return self.question.prompt_ids[self.expert]

    @property
    def group_id(self) -> tuple[str, str]:
        return (self.question.id, self.expert)


@runtime_checkable
class Environment(Protocol):
    """Answers a turn of the policy, for episodes of several turns (a search engine, a tool)."""

    def step(self, ids: Ids) -> Ids | None:
        """The observation that follows these response ids; None ends the episode."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Draw tokens from (1 - weight) * policy + weight * partner, a second live model."""

    partner: str
    weight: float


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are drawn. Temperature 0 is greedy; log-probs are always those of the tempered policy.

    An answer ends with the token that completes one of the strings `stop` in its text.
    """

    temperature: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    mixture: Mixture | None = None
    environment: Environment | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Draw `n` answers to `prompt`; `decoding` None means the sampler's own."""

    prompt: Prompt
    n: int
    decoding: Decoding | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One drawn answer. `logprobs` are the policy's at the moment of drawing, one per response id.

    `mask` is 0 where the policy did not choose the token (retrieved text, forced tokens); empty means all 1.
    `finish` is "stop" (it ended by itself) or "length" (it was cut at max_tokens). `answer_span` is where its final
    answer stands, first id and the one after the last, if a method asked for it (need "answer_spans"); empty if it has
    none, or several.
    """

    prompt: Prompt
    ids: Ids
    logprobs: Floats
    text: str
    finish: str = "stop"
    mask: Ids = ()
    entropies: Floats = ()
    origin: str = "policy"
    policy_version: int = 0
    answer_span: Ids = ()

    @property
    def is_trace(self) -> bool:
        """Whether a method put it there; nobody drew it."""
        return self.origin.startswith("trace:")


@dataclass(frozen=True, slots=True)
class Scored:
    """A judged rollout: its reward, the named parts the reward was added from, and its credit.

    A part is None where that reward function did not apply. `advantage` is filled by the `advantage` hook, one number;
    the `refine` hook may make it one per response id.
    """

    rollout: Rollout
    reward: float
    parts: Mapping[str, float | None] = field(default_factory=dict)
    advantage: float | Floats = 0.0

    @property
    def verdict(self) -> float:
        """What the verifier, which is the first part, gave; 0 if it gave nothing. Without parts the reward itself.

        Other rewards, weights, standardisation and shaping do not enter.
        """
        return next(iter(self.parts.values()), self.reward) or 0.0

    @property
    def right(self) -> bool:
        """Whether the answer is correct: its verdict is more than one half."""
        return self.verdict > 0.5


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything one expert answered to one question: a group in GRPO's sense.

    A method may put a trace among them, which shares their baseline, also in the place of an answer, which is then in
    `replaced`: nothing is learnt from it. What the expert can do is told by all that it has `drawn`.
    """

    prompt: Prompt
    scored: tuple[Scored, ...]
    replaced: tuple[Scored, ...] = ()

    @property
    def own(self) -> tuple[Scored, ...]:
        """Those of the group that are no traces."""
        return tuple(s for s in self.scored if not s.rollout.is_trace)

    @property
    def drawn(self) -> tuple[Scored, ...]:
        """All that the expert answered, also what made room for a trace."""
        return self.own + self.replaced

    @property
    def expert(self) -> str:
        return self.prompt.expert

    @property
    def rewards(self) -> Floats:
        return tuple(s.reward for s in self.scored)

    @property
    def mean(self) -> float:
        """The mean verdict: how well the expert does on the question, whatever else is rewarded."""
        return sum(s.verdict for s in self.drawn) / len(self.drawn)

    @property
    def right(self) -> tuple[Rollout, ...]:
        return tuple(s.rollout for s in self.drawn if s.right)

    @property
    def wrong(self) -> int:
        return sum(not s.right for s in self.drawn)


@dataclass(frozen=True, slots=True)
class Group:
    """A question with the answers of every expert that was asked."""

    question: Question
    answers: tuple[Answers, ...]

    def with_rewards(self, rewards: tuple[Floats, ...]) -> Group:
        """The same answers under other rewards, one tuple per expert."""
        return self._with("reward", rewards)

    def with_advantages(self, advantages: tuple[tuple[float | Floats, ...], ...]) -> Group:
        """The same answers with other credit, one tuple per expert: a number per answer, or one per response id."""
        return self._with("advantage", advantages)

    def _with(self, field: str, values: tuple[tuple[Any, ...], ...]) -> Group:
        answers = tuple(
            replace(a, scored=tuple(replace(s, **{field: value}) for s, value in zip(a.scored, row, strict=True)))
            for a, row in zip(self.answers, values, strict=True)
        )
        return replace(self, answers=answers)


@dataclass(frozen=True, slots=True)
class Span:
    """Response ids to be scored after prompt ids, without gradient; scores come back under `key`.

    `model` is whose they are: the policy's, or those of another model that the method needs ("reference").
    """

    key: str
    prompt_ids: Ids
    ids: Ids
    media: tuple[str, ...] = ()
    want: frozenset[str] = frozenset({"logprobs"})
    model: str = "policy"


@dataclass(frozen=True, slots=True)
class SpanScore:
    """What the policy says of a span, one number per response id: log-probs, and entropies or values if wanted."""

    logprobs: Floats
    entropies: Floats = ()
    values: Floats = ()


Scores = Mapping[str, SpanScore]


@dataclass(frozen=True, slots=True)
class Example:
    """One row to learn from. `kind` says who wrote the response and so which terms read it.

    `advantage` is one number, or one per response id. `weight` scales the row within its term's average.
    `planes` are named values, one per response id ("writer_logprobs": those of whoever wrote it).
    `teacher_prompt_ids`: the prompt under which a term that needs the teacher's distribution reads it.
    """

    kind: str
    prompt_ids: Ids
    ids: Ids
    advantage: float | Floats = 1.0
    weight: float = 1.0
    mask: Ids = ()
    planes: Mapping[str, Floats] = field(default_factory=dict)
    teacher_prompt_ids: Ids = ()
    media: tuple[str, ...] = ()
    group_id: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Update:
    """The examples of one optimiser step; `lr_scale` multiplies the scheduled learning rate."""

    examples: tuple[Example, ...]
    lr_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learnt from a step's groups: optimiser steps in order, the memory that lives on, and counters."""

    updates: tuple[Update, ...]
    memory: Any = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands: the step about to be taken, and the share (0 to 1) of the budget used."""

    step: int
    share: float
