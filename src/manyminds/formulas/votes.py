"""Majority vote over answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def majority(answers: Sequence[str | None]) -> dict[str, float]:
    """What the majority says: each answer with the most votes, with its share 1 / (number of such answers).

    The accuracy of the vote on a question is then `majority(answers).get(gold, 0.0)`: what breaking ties at
    random gives in expectation, without drawing. None (no answer could be read) never votes.
    Limits: without a tie the one winner has 1.0; where nobody votes the result is empty; else shares sum to 1.
    The order of the answers matters only for the order of the keys.
    Source: self-consistency (arXiv 2203.11171); the sharing of ties is ours.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    winners = [answer for answer, count in votes.items() if count == most]
    return {answer: 1 / len(winners) for answer in winners}
