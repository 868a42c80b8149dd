"""The training step, top to bottom like the paper's algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from random import Random
from typing import Any

from manyminds import clock
from manyminds.batch import alive, weigh
from manyminds.clipping import Clipping
from manyminds.errors import NotFinite
from manyminds.methods.compose import Composed
from manyminds.metrics import Metrics, of_groups
from manyminds.objective import Term, evaluate, needed, total
from manyminds.policy.policy import Policy
from manyminds.records import (
    Answers,
    Ask,
    Example,
    Group,
    Lesson,
    Progress,
    Question,
    Rollout,
    Scored,
    Scores,
    Span,
    Update,
)
from manyminds.sampling.sampler import Sampler
from manyminds.soundness import Difference, culprits, finite

Judge = Callable[[Sequence[Rollout]], tuple[Scored, ...]]


def training_step(
    questions: Iterator[Question],
    memory: Any,
    progress: Progress,
    *,
    method: Composed,
    policy: Policy,
    sampler: Sampler,
    judge: Judge,
    seed: str,
) -> tuple[Any, Metrics]:
    """One step of the method: answers are drawn and judged, the method says what is learnt, the policy learns it.

    Returns the memory that lives on and the step's metrics. All randomness is keyed by `seed` and the step, so a step
    is a pure function of (weights, optimiser, memory, questions).
    """
    draw = f"{seed}/{progress.step}"
    metrics = Metrics()

    # 1. Experts answer questions, and the answers are judged. Having seen them, the method may ask for more, have them
    #    scored under the policy, shape the rewards, and refuse groups: those are replaced, and count as sampled.
    groups: tuple[Group, ...] = ()
    scores: Scores = {}
    everything: tuple[Rollout, ...] = ()
    for attempt in range(method.rounds):
        asked = list(islice(questions, method.questions_per_step - len(groups)))
        asks = [ask for question in asked for ask in method.ask(question, memory, progress)]
        place = draw + attempt * "/again"
        drawn, given = answered(asks, sampler, judge, place)
        for more, name in ((method.rest, "rest"), (method.follow_up, "follow-up")):
            asks = [ask for group in by_question(given) for ask in more(group, memory, progress)]
            further, judged = answered(asks, sampler, judge, f"{place}/{name}")
            drawn, given = drawn + further, given + judged
        everything += drawn
        fresh = by_question(given)
        scores = {**scores, **scored(policy, method.wants(fresh))}
        usable = tuple(g for g in method.shape(fresh, scores, memory, progress) if method.keeps(g, memory))
        metrics.add({"groups/refused": float(len(fresh) - len(usable))})
        groups += usable
        if len(groups) >= method.questions_per_step:
            break
    metrics.sampled(everything)
    groups = method.credit(groups, memory, progress)
    metrics.add(of_groups(groups))

    # 2. The method says what is learnt from them, and what is remembered.
    lesson = method.learn(groups, scores, memory, Random(f"{draw}/learn"), progress)
    metrics.add(lesson.metrics)

    # 3. What the terms need besides the current policy is computed once, before it changes.
    terms = method.terms(progress)
    lesson = recall(lesson, terms, policy)

    # 4. Averages become token weights, over all examples; one optimiser step per update.
    for update in lesson.updates:
        metrics.add(learn(update, terms, policy))

    # 5. The next answers come from the new policy.
    sampler.load(policy)
    return lesson.memory, metrics


def answered(
    asks: Sequence[Ask], sampler: Sampler, judge: Judge, draw: str
) -> tuple[tuple[Rollout, ...], tuple[Scored, ...]]:
    """What the policy answers to the asks, and what the judge makes of it, who may leave answers out.

    Raises NotFinite for log-probs that are no numbers.
    """
    if not asks:
        return (), ()
    drawn = tuple(finite(sampler.sample(asks, draw)))
    clock.keep("drawn", drawn)
    return drawn, judge(drawn)


def scored(policy: Policy, spans: Sequence[Span]) -> Scores:
    """What each span's own model says of it."""
    scores: Scores = {}
    for model in dict.fromkeys(span.model for span in spans):
        scores = {**scores, **policy.score(tuple(span for span in spans if span.model == model), model)}
    return scores


def learn(update: Update, terms: Sequence[Term], policy: Policy) -> dict[str, float]:
    """One optimiser step on the update's examples, as many rows at a time as fit; returns losses and counts.

    Raises NotFinite with the rows, the weights unchanged, for a loss or gradient that is not finite.
    """
    rows = [row for row in weigh(update.examples, terms) if alive(row, terms)]
    clock.keep("trained", rows)
    losses: dict[str, float] = {}
    difference, clipping = Difference(), Clipping(update.examples, terms)
    for batch in policy.split(rows):
        outputs = policy.forward(batch, needed(terms))
        difference.see(outputs.logprobs, batch)
        clipping.see(outputs, batch)
        shares = evaluate(terms, outputs, batch)
        policy.backward(total(terms, shares))
        for name, share in shares.items():
            value = float(share.detach())
            if not math.isfinite(value):
                raise NotFinite(f"the loss of the term '{name}' is {value}", batch.examples)
            losses[f"loss/{name}"] = losses.get(f"loss/{name}", 0.0) + value
    counts = {"trained_tokens": float(sum(row.length for row in rows)), "trained_rows": float(len(rows))}
    try:
        moved = policy.update(update.lr_scale)
    except NotFinite as error:
        raise NotFinite(error.what, culprits(rows, terms, policy)) from None
    return losses | counts | difference.metrics | clipping.metrics | moved


def recall(lesson: Lesson, terms: Sequence[Term], policy: Policy) -> Lesson:
    """The lesson with the log-probs that terms need of the old or the reference policy, as planes of the examples."""
    models = {"old_logprobs": "policy", "reference_logprobs": "reference"}
    for need in sorted(needed(terms) & models.keys()):
        kinds = {term.kind for term in terms if need in term.needs}
        lesson = with_plane(lesson, need, kinds, partial(policy.score, model=models[need]))
    return lesson


def with_plane(lesson: Lesson, plane: str, kinds: set[str], score: Callable[[Sequence[Span]], Scores]) -> Lesson:
    """The lesson with a plane of log-probs on the examples of these kinds, but for those that bring their own.

    A sequence that occurs several times is scored once.
    """
    spans: dict[tuple[Any, ...], Span] = {}
    for example in (
        e for update in lesson.updates for e in update.examples if e.kind in kinds and plane not in e.planes
    ):
        key = (example.prompt_ids, example.ids, example.media)
        spans.setdefault(key, Span(str(len(spans)), example.prompt_ids, example.ids, example.media))
    scores = score(tuple(spans.values()))

    def filled(example: Example) -> Example:
        if example.kind not in kinds or plane in example.planes:
            return example
        span = spans[example.prompt_ids, example.ids, example.media]
        return replace(example, planes={**example.planes, plane: scores[span.key].logprobs})

    updates = (replace(update, examples=tuple(filled(e) for e in update.examples)) for update in lesson.updates)
    return replace(lesson, updates=tuple(updates))


def by_question(scored: Sequence[Scored]) -> tuple[Group, ...]:
    """Judged answers as groups, in the order in which the questions were asked."""
    answers: dict[tuple[str, str], list[Scored]] = {}
    for one in scored:
        answers.setdefault(one.rollout.prompt.group_id, []).append(one)
    groups: dict[str, list[Answers]] = {}
    for (question_id, _), its in answers.items():
        groups.setdefault(question_id, []).append(Answers(its[0].rollout.prompt, tuple(its)))
    return tuple(Group(its[0].prompt.question, tuple(its)) for its in groups.values())
