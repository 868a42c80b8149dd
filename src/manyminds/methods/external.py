"""What RL-PLUS, LUFFY and AMPO share: worked answers of experts (traces) stand among a group's own answers.

A trace shares the baseline of the group it is put into, whoever owns `advantage`; it is an example of the kind
"trace", and the term "trace" reads it. Only traces that are known to be right are put in: a wrong one would be
weakened by a ratio that is made to amplify. `answers_per_prompt` counts the answers that are drawn, not the traces.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from manyminds.batch import Batch, RowWeights
from manyminds.errors import UserError
from manyminds.formulas import external
from manyminds.formulas.averages import over_fixed_length, over_tokens
from manyminds.methods.grpo import AVERAGES, GRPO
from manyminds.methods.method import Method
from manyminds.methods.terms import ClippedSurrogate
from manyminds.objective import Outputs, PerToken, Term
from manyminds.records import (
    PLAIN,
    Answers,
    Example,
    Group,
    Ids,
    Lesson,
    Progress,
    Question,
    Rollout,
    Scored,
    Scores,
    Trace,
)

Averages = Literal["over_sequences", "over_tokens", "mean_of_sums", "over_fixed_length"]
TOGETHER = frozenset({"sampled", "trace"})


@dataclass(frozen=True, slots=True)
class ShapedRatio:
    """-min(f A, clip(f) A), f = x / (x + gamma), x the policy's probability, over its writer's where that is known."""

    gamma: float
    low: float = inf
    high: float = inf

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        writer = batch.plane("writer_logprobs", outputs.logprobs.new_zeros(()).expand_as(outputs.logprobs))
        ratio = external.shaped_ratio(outputs.logprobs, writer, self.gamma)
        return external.clipped(ratio, batch.advantages, self.low, self.high)


@dataclass(frozen=True, slots=True)
class NegativeEntropy:
    """-H in nats: minimising it keeps the policy open."""

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        if outputs.entropies is None:
            raise ValueError("NegativeEntropy needs 'entropies'")
        return -outputs.entropies


def right_traces(question: Question) -> tuple[Trace, ...]:
    """The question's distinct traces that are known to be right, in the order of the experts."""
    distinct: dict[Ids, Trace] = {}
    for trace in question.traces.values():
        if trace.ids and trace.reward == 1.0:
            distinct.setdefault(trace.ids, trace)
    return tuple(distinct.values())


def among(answers: Answers, traces: Sequence[Trace]) -> tuple[Scored, ...]:
    """The traces as judged answers of the group, but for those that stand there already."""
    there = {s.rollout.ids for s in answers.scored if s.rollout.is_trace}
    return tuple(
        Scored(Rollout(answers.prompt, t.ids, t.logprobs, t.text, origin=f"trace:{t.source}"), t.reward or 0.0)
        for t in traces
        if t.ids not in there
    )


