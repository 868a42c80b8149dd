"""Would several experts help here? From a small sample of questions, before anything is trained.

GRPO learns nothing from answers that are all wrong. Three prompts with eight answers each and one prompt with 24 cost
the same; what counts is which of them leaves fewer questions without one right answer:

    one    E_q (1 - p_qe)^(N G)        of the best prompt e, chosen on other questions than it is measured on
    many   E_q prod_e (1 - p_qe)^G     of all experts together
    gain   one - many                  with a bootstrap interval, paired over questions

Every prompt, the plain one too, gives N G answers to each question, the fewest from which both are unbiased: of so many
answers in all, more questions tell more than more answers to each.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manyminds.errors import UserError
from manyminds.evaluate import RESAMPLES, ask
from manyminds.formulas.rescue import Counts, Floats, all_wrong, chosen_elsewhere, halvings, overlap
from manyminds.loading import Loaded
from manyminds.methods.compose import Composed
from manyminds.records import PLAIN, Question

HALVINGS = 50
MARGIN = 0.05
"""A gain below this share of questions is called none."""
AT_ONCE = 4
"""Questions asked between two looks at the progress."""

Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval over questions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Judged answers: `right` [questions, prompts] of `draws` under each of `prompts`; `asked` is the method's plan.

    Out of `read` of them all the task reads a final answer, right or wrong (None: nobody looked).
    """

    prompts: tuple[str, ...]
    asked: Mapping[str, int]
    draws: int
    right: Counts
    tokens: int = 0
    read: int | None = None

    @property
    def answers(self) -> int:
        """Answers to all questions under all prompts."""
        return self.right.size * self.draws

    @property
    def budget(self) -> int:
        """Answers a question in a training step, of all experts."""
        return sum(self.asked.values())


@dataclass(frozen=True, slots=True)
class PromptShare:
    """One prompt: accuracy of one answer, and the share of questions that the whole budget leaves all wrong."""

    name: str
    accuracy: Interval
    all_wrong: Interval


@dataclass(frozen=True, slots=True)
class Rescue:
    """What a sample says of `available` training questions.

    `best` is the prompt with the fewest all-wrong questions, `one` what such a choice is worth on questions that it was
    not made on. `oracle`: the chance that of one answer of each expert one is right. `together[a][b]`: of what a fails,
    how much b fails too (b = a: a asked again), None where a never fails. `fails`: each alone.
    """

    questions: int
    available: int
    sample: Sample
    prompts: tuple[PromptShare, ...]
    best: str
    one: Interval
    many: Interval
    gain: Interval
    oracle: Interval
    together: Mapping[str, Mapping[str, float | None]]
    fails: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """ "yes": the gain is clear of zero; "no": a gain of `MARGIN` is not within its interval; else "unknown"."""
        if self.gain.low > 0:
            return "yes"
        return "no" if self.gain.high < MARGIN else "unknown"

    def more(self) -> int:
        """About how many questions would settle it if the gain stays as it is: intervals shrink with their root."""
        gain = self.gain
        clear, apart = gain.value, gain.value - gain.low
        if gain.value < MARGIN / 2:
            clear, apart = MARGIN - gain.value, gain.high - gain.value
        return max(2 * self.questions, math.ceil(self.questions * (apart / clear) ** 2 / 10) * 10)


def estimate(sample: Sample, available: int) -> Rescue:
    """What the sample says, unbiased but for the ratios of `together`; it was drawn from `available` questions.

    Raises ValueError for fewer than four questions.
    """
    count, budget, right = len(sample.right), sample.budget, sample.right
    if count < 4:
        raise ValueError("four questions or more are needed: half of them choose the best prompt")
    rng = np.random.default_rng(0)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    halves, once = halvings(count, HALVINGS, rng), np.ones((1, count))
    accuracy, spent = right / sample.draws, all_wrong(sample.draws, right, budget)
    place = {name: i for i, name in enumerate(sample.prompts)}
    groups = [all_wrong(sample.draws, right[:, place[name]], n) for name, n in sample.asked.items()]
    many = np.prod(groups, axis=0)
    missed = np.prod([1 - accuracy[:, place[name]] for name in sample.asked], axis=0)

    def one(resampled: Floats) -> Floats:
        return chosen_elsewhere(spent, accuracy, resampled, halves)

    def over(values: Floats) -> Interval:
        return interval(float(values.mean()), weights @ values / count, count)

    singles = one(weights)
    alone = float(one(once)[0])
    gain = interval(alone - float(many.mean()), singles - weights @ many / count, count, low=-1.0)
    columns = range(len(sample.prompts))
    best = min(columns, key=lambda i: (float(spent[:, i].mean()), -float(accuracy[:, i].mean())))
    return Rescue(
        questions=count,
        available=available,
        sample=sample,
        prompts=tuple(PromptShare(n, over(accuracy[:, i]), over(spent[:, i])) for n, i in place.items()),
        best=sample.prompts[best],
        one=interval(alone, singles, count),
        many=over(many),
        gain=gain,
        oracle=over(1 - missed),
        together=_named(sample.prompts, overlap(sample.draws, right)),
        fails={name: float(1 - accuracy[:, i].mean()) for name, i in place.items()},
    )


