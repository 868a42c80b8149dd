"""Who fails where: groups that are all wrong, the best prompt chosen without looking, errors in common."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Halves = np.ndarray[Any, np.dtype[np.bool_]]


def all_wrong(draws: int, right: Counts, k: int) -> Floats:
    """C(draws - right, k) / C(draws, k), unbiased for (1 - p)^k: the chance that k answers are all wrong.

    `right` of `draws` independent answers are right, an entry for each question (and prompt). 1 - pass@k, see
    formulas/pass_at_k.py. With k = draws it is 1 where none is right, else 0. Raises ValueError unless 1 <= k <= draws.
    """
    if not 1 <= k <= draws:
        raise ValueError(f"all_wrong needs 1 <= k <= draws, not k = {k} with {draws} draws")
    earlier = np.arange(k)
    left: Floats = ((draws - right)[..., None] - earlier).clip(min=0) / (draws - earlier)
    product: Floats = left.prod(-1)
    return product


def halvings(questions: int, times: int, rng: np.random.Generator) -> Halves:
    """`times` ways to part the questions into two halves, [times, questions]; an odd question goes to the first."""
    places = np.stack([rng.permutation(questions) for _ in range(times)])
    found: Halves = places % 2 == 0
    return found


def chosen_elsewhere(loss: Floats, ties: Floats, weights: Floats, halves: Halves) -> Floats:
    """The loss of the best prompt, chosen on one half of the questions and measured on the other, both ways round.

    `loss` and `ties` are [questions, prompts]: the prompt with the lowest loss is chosen, among equal ones that with
    the most of `ties`. `weights` [resamples, questions] say how often each question occurs in a bootstrap resample;
    copies of a question stay in one half. Returns the mean over `halves`, one number a resample. As no question helps
    to choose the prompt that it measures, the best of several equal prompts is not found better than they are.
    """
    total = np.zeros(len(weights))
    rows = np.arange(len(weights))
    for half in halves:
        for here in (half, ~half):
            score = weights[:, here] @ loss[here] - 1e-9 * (weights[:, here] @ ties[here])
            total += (weights[:, ~here] @ loss[~here])[rows, score.argmin(1)]
    mean: Floats = total / (len(halves) * weights.sum(1))
    return mean


def overlap(draws: int, right: Counts) -> Floats:
    """P(an answer under prompt b is wrong | one under prompt a to the same question is wrong), [a, b].

        mean_q f_qa f_qb / mean_q f_qa,      f = w / n: share of wrong answers;      a = b: w (w - 1) / (n (n - 1))

    Numerator and denominator are unbiased: answers under two prompts are drawn independently, and the diagonal takes
    two different answers under the same one, which is what asking a again would give. nan where a is never wrong.
    `right` is [questions, prompts]. Raises ValueError for fewer than two draws.
    """
    if draws < 2:
        raise ValueError("overlap needs two answers or more under each prompt")
    wrong = (draws - right).astype(np.float64)
    both = wrong.T @ wrong / draws**2
    np.fill_diagonal(both, (wrong * (wrong - 1)).sum(0) / (draws * (draws - 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = both / (wrong.sum(0) / draws)[:, None]
    return found
