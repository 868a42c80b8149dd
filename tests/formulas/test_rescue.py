"""Rescue formulas: against enumeration, against closed forms, and free of the luck of the best of many."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest

from manyminds.formulas.pass_at_k import pass_at_k
from manyminds.formulas.rescue import all_wrong, chosen_elsewhere, halvings, overlap


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_all_wrong_is_the_share_of_subsets_without_a_right_answer(k: int) -> None:
    for right in range(6):
        answers = [True] * right + [False] * (5 - right)
        subsets = [not any(some) for some in combinations(answers, k)]
        assert all_wrong(5, np.array([right]), k)[0] == pytest.approx(np.mean(subsets))
        assert all_wrong(5, np.array([right]), k)[0] == pytest.approx(1 - float(pass_at_k(5, right, k)))


def test_all_wrong_refuses_more_than_was_drawn() -> None:
    for k in (0, 6):
        with pytest.raises(ValueError, match="1 <= k <= draws"):
            all_wrong(5, np.array([1]), k)


def test_the_product_over_prompts_is_unbiased() -> None:
    """Over all outcomes of three draws under each of two prompts, by their probability: (1 - p)^2 (1 - q)^2."""
    p, q, expected = 0.3, 0.6, 0.0
    for a, b in product(product([0, 1], repeat=3), repeat=2):
        chance = p ** sum(a) * (1 - p) ** (3 - sum(a)) * q ** sum(b) * (1 - q) ** (3 - sum(b))
        expected += chance * all_wrong(3, np.array([sum(a)]), 2)[0] * all_wrong(3, np.array([sum(b)]), 2)[0]
    assert expected == pytest.approx((1 - p) ** 2 * (1 - q) ** 2)


def test_overlap_is_that_of_all_pairs_of_answers() -> None:
    """Of every answer under a that is wrong, the share of answers under b (another one, where b is a) that are too."""
    answers = np.random.default_rng(0).random((6, 2, 4)) < 0.5  # questions, prompts, draws
    found = overlap(4, answers.sum(-1))
    for a, b in product(range(2), repeat=2):
        wrong = both = 0.0
        for question in answers:
            pairs = permutations(range(4), 2) if a == b else product(range(4), repeat=2)
            outcomes = [(question[a][i], question[b][j]) for i, j in pairs]
            wrong += np.mean([not one for one, _ in outcomes])
            both += np.mean([not one and not other for one, other in outcomes])
        assert found[a, b] == pytest.approx(both / wrong)


def test_overlap_of_a_prompt_that_never_fails_is_not_a_number() -> None:
    found = overlap(2, np.array([[2, 0], [2, 1]]))
    assert np.isnan(found[0]).all()
    assert found[1, 0] == 0
    assert found[1, 1] == pytest.approx(2 / 3)  # (1 + 0) / (1 + 1/2)
    with pytest.raises(ValueError, match="two answers or more"):
        overlap(1, np.array([[1, 0]]))


def test_halves_are_halves() -> None:
    found = halvings(7, 20, np.random.default_rng(0))
    assert found.shape == (20, 7)
    assert set(found.sum(1)) == {4}
    assert len({tuple(row) for row in found}) > 10


def test_the_best_is_chosen_on_the_other_half() -> None:
    loss = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    halves, once = np.array([[True, True, False, False]]), np.ones((1, 4))
    # each half chooses the prompt that is right on itself and wrong on the other
    assert chosen_elsewhere(loss, 1 - loss, once, halves).tolist() == [1.0]
    mixed = np.array([[True, False, True, False]])
    assert chosen_elsewhere(loss, 1 - loss, once, mixed).tolist() == [0.5]


def test_among_equal_prompts_the_more_accurate_is_chosen() -> None:
    loss = np.zeros((4, 2))
    loss[2:, 0] = 1.0  # equal on the first half, where the second prompt is right more often
    ties = np.array([[0.1, 0.2]] * 4)
    halves, once = np.array([[True, True, False, False]]), np.ones((1, 4))
    assert chosen_elsewhere(loss, ties, once, halves).tolist() == [0.0]
    assert chosen_elsewhere(loss, -ties, once, halves).tolist() == [0.5]


def test_a_resample_is_as_if_its_questions_were_all_there_are() -> None:
    rng = np.random.default_rng(1)
    loss, ties = rng.random((6, 3)), rng.random((6, 3))
    halves = halvings(6, 5, rng)
    weights = np.array([[2.0, 0.0, 1.0, 3.0, 0.0, 0.0]])
    copies = np.repeat(np.arange(6), weights[0].astype(int))
    written_out = chosen_elsewhere(loss[copies], ties[copies], np.ones((1, 6)), halves[:, copies])
    assert chosen_elsewhere(loss, ties, weights, halves) == pytest.approx(written_out)


def test_the_best_of_equal_prompts_is_not_found_better_than_they_are() -> None:
    """Eight prompts that are all wrong on 30 % of questions; the lowest of their shares on 20 is far below."""
    rng = np.random.default_rng(2)
    found, lowest = [], []
    for _ in range(200):
        loss = (rng.random((20, 8)) < 0.3).astype(float)
        found.append(chosen_elsewhere(loss, 1 - loss, np.ones((1, 20)), halvings(20, 10, rng))[0])
        lowest.append(loss.mean(0).min())
    error = np.std(found) / len(found) ** 0.5
    assert np.mean(found) == pytest.approx(0.3, abs=3 * error)
    assert np.mean(lowest) < 0.2