def interval(value: float, resampled: Floats, count: int, *, low: float = 0.0) -> Interval:
    """The percentile interval of a value over its bootstrap resamples.

    Where all questions say the same, resampling says nothing of what others might: what occurs in up to
    1 - 0.025^(1 / count) of questions would then be missed once in forty samples, and the interval reaches as far.
    """
    bounds = np.quantile(resampled, [0.025, 0.975])
    if np.ptp(resampled) < 1e-12:
        unseen = 1 - 0.025 ** (1 / count)
        bounds += (-unseen, unseen)
    found = bounds.clip(low, 1.0)
    return Interval(value, float(found[0]), float(found[1]))


def _named(names: Sequence[str], matrix: Floats) -> dict[str, dict[str, float | None]]:
    return {
        a: {b: None if math.isnan(value) else float(value) for b, value in zip(names, row, strict=True)}
        for a, row in zip(names, matrix, strict=True)
    }


def sentence(found: Rescue) -> str:
    """Whether several experts will help here, with what speaks for it."""
    sample, gain = found.sample, found.gain
    if not sample.right.any():
        return _nothing_right(found)
    each = sorted(set(sample.asked.values()))
    shares = f"{each[0]} each" if len(each) == 1 else " and ".join(map(str, sample.asked.values()))
    figures = (
        f"of the same {sample.budget} answers a question, {len(sample.asked)} prompts with {shares} leave "
        f"{_percent(found.many.value)} of questions all wrong, the best single prompt "
        f"{_percent(found.one.value)}: a gain of {100 * gain.value:+.1f} points "
        f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f} over {found.questions} questions]"
    )
    if found.verdict == "yes":
        return f"Several experts will help here: {figures}."
    if found.verdict == "no":
        return f"Several experts will not help here: {figures}; {_instead(found)}."
    more = f"ask more (about {found.more()})" if found.more() <= found.available else "ask more"
    if found.questions == found.available:
        more = "these are all training questions there are"
    return f"Cannot tell from {found.questions} questions: {figures}; {more}."


def _nothing_right(found: Rescue) -> str:
    """What to say where no prompt has led to one right answer, whatever the interval of the gain is."""
    sample, read = found.sample, ""
    if sample.read == 0:
        read = (
            " None of them has a final answer that can be read, so it may be the form alone that fails: say in the "
            "prompts how an answer ends, and leave it room in sampling.max_tokens."
        )
    elif sample.read is not None:
        read = f" {sample.read:,} of them have a final answer that can be read."
    return (
        f"No answer of {sample.answers:,} to {found.questions} questions was right under any prompt: the model cannot "
        f"do these questions yet, and reinforcement learning has nothing to start from.{read} Teach the model first (a "
        "warm-up on worked answers, which `manyminds collect` gets written), or take easier questions or a stronger "
        "model."
    )


def _instead(found: Rescue) -> str:
    if found.many.value > 1 - MARGIN:
        return "no prompt knows these questions, so teach the model first or take easier ones"
    if found.one.value < MARGIN:
        return "hardly a question is left to be rescued"
    return f"spend the answers on one prompt, such as '{found.best}'"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def rescue(loaded: Loaded, questions: int, watch: Watch = lambda done, of: None) -> Rescue:
    """Ask a sample of the training questions under every prompt and say what it comes to.

    Raises UserError if the method asks fewer than two experts, or there are fewer than four questions.
    """
    train = loaded.questions["train"]
    asked = plan(loaded, train[0])
    if len(asked) < 2:
        raise UserError(
            f"method.experts: only {', '.join(asked) or 'nobody'} is asked; the rescue estimate compares several with "
            "one, so name two or more"
        )
    if min(questions, len(train)) < 4:
        raise UserError(
            f"task: {min(questions, len(train))} training questions tell nothing; give 4 or more, better 40"
        )
    some = random.Random(f"{loaded.recipe.seed}/rescue").sample(train, min(questions, len(train)))
    return estimate(drawn(loaded, some, asked, watch), len(train))


def plan(loaded: Loaded, question: Question) -> dict[str, int]:
    """How many answers a question gets under each prompt in the first training step, at most, without traces."""
    asked: dict[str, int] = {}
    for one in Composed(loaded.recipe.method).asks_if_all_fail(replace(question, traces={})):
        asked[one.prompt.expert] = asked.get(one.prompt.expert, 0) + one.n
    return asked


def drawn(loaded: Loaded, questions: Sequence[Question], asked: Mapping[str, int], watch: Watch) -> Sample:
    """The whole budget of answers under each prompt, some questions at a time."""
    names, draws = tuple(dict.fromkeys((PLAIN, *asked))), sum(asked.values())
    right: list[list[int]] = []
    tokens = read = 0
    for first in range(0, len(questions), AT_ONCE):
        some = questions[first : first + AT_ONCE]
        temperature = loaded.recipe.sampling.temperature
        rows: list[Any] = ask(loaded, some, names, draws, temperature=temperature, draw="rescue")
        right += [[sum(one.right for one in row[name]) for name in names] for row in rows]
        answers = [one.rollout for row in rows for its in row.values() for one in its]
        tokens += sum(len(one.ids) for one in answers)
        read += sum(loaded.task.extract(one.text) is not None for one in answers)
        watch(len(right), len(questions))
    return Sample(names, dict(asked), draws, np.array(right, dtype=np.int64), tokens, read)
