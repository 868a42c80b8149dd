"""Tutored GRPO: one prompt learns by GRPO; where it is stuck, teachers' traces or the experts' own answers teach it.

Ours (docs/beyond.md). The student s, by default the plain prompt, answers every question G times. It is stuck on q if
at most the share `stuck` of its answers is right. There, if q has no right trace, every expert e answers it T times.

    A_g    = (r_g - mean r) / (std r + floor)          student and tutors alike, each (question, prompt) a group
    C(q)   = the right traces of q; without one, its tutors' right answers                  where s is stuck on q
    o*(q)  = argmax over C(q) of 1/|o| sum_t log pi(o_t | q, s, o_<t)          the one it can most nearly say itself
    L      = L_GRPO + lambda 1/Q sum over stuck q of - 1/|o*| sum_t log pi(o*_t | q, s, o*_<t)

Q is the number of the step's questions. Tutors are never pulled towards one another or towards the student: what one of
them alone can do stays, and they practise on what the student cannot. Only the student is used after training.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from manyminds.batch import Batch
from manyminds.errors import UserError
from manyminds.formulas.averages import sum_of_sequences
from manyminds.formulas.ratios import importance_ratio
from manyminds.methods.external import right_traces
from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Outputs, Term
from manyminds.records import (
    PLAIN,
    Answers,
    Ask,
    Example,
    Group,
    Lesson,
    Progress,
    Prompt,
    Question,
    Rollout,
    Scores,
    Span,
    Trace,
    Update,
)

Sources = tuple[Rollout | Trace, ...]
"""Right answers that others gave, a tutor now or a teacher once, each text once."""


@dataclass(frozen=True, slots=True)
class TrustedCrossEntropy:
    """-sg[min(p / p_writer, cap)] log p: tokens count by how much the learner would say them itself."""

    cap: float

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        now = outputs.logprobs.detach()
        ratio = importance_ratio(now, batch.plane("writer_logprobs", now.new_zeros(()).expand_as(now)))
        return -ratio.clamp(max=self.cap) * outputs.logprobs


class TutoredGRPO(GRPO):
    """GRPO on the `student` prompt; `experts` are its tutors, who answer what it is stuck on and learn by it.

    `stuck` is the share of right answers up to which it counts as stuck (0: none is right; 1: always), `tutor_answers`
    how many each tutor gives (0: only traces teach), `lessons` how many right answers to one question are learnt, taken
    in the order of `choice`, from tutors who are right more often than the student by `margin` or more. Right `traces`
    come "first": they cost nothing, and tutors are asked where there is none; or "last", where no tutor leads; or
    "never". With `trust` a token of a lesson weighs min(p / p_writer, trust), p the student's probability; a writer
    whose log-probs are not known counts as certain. `late` delays lessons to this share of the budget; over
    the whole of it their weight falls, linearly, to the share `fade` of `coefficient`.
    """

    paper: ClassVar[str] = "manyminds, docs/beyond.md"
    arxiv: ClassVar[str] = ""
    summary: ClassVar[str] = "GRPO on one prompt; where it is stuck, traces or the experts' own answers teach it."

    name: Literal["tutored_grpo"] = "tutored_grpo"
    student: str = PLAIN
    stuck: float = Field(0.0, ge=0, le=1)
    tutor_answers: int = Field(8, ge=0)
    tutors_learn: bool = True
    margin: float = Field(0.0, ge=0, le=1)
    coefficient: float = Field(1.0, ge=0)
    lessons: int = Field(1, ge=1)
    choice: Literal["likeliest", "shortest", "first"] = "likeliest"
    traces: Literal["first", "last", "never"] = "first"
    trust: float | None = Field(None, gt=0)
    late: float = Field(0.0, ge=0, le=1)
    fade: float = Field(1.0, ge=0, le=1)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if self.traces == "never" else frozenset({"traces"})

    def settled(self, experts: tuple[str, ...], max_tokens: int) -> Method:
        known = (*experts, PLAIN)
        if self.student not in known:
            raise UserError(f"method.student: there is no prompt '{self.student}'; known are {', '.join(known)}")
        settled = super().settled(experts, max_tokens)
        asked = [expert for expert in settled.experts if expert != self.student]
        if self.traces == "never" and not (self.tutor_answers and asked):
            raise UserError(
                "method: nobody teaches the student; with `traces: never` set tutor_answers above 0, and name experts "
                f"other than '{self.student}'"
            )
        return settled

    def asking_like(self, base: Method) -> Method:
        """As many answers to a prompt as the base draws, unless the part says how many.

        Raises UserError where the tutors shall not learn: who learns from answers, the base says. And under a base that
        has a student of its own.
        """
        if not self.tutors_learn:
            raise UserError(
                f"method.with: `tutors_learn: false` has no effect under '{base.name}', which says who learns; "
                f"make '{self.name}' the base, or leave it out"
            )
        if isinstance(base, TutoredGRPO):
            raise UserError(f"method.with: '{base.name}' and '{self.name}' both teach a student; keep one of them")
        given = "answers_per_prompt" in self.model_fields_set
        return self if given else self.model_copy(update={"answers_per_prompt": base.answers_per_prompt})

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        return (Ask(Prompt(question, self.student), self.answers_per_prompt),)

    def follow_up(self, group: Group, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        if not self.tutor_answers or self.stuck_on(group) is None or self.traced(group):
            return ()
        return tuple(Ask(Prompt(group.question, tutor), self.tutor_answers) for tutor in self.tutors)

    @property
    def tutors(self) -> tuple[str, ...]:
        return tuple(expert for expert in self.experts if expert != self.student)

    def stuck_on(self, group: Group) -> Answers | None:
        """The student's answers to a question that it is stuck on; None for any other."""
        own = next((answers for answers in group.answers if answers.expert == self.student), None)
        return own if own is not None and own.mean <= self.stuck else None

    def traced(self, group: Group) -> Sources:
        """The right traces of the question, if they come first."""
        return right_traces(group.question) if self.traces == "first" else ()

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        """What the student could learn, under its prompt, where there is a choice."""
        if self.choice != "likeliest":
            return ()
        each = [(group, self.candidates(group)) for group in groups]
        return tuple(
            Span(key(group, source), group.question.prompt_ids[self.student], source.ids, group.question.media)
            for group, its in each
            if len(its) > self.lessons
            for source in its
        )

    def candidates(self, group: Group) -> Sources:
        """C(q): right traces or right answers of tutors who lead, whichever come first; empty if not stuck."""
        student = self.stuck_on(group)
        if student is None:
            return ()
        if traces := self.traced(group):
            return traces
        tutors = [answers for answers in group.answers if answers.expert in self.tutors]
        leading = [t for t in tutors if t.mean > student.mean and t.mean >= student.mean + self.margin]
        given = {rollout.ids: rollout for tutor in leading for rollout in tutor.right if rollout.ids}
        return tuple(given.values()) or (right_traces(group.question) if self.traces == "last" else ())

    def chosen(self, group: Group, scores: Scores) -> Sources:
        """The lessons of a question: of its candidates the first in the order of `choice`."""
        its = self.candidates(group)
        if self.choice == "shortest":
            its = tuple(sorted(its, key=lambda source: len(source.ids)))
        if self.choice == "likeliest" and len(its) > self.lessons:
            its = tuple(sorted(its, key=lambda source: -fmean(scores[key(group, source)].logprobs)))
        return its[: self.lessons]

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        """Every answer for its own prompt, and a right one of another where the student is stuck."""
        learners = {self.student, *(self.tutors if self.tutors_learn else ())}
        learning = [replace(g, answers=tuple(a for a in g.answers if a.expert in learners)) for g in groups]
        own = super().examples(learning, scores, memory, rng, progress)
        chosen = [self.chosen(group, scores) for group in groups]
        rows = tuple(
            self.lesson(group, source, 1.0 / (len(its) * len(groups)))
            for group, its in zip(groups, chosen, strict=True)
            for source in its
        )
        first, *others = own.updates
        return Lesson((Update(first.examples + rows), *others), own.memory, self.told(groups, chosen))

    def lesson(self, group: Group, source: Rollout | Trace, weight: float) -> Example:
        """A right answer under the student's prompt, with the log-probs of its writer where they are known."""
        known = len(source.logprobs) == len(source.ids)
        return Example(
            "lesson",
            group.question.prompt_ids[self.student],
            source.ids,
            weight=weight,
            mask=source.mask if isinstance(source, Rollout) else (),
            planes={"writer_logprobs": source.logprobs} if known else {},
            media=group.question.media,
            group_id=(group.question.id, self.student),
        )

    def told(self, groups: Sequence[Group], chosen: Sequence[Sources]) -> dict[str, float]:
        """Questions of the step by who taught them, and the traces that were learnt."""
        traces = [source for its in chosen for source in its if isinstance(source, Trace)]
        return {
            "tutoring/stuck": float(sum(self.stuck_on(group) is not None for group in groups)),
            "tutoring/by_tutors": float(sum(isinstance(its[0], Rollout) for its in chosen if its)),
            "tutoring/by_traces": float(sum(isinstance(its[0], Trace) for its in chosen if its)),
            "tutoring/rows": float(len(traces)),
            "tutoring/tokens": float(sum(len(trace.ids) for trace in traces)),
        }

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(), self.tutoring_term(progress))

    def tutoring_term(self, progress: Progress) -> Term:
        """Supervised learning of the lessons; every stuck question weighs alike."""
        per_token = CrossEntropy() if self.trust is None else TrustedCrossEntropy(self.trust)
        faded = self.coefficient * (1.0 - (1.0 - self.fade) * progress.share)
        coefficient = faded if progress.share >= self.late else 0.0
        return Term("tutoring", "lesson", per_token, coefficient, sum_of_sequences)


def key(group: Group, source: Rollout | Trace) -> str:
    """Under which the score of a lesson comes back."""
    return f"lesson/{group.question.id}/{'-'.join(map(str, source.ids))}"
