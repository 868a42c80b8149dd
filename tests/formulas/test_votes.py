"""Majority votes: winners, ties, and answers that could not be read."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyminds.formulas.votes import majority


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["7", "7", "8"], {"7": 1.0}),
        (["7", "8"], {"7": 0.5, "8": 0.5}),
        (["7", "8", "9", "7", "8"], {"7": 0.5, "8": 0.5}),
        ([None, None, None, "7"], {"7": 1.0}),
        (["", "", "7"], {"": 1.0}),
        ([None, None], {}),
        ([], {}),
    ],
)
def test_golden(answers: list[str | None], expected: dict[str, float]) -> None:
    assert majority(answers) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "3", None]), max_size=12), st.randoms(use_true_random=False))
def test_shares_add_up_and_no_order_counts(answers: list[str | None], random: Random) -> None:
    winners = majority(answers)
    votes = [a for a in answers if a is not None]
    assert sum(winners.values()) == pytest.approx(1.0 if votes else 0.0)
    for winner in winners:
        assert votes.count(winner) == max(votes.count(a) for a in set(votes))
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert majority(shuffled) == winners
    assert majority([*answers, None]) == winners
