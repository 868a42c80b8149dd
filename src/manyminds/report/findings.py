"""What happened in a run, as numbers: pure functions of the records of `runs.py`.

"Rescued" is an answer that was wrong before training and right after it under the same prompt; "forgotten" the reverse.
All of these read greedy answers on the test questions unless they say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manyminds.records import PLAIN
from manyminds.report.runs import Answered, Arm, Evaluation, Measure

Matrix = tuple[tuple[float, ...], ...]

SHOWN = 12
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Turnover:
    """What became of one prompt's answers, in questions: the four add up to all of them."""

    prompt: str
    rescued: int
    forgotten: int
    kept: int
    still_wrong: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One question with its answers before and after; under which prompts it was rescued, under which forgotten.

    `why` is "rescued", "forgotten" or empty: whether the question was picked for that, or drawn at an even distance.
    """

    before: Answered
    after: Answered
    rescued: tuple[str, ...]
    forgotten: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Who taught whom: `counts[i][j]` questions on which `names[j]` learnt an answer of `names[i]`."""

    names: tuple[str, ...]
    counts: Matrix

    @property
    def taught(self) -> tuple[float, ...]:
        """Per expert, how often others learnt its answer: the row sums."""
        return tuple(map(sum, self.counts))

    @property
    def learnt(self) -> tuple[float, ...]:
        """Per expert, how often it learnt another's answer: the column sums."""
        return tuple(map(sum, zip(*self.counts, strict=True)))

    @property
    def total(self) -> float:
        return sum(self.taught)


def comparisons(before: Evaluation, after: Evaluation) -> tuple[Comparison, ...]:
    """The questions that both evaluations asked, in the order of `after`."""
    earlier = {a.id: a for a in before.answers}
    found = []
    for later in after.answers:
        if (first := earlier.get(later.id)) is None:
            continue
        both = [p for p in after.prompts if p in first.greedy and p in later.greedy]
        rescued = tuple(p for p in both if later.greedy[p].correct and not first.greedy[p].correct)
        forgotten = tuple(p for p in both if first.greedy[p].correct and not later.greedy[p].correct)
        found.append(Comparison(first, later, rescued, forgotten))
    return tuple(found)


def turnover(before: Evaluation, after: Evaluation) -> tuple[Turnover, ...]:
    """Per prompt, how many questions were rescued, forgotten, kept right, and are still wrong."""
    rows = []
    pairs = comparisons(before, after)
    for prompt in after.prompts:
        asked = [c for c in pairs if prompt in c.before.greedy and prompt in c.after.greedy]
        rescued = sum(prompt in c.rescued for c in asked)
        forgotten = sum(prompt in c.forgotten for c in asked)
        kept = sum(c.after.greedy[prompt].correct for c in asked) - rescued
        if asked:
            rows.append(Turnover(prompt, rescued, forgotten, kept, len(asked) - rescued - forgotten - kept))
    return tuple(rows)


