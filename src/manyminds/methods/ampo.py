"""AMPO, more than one teacher (arXiv 2510.02227): where every answer fails, traces of the teachers understood best.

    r_p = exp(mean_t log pi(y*_t | q, z, y*_<t))      the reference answer y* after a teacher's reasoning z
    k   = min(traces, right traces of the question)   failing answers make room for the k traces of highest r_p
    A   = (r - mean r) / (std r + floor)              over the group as it is then
    L   = - mean over groups of [ 1/k sum over traces of 1/|o| sum_t CLIP(f, A) ] - mean over tokens of CLIP(rho, A)

f = x / (x + 0.1), x = pi / pi_teacher where the teacher's log-probs are known, else pi. Without an all-fail group it is
GRPO. `variant: release` is what the authors' code does: arithmetic r_p, A not divided by std, f unclipped and of pi
alone, all tokens over one constant length, an entropy bonus. Departures: docs/papers.md.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from manyminds.formulas.averages import sum_of_sequences
from manyminds.formulas.external import comprehension
from manyminds.methods.external import Averages, ExternalTraces, ShapedRatio, among, right_traces
from manyminds.objective import Term
from manyminds.records import Answers, Example, Group, Lesson, Progress, Scores, Span, Trace


class AMPO(ExternalTraces):
    """GRPO that replaces answers by teachers' traces where all fail.

    `traces` is k_0, at most so many in a group; `trigger` the share of right answers up to which they come (0: none is
    right). `comprehension` is the mean that ranks teachers, `teacher_ratio` whether known log-probs of the teacher
    enter the ratio, `shaping` gamma of f.
    """

    paper: ClassVar[str] = "More Than One Teacher: Adaptive Multi-Guidance Policy Optimization for Diverse Exploration"
    arxiv: ClassVar[str] = "2510.02227"
    summary: ClassVar[str] = (
        "Where every answer fails, traces of the teachers that the policy understands best come in."
    )
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "release": {
            "scale": "none",
            "average": "over_fixed_length",
            "joint_average": True,
            "comprehension": "arithmetic",
            "teacher_ratio": False,
            "clip_traces": False,
            "entropy_coefficient": 0.001,
        }
    }

    name: Literal["ampo"] = "ampo"
    average: Averages = "over_tokens"
    traces: int = Field(2, ge=1)
    trigger: float = Field(0.0, ge=0, le=1)
    comprehension: Literal["geometric", "arithmetic"] = "geometric"
    teacher_ratio: bool = True
    shaping: float = Field(0.1, gt=0)
    clip_traces: bool = True

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"traces", "trace_answers"})

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        """The reference answer after each teacher's reasoning, for groups that get traces, if there is a choice."""
        each = [(answers, right_traces(group.question)) for group in groups for answers in group.answers]
        return tuple(
            Span(key(answers, t), answers.prompt.ids + t.reasoning_ids, t.reference_ids, answers.prompt.question.media)
            for answers, traces in each
            for t in traces
            if self.triggered(answers) and len(traces) > self.traces and t.reference_ids
        )

    def triggered(self, answers: Answers) -> bool:
        """Whether traces come into the group."""
        return len(answers.right) <= self.trigger * len(answers.drawn)

    def guided(self, answers: Answers, scores: Scores) -> Answers:
        """Traces in the places of the first answers that fail; one answer stays, or all would be right alike. Drawn
        answers are exchangeable: the first are as good a random choice as any."""
        if not self.triggered(answers):
            return answers
        failing = [i for i, s in enumerate(answers.scored) if not (s.rollout.is_trace or s.right)]
        chosen = among(answers, self.ranked(answers, scores)[: min(self.traces, len(answers.own) - 1)])
        place = dict(zip(failing, chosen, strict=False))
        scored = tuple(place.get(i, s) for i, s in enumerate(answers.scored))
        return replace(answers, scored=scored, replaced=(*answers.replaced, *(answers.scored[i] for i in place)))

    def ranked(self, answers: Answers, scores: Scores) -> list[Trace]:
        """The right traces, best understood first, of equals the shorter. One that was not scored comes last."""

        def rank(trace: Trace) -> tuple[float, int]:
            return -self.understood(answers, trace, scores), len(trace.ids)

        return sorted(right_traces(answers.prompt.question), key=rank)

    def understood(self, answers: Answers, trace: Trace, scores: Scores) -> float:
        """r_p of a trace; 0 where its span was not scored."""
        if key(answers, trace) not in scores:
            return 0.0
        said = torch.tensor(scores[key(answers, trace)].logprobs, dtype=torch.float64)
        return float(comprehension(said, self.comprehension))

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        lesson = super().examples(groups, scores, memory, rng, progress)
        chosen = {
            (a.prompt.group_id, s.rollout.ids)
            for g in groups
            for a in g.answers
            for s in a.scored
            if s.rollout.is_trace
        }
        understood = [
            self.understood(answers, trace, scores)
            for group in groups
            for answers in group.answers
            for trace in right_traces(group.question)
            if (answers.prompt.group_id, trace.ids) in chosen and key(answers, trace) in scores
        ]
        told = {"traces/comprehension": fmean(understood)} if understood else {}
        return replace(lesson, metrics={**lesson.metrics, **told})

    def external(self, answers: Answers) -> tuple[Example, ...]:
        rows = super().external(answers)
        return rows if self.teacher_ratio else tuple(replace(row, planes={}) for row in rows)

    def weighted(self, rows: Sequence[Example], groups: int) -> tuple[Example, ...]:
        """With an average of their own, a group's traces weigh alike and the groups of the step weigh alike."""
        if self.joint_average:
            return tuple(rows)
        return tuple(replace(row, weight=1.0 / (len(rows) * groups)) for row in rows)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        clip = (self.clip_low, self.clip_high) if self.clip_traces else ()
        trace = self.trace_term(ShapedRatio(self.shaping, *clip))
        if not self.joint_average:
            trace = replace(trace, average=sum_of_sequences)
        return (self.policy_term(), trace, *self.entropy_terms())


def key(answers: Answers, trace: Trace) -> str:
    """Under which a trace's score comes back."""
    return f"comprehension/{'/'.join(answers.prompt.group_id)}/{trace.source}"
