"""MEML-GRPO: multi-expert mutual learning (arXiv 2508.09670, AAAI 2026), its reinforcement stage.

One model answers every question under the prompts of N experts, G times each. Per question:

    A_g    = r_g - mean r                                             inside each expert's group
    L_GRPO = - 1/(N G) sum_i sum_g log pi(o_g^i | q, P_i) max(A_g^i, 0)
    L_KL   = mean over right answers o+ of E+ of  sg[log pi(o+ | q, P_E+)] - log pi(o+ | q, P_E-)
    L_SFT  = - log pi(worked solution | q, P_i)      for (q, P_i) that kept failing, once B of them are buffered
    L      = L_GRPO + lambda_1 L_KL + lambda_2 L_SFT

E+ and E- are the experts with the highest and lowest mean verdict on the question. The paper prints L_KL with the
opposite sign, which would lower the weak expert's likelihood of o+; `mutual_direction: as_printed` keeps that form.
What the paper leaves open, and what is ours, is listed in docs/papers.md.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from manyminds.batch import RowWeights
from manyminds.formulas.averages import mean_of_sums, over_sequences, over_tokens, sum_of_sequences, sum_of_tokens
from manyminds.methods.grpo import AVERAGES, GRPO
from manyminds.methods.terms import (
    CrossEntropy,
    FullDivergence,
    K3FromWriter,
    LogProbability,
    LogRatioFromWriter,
    PositivePart,
)
from manyminds.objective import PerToken, Term
from manyminds.records import (
    Answers,
    Ask,
    Example,
    Group,
    Ids,
    Lesson,
    Progress,
    Prompt,
    Question,
    Rollout,
    Scores,
    Update,
)

PRESETS: dict[str, dict[str, Any]] = {
    "published": {},
    "tuned": {
        "policy_loss": "clip",
        "scale": "std",
        "mutual_coefficient": 0.3,
        "mutual_gap": 0.25,
        "mutual_answers": 8,
        "hard_coefficient": 0.5,
        "hard_source": "own",
        "hard_probability": 1.0,
    },
}
REDUCTIONS: dict[str, RowWeights] = {
    "token_mean": over_tokens,
    "sequence_mean": over_sequences,
    "sum": sum_of_tokens,
    "mean_of_sums": mean_of_sums,
}


class MEMLGRPO(GRPO):
    """Multi-expert mutual learning: the best expert's right answers teach the worst one, hard questions come back.

    Letters in comments are the ambiguities of docs/papers.md. The memory is the hard-example buffer: a tuple of
    "solution" examples.
    """

    paper: ClassVar[str] = "MEML-GRPO: Heterogeneous Multi-Expert Mutual Learning for RLVR Advancement"
    arxiv: ClassVar[str] = "2508.09670"
    summary: ClassVar[str] = (
        "Experts by prompt: the best one's right answers teach the worst one; hard questions return."
    )

    name: Literal["meml_grpo"] = "meml_grpo"
    preset: Literal["published", "tuned"] = "published"
    scale: Literal["std", "none"] = "none"
    policy_loss: Literal["positive_only", "clip"] = "positive_only"  # I
    split_answers: bool = False  # B: True shares answers_per_prompt among the experts

    mutual_coefficient: float = Field(0.1, ge=0)  # lambda_1 (J)
    mutual_direction: Literal["strong_to_weak", "as_printed"] = "strong_to_weak"  # A
    mutual_estimator: Literal["sequence", "k3", "full"] = "sequence"  # A2
    mutual_per_token: bool = True  # A2: divide by the answer's length
    mutual_pairing: Literal["question", "step"] = "question"  # C
    mutual_ties: Literal["lowest", "random"] = "lowest"  # C
    mutual_gap: float = Field(0.0, ge=0, le=1)  # E+ must lead by this much, and by more than nothing
    mutual_answers: int = Field(0, ge=0)  # D: at most so many distinct ones (0: every right answer)

    hard_coefficient: float = Field(0.1, ge=0)  # lambda_2 (J)
    hard_wrong: int = Field(6, ge=0)  # K
    hard_compare: Literal["gt", "ge"] = "gt"  # E
    hard_probability: Literal["K/G", "w/G"] | Annotated[float, Field(ge=0, le=1)] = "K/G"  # F
    hard_capacity: int = Field(64, ge=1)  # B in the paper
    hard_source: Literal["ground_truth", "own"] = "ground_truth"  # G: whose worked solution
    hard_reduction: Literal["token_mean", "sequence_mean", "sum", "mean_of_sums"] = "token_mean"  # H
    hard_mode: Literal["joint", "separate"] = "joint"  # H

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        """What the recipe states stands; the preset fills in the rest."""
        if not isinstance(data, dict):
            return data
        preset = data.get("preset", "published")
        return {**(PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **data}

    @model_validator(mode="after")
    def _printed_form_is_a_sequence(self) -> MEMLGRPO:
        if self.mutual_direction == "as_printed" and self.mutual_estimator != "sequence":
            raise ValueError(
                f"mutual_direction 'as_printed' is a form of the sequence estimator, not of '{self.mutual_estimator}'; "
                "set mutual_estimator to sequence"
            )
        return self

    @classmethod
    def least_experts(cls) -> int:
        return 2

    def ask(self, question: Question, memory: Any, progress: Progress) -> tuple[Ask, ...]:
        share = max(1, self.answers_per_prompt // len(self.experts)) if self.split_answers else self.answers_per_prompt
        return tuple(Ask(Prompt(question, expert), share) for expert in self.experts)

    def examples(
        self, groups: Sequence[Group], scores: Scores, memory: Any, rng: random.Random, progress: Progress
    ) -> Lesson:
        """Every answer for its prompt, the best expert's right ones for the worst, and what the buffer gives back."""
        own = super().examples(groups, scores, memory, rng, progress)
        borrowed, mutual = self.mutual(groups, rng)
        entered = self.hard(groups, rng)
        buffer: tuple[Example, ...] = (*memory, *entered)
        spent: tuple[Example, ...] = ()
        if len(buffer) >= self.hard_capacity:
            spent, buffer = buffer[: self.hard_capacity], buffer[self.hard_capacity :]
        together, alone = (spent, ()) if self.hard_mode == "joint" else ((), spent)
        first, *others = own.updates
        updates = (Update(first.examples + borrowed + together), *others, *((Update(alone),) if alone else ()))
        buffered = {
            "size": len(buffer),
            "inserts": len(entered),
            "flushes": int(bool(spent)),
            "rows": len(spent),
            "tokens": sum(len(row.ids) for row in spent),
        }
        return Lesson(updates, buffer, mutual | {f"hard_buffer/{name}": float(n) for name, n in buffered.items()})

    def mutual(self, groups: Sequence[Group], rng: random.Random) -> tuple[tuple[Example, ...], dict[str, float]]:
        """The best expert's right answers as examples for the worst one; each question weighs alike.

        A row's weight is 1 / (right answers of its question * questions of the step), so the sum over rows is the
        mean over all questions of the mean over o+; a question without a pair counts as nothing.
        """
        rows: list[Example] = []
        told: Counter[str] = Counter({"mutual/pairs": 0, "mutual/skipped_tie": 0, "mutual/skipped_no_correct": 0})
        gaps = []
        for best, worst, gap in self.pairs(groups, rng):
            answers = self.lent(best)
            if gap <= 0 or gap < self.mutual_gap:
                told["mutual/skipped_tie"] += 1
            elif not answers:
                told["mutual/skipped_no_correct"] += 1
            else:
                told["mutual/pairs"] += 1
                told[f"mutual/pairs/{best.expert}->{worst.expert}"] += 1
                gaps.append(gap)
                rows += self.borrowed(best, worst, 1.0 / (len(answers) * len(groups)))
        return tuple(rows), {**told, **({"mutual/gap": sum(gaps) / len(gaps)} if gaps else {})}

    def pairs(self, groups: Sequence[Group], rng: random.Random) -> list[tuple[Answers, Answers, float]]:
        """(E+, E-, by how much E+ leads) of each group: by mean verdict on the question, or over those of the
        step's questions that all of its prompts were asked; without one, nobody leads."""
        if self.mutual_pairing == "question":
            means = [[answers.mean for answers in group.answers] for group in groups]
        else:
            everyone = {answers.expert for group in groups for answers in group.answers}
            shared = [group for group in groups if {answers.expert for answers in group.answers} == everyone]
            each: dict[str, list[float]] = {}
            for answers in (answers for group in shared for answers in group.answers):
                each.setdefault(answers.expert, []).append(answers.mean)
            means = [[fmean(each.get(a.expert, [0.0])) for a in group.answers] for group in groups]
        return [
            (
                group.answers[self.pick(row, max(row), rng)],
                group.answers[self.pick(row, min(row), rng)],
                max(row) - min(row),
            )
            for group, row in zip(groups, means, strict=True)
        ]

    def pick(self, means: Sequence[float], wanted: float, rng: random.Random) -> int:
        """Which expert has the wanted mean; several: the first, or one at random."""
        those = [i for i, mean in enumerate(means) if mean == wanted]
        return those[0] if self.mutual_ties == "lowest" else rng.choice(those)

    def lent(self, best: Answers) -> tuple[Rollout, ...]:
        """O+: the right answers of E+; with `mutual_answers`, the first so many distinct ones."""
        if not self.mutual_answers:
            return best.right
        distinct: dict[Ids, Rollout] = {}
        for rollout in best.right:
            distinct.setdefault(rollout.ids, rollout)
        return tuple(distinct.values())[: self.mutual_answers]

    def borrowed(self, best: Answers, worst: Answers, weight: float) -> list[Example]:
        """O+ under the worst expert's prompt, with the log-probs of its writer; as printed, also under the best's."""
        rows = [
            Example(
                "borrowed",
                worst.prompt.ids,
                rollout.ids,
                weight=weight,
                mask=rollout.mask,
                planes={"writer_logprobs": rollout.logprobs},
                teacher_prompt_ids=best.prompt.ids if self.mutual_estimator == "full" else (),
                media=worst.prompt.question.media,
                group_id=worst.prompt.group_id,
            )
            for rollout in self.lent(best)
        ]
        if self.mutual_direction == "as_printed":
            rows += [
                replace(row, kind="lent", prompt_ids=best.prompt.ids, planes={}, group_id=best.prompt.group_id)
                for row in rows
            ]
        return rows

    def hard(self, groups: Sequence[Group], rng: random.Random) -> tuple[Example, ...]:
        """Worked solutions for the (question, expert) pairs that enter the buffer: more than K wrong, then a draw.

        Those that are too long for the model have no ids, and do not enter.
        """
        entered = []
        for group in groups:
            for answers in group.answers:
                wrong, n = answers.wrong, len(answers.drawn)
                fails = wrong > self.hard_wrong if self.hard_compare == "gt" else wrong >= self.hard_wrong
                odds = {"K/G": self.hard_wrong / n, "w/G": wrong / n}.get(str(self.hard_probability))
                if fails and rng.random() < (float(self.hard_probability) if odds is None else odds):
                    entered.append(self.solution(answers))
        return tuple(example for example in entered if example.ids)

    def solution(self, answers: Answers) -> Example:
        """The question's worked solution, or this expert's own trace unless it is wrong, under this expert's prompt."""
        question = answers.prompt.question
        trace = question.traces.get(answers.expert) if self.hard_source == "own" else None
        ids = trace.ids if trace and trace.reward != 0 else question.solution_ids
        return Example("solution", answers.prompt.ids, ids, media=question.media, group_id=answers.prompt.group_id)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"solutions"}) if self.hard_coefficient > 0 else frozenset()

    def initial_memory(self) -> tuple[Example, ...]:
        return ()

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return (self.policy_term(), *self.mutual_terms(), self.hard_term())

    def policy_term(self) -> Term:
        """As published: -log pi max(A, 0), neither ratio nor clip. `clip`: GRPO's own."""
        if self.policy_loss == "clip":
            return super().policy_term()
        return Term("policy", "sampled", PositivePart(), average=AVERAGES[self.average], credit="positive")

    def mutual_terms(self) -> tuple[Term, ...]:
        """KL(E+ || E-) on the borrowed answers. As printed: both signs turned, gradient through both experts."""
        average = sum_of_sequences if self.mutual_per_token else sum_of_tokens
        if self.mutual_direction == "as_printed":
            return (
                Term("mutual", "borrowed", LogProbability(), self.mutual_coefficient, average),
                Term("mutual_strong", "lent", CrossEntropy(), self.mutual_coefficient, average),
            )
        per_token: dict[str, PerToken] = {
            "sequence": LogRatioFromWriter(),
            "k3": K3FromWriter(),
            "full": FullDivergence(),
        }
        needs = frozenset({"teacher_kl"}) if self.mutual_estimator == "full" else frozenset()
        return (Term("mutual", "borrowed", per_token[self.mutual_estimator], self.mutual_coefficient, average, needs),)

    def hard_term(self) -> Term:
        """Supervised learning of what the buffer gave back."""
        return Term("hard", "solution", CrossEntropy(), self.hard_coefficient, REDUCTIONS[self.hard_reduction])