def twelve(before: Evaluation, after: Evaluation, shown: int = SHOWN) -> tuple[Comparison, ...]:
    """The questions a reader sees: one rescued and one forgotten on top, the others not chosen by outcome.

    The rescued one is that rescued under the most prompts (first of equals), likewise the forgotten one. The others
    stand at even distances through all questions, sorted by family, so that every family shows and nothing is picked.
    """
    found = comparisons(before, after)
    top = [c for c in (_most(found, "rescued"), _most(found, "forgotten")) if c is not None]
    chosen = {c.after.id for c in top}
    rest = sorted((c for c in found if c.after.id not in chosen), key=lambda c: c.after.family)
    n = min(len(rest), shown - len(top))
    return (*top, *(rest[(2 * i + 1) * len(rest) // (2 * n)] for i in range(n)))


def _most(found: Sequence[Comparison], why: str) -> Comparison | None:
    """The question rescued (or forgotten) under the most prompts, and the other thing under the fewest."""

    def count(c: Comparison) -> tuple[int, int]:
        gained, lost = len(c.rescued), len(c.forgotten)
        return (gained, -lost) if why == "rescued" else (lost, -gained)

    best = max(found, key=count, default=None)
    if best is None or count(best)[0] == 0:
        return None
    return Comparison(best.before, best.after, best.rescued, best.forgotten, why)


def overlap(evaluation: Evaluation) -> Matrix:
    """Share of questions that both of two prompts get wrong, in the order of `evaluation.prompts`."""
    wrong = _right(evaluation, evaluation.prompts) < 0.5
    return _matrix((wrong.T.astype(float) @ wrong) / max(len(wrong), 1))


def families(evaluation: Evaluation) -> tuple[tuple[str, ...], Matrix]:
    """The families of questions in order of name, and the accuracy of every prompt (rows) on each (columns)."""
    names = tuple(sorted({a.family for a in evaluation.answers if a.family}))
    right = _right(evaluation, evaluation.prompts)
    of = np.array([a.family for a in evaluation.answers])
    if not names:
        return (), ()
    return names, _matrix(np.stack([right[of == name].mean(axis=0) for name in names], axis=1))


def pairs(arm: Arm) -> Pairs | None:
    """The totals of `mutual/pairs/<teacher>-><learner>` over training; None where the arm has no mutual learning."""
    totals: dict[tuple[str, str], float] = {}
    for step in arm.steps:
        for key, value in step.values.items():
            if match := re.fullmatch(r"mutual/pairs/(.+)->(.+)", key):
                totals[match[1], match[2]] = totals.get((match[1], match[2]), 0.0) + value
    if not totals and not arm.has("mutual/"):
        return None
    names = tuple(dict.fromkeys([*arm.experts, *(name for pair in totals for name in pair)]))
    return Pairs(names, tuple(tuple(totals.get((best, worst), 0.0) for worst in names) for best in names))


def styles(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """By prompt, the share of answers in each style: from `styles/<prompt>/<style>`, else counted in greedy answers."""
    found: dict[str, dict[str, float]] = {}
    for key, measure in evaluation.metrics.items():
        parts = key.split("/")
        if parts[0] == "styles" and len(parts) == 3:
            found.setdefault(parts[1], {})[parts[2]] = measure.value
    if not found:
        for prompt in evaluation.prompts:
            used = [a.greedy[prompt].style for a in evaluation.answers if prompt in a.greedy]
            if any(used):
                found[prompt] = {style or "none": used.count(style) / len(used) for style in sorted(set(used))}
    return {p: found[p] for p in evaluation.prompts if p in found}


def difference(arm: Evaluation, other: Evaluation, metric: str = "mean", resamples: int = RESAMPLES) -> Measure | None:
    """`arm` minus `other` in one of the greedy metrics plain, mean and oracle, on the questions both were asked.

    The interval is the 95 % percentile bootstrap over questions, resampled in pairs. It says nothing of seeds.
    None where the two share no question, or the metric is another.
    """
    if metric not in SCORES:
        return None
    theirs = {a.id: a for a in other.answers}
    shared = [(a, theirs[a.id]) for a in arm.answers if a.id in theirs]
    if not shared or not arm.experts:
        return None
    score = SCORES[metric]
    gaps = np.array([score(ours, arm.experts) - score(earlier, arm.experts) for ours, earlier in shared])
    draws = np.random.default_rng(0).integers(len(gaps), size=(resamples, len(gaps)))
    low, high = np.percentile(gaps[draws].mean(axis=1), [2.5, 97.5])
    return Measure(float(gaps.mean()), float(low), float(high))


def gap(ours: Mapping[str, Measure], theirs: Mapping[str, Measure], metric: str) -> float | None:
    """One metric of an arm minus the other's; None where either lacks it."""
    return ours[metric].value - theirs[metric].value if metric in ours and metric in theirs else None


def rolling(values: Sequence[float], window: int) -> list[float]:
    """The mean over the `window` values around each, fewer at the ends; NaN is left out."""
    half = window // 2
    out = []
    for i in range(len(values)):
        near = [v for v in values[max(0, i - half) : i + half + 1] if v == v]
        out.append(sum(near) / len(near) if near else float("nan"))
    return out


def _is_right(answered: Answered, prompt: str) -> bool:
    return prompt in answered.greedy and answered.greedy[prompt].correct


SCORES: dict[str, Callable[[Answered, Sequence[str]], float]] = {
    "plain": lambda answered, experts: float(_is_right(answered, PLAIN)),
    "mean": lambda answered, experts: sum(_is_right(answered, e) for e in experts) / len(experts),
    "oracle": lambda answered, experts: float(any(_is_right(answered, e) for e in experts)),
}
"""What one question counts in the metrics that are averages over questions of greedy answers."""


def _right(evaluation: Evaluation, prompts: Sequence[str]) -> NDArray[np.float64]:
    """Questions by prompts: 1 where the greedy answer is right."""
    rows = [[float(_is_right(a, p)) for p in prompts] for a in evaluation.answers]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(prompts))


def _matrix(values: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(float(x) for x in row) for row in values)