class ExternalTraces(GRPO):
    """GRPO on groups that hold traces besides drawn answers; which ones is said by `guided`.

    `variant` fills in the fields that a recipe leaves open, as the paper or as the released code has them.
    `fixed_length` is used by the average of that name, in tokens; the recipe fills in the sampler's `max_tokens`.
    A step is not cut into `minibatches`: answers and traces share an average.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    variant: Literal["paper", "release"] = "paper"
    average: Averages = "over_sequences"  # type: ignore[assignment]  # one more than GRPO's
    minibatches: Literal[1] = 1
    fixed_length: int = Field(256, ge=1)
    joint_average: bool = False
    clip: bool = True
    entropy_coefficient: float = Field(0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _from_variant(cls, data: Any) -> Any:
        """What the recipe states stands; the variant fills in the rest."""
        return {**cls.variants.get(data.get("variant", "paper"), {}), **data} if isinstance(data, dict) else data

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        settled = super().settled(experts, max_tokens)
        given = "fixed_length" in self.model_fields_set
        return settled if given else settled.model_copy(update={"fixed_length": max_tokens})

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"traces"})

    def shape(self, groups: Sequence[Group], scores: Scores, memory: Any, progress: Progress) -> tuple[Group, ...]:
        return tuple(replace(g, answers=tuple(self.guided(answers, scores) for answers in g.answers)) for g in groups)

    def guided(self, answers: Answers, scores: Scores) -> Answers:
        """The group with the traces that belong into it."""
        return answers

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        own = super().examples(groups, scores, memory, rng, progress)
        each = [self.external(answers) for group in groups for answers in group.answers]
        rows = tuple(row for rows in each for row in self.weighted(rows, len(each)))
        told = {
            "traces/rows": float(len(rows)),
            "traces/tokens": float(sum(len(row.ids) for row in rows)),
            "traces/groups": sum(map(bool, each)) / len(each) if each else 0.0,
        }
        updates = tuple(replace(update, examples=update.examples + rows) for update in own.updates)
        return Lesson(updates, own.memory, told)

    def external(self, answers: Answers) -> tuple[Example, ...]:
        """The group's traces under the prompt of its answers."""
        return tuple(
            Example(
                "trace",
                answers.prompt.ids,
                scored.rollout.ids,
                advantage=scored.advantage,
                planes={"writer_logprobs": said}
                if len(said := scored.rollout.logprobs) == len(scored.rollout.ids)
                else {},
                media=answers.prompt.question.media,
                group_id=answers.prompt.group_id,
            )
            for scored in answers.scored
            if scored.rollout.is_trace
        )

    def weighted(self, rows: Sequence[Example], groups: int) -> tuple[Example, ...]:
        """A group's traces with their weights in the term's average; `groups` are those of the step."""
        return tuple(rows)

    def averaged(self) -> RowWeights:
        return over_fixed_length(self.fixed_length) if self.average == "over_fixed_length" else AVERAGES[self.average]

    def policy_term(self) -> Term:
        """The policy loss on the drawn answers, clipped or not."""
        low, high = (self.clip_low, self.clip_high) if self.clip else (inf, inf)
        return Term(
            "policy",
            "sampled",
            ClippedSurrogate(low, high),
            average=self.averaged(),
            among=TOGETHER if self.joint_average else frozenset(),
            needs=frozenset({"old_logprobs"}) if self.epochs > 1 else frozenset(),
            credit="nonzero",
        )

    def trace_term(self, per_token: PerToken) -> Term:
        """The loss on the traces, in the policy term's average."""
        return replace(self.policy_term(), name="trace", kind="trace", per_token=per_token)

    def entropy_terms(self) -> tuple[Term, ...]:
        """The release's entropy bonus, over the tokens of all drawn answers."""
        if not self.entropy_coefficient:
            return ()
        needs = frozenset({"entropies"})
        return (Term("entropy", "sampled", NegativeEntropy(), self.entropy_coefficient, over_tokens, needs),)


class OneTrace(ExternalTraces):
    """One trace in every group, always.

    `trace_source` says whose: the asked expert's own; its own, and where it has none that is right the first right
    one; or always the first right one, in the order of the experts. The releases descend from one another and share
    their settings.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "release": {
            "scale": "none",
            "clip": False,
            "average": "over_fixed_length",
            "joint_average": True,
            "entropy_coefficient": 0.001,
        }
    }

    answers_per_prompt: int = Field(7, ge=1)
    trace_source: Literal["own_or_first", "own", "first"] = "own_or_first"

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        settled = super().settled(experts, max_tokens)
        if self.trace_source == "own" and PLAIN in settled.experts:
            raise UserError(
                f"method.trace_source: the prompt '{PLAIN}' has no traces of its own; set it to own_or_first or first"
            )
        return settled

    def guided(self, answers: Answers, scores: Scores) -> Answers:
        return replace(answers, scored=(*answers.scored, *among(answers, self.chosen(answers))))

    def chosen(self, answers: Answers) -> tuple[Trace, ...]:
        """The trace for these answers, or none."""
        question = answers.prompt.question
        own = question.traces.get(answers.expert)
        if self.trace_source != "first" and own is not None and own.ids and own.reward == 1.0:
            return (own,)
        return () if self.trace_source == "own" else right_traces(question)[:1]
