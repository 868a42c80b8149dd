"""Branching, perplexity and unsolvable sets: the spec's numbers, brute force, and limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manyminds.formulas.exploration import FEW, nucleus_sizes, perplexity, uncertainty, unsolved
from manyminds.formulas.pass_at_k import pass_at_k
from manyminds.formulas.stages import split


@pytest.mark.parametrize(("n", "c", "k", "value"), [(4, 1, 2, 0.5), (8, 2, 4, 0.785714), (16, 0, 8, 0), (16, 12, 8, 1)])
def test_pass_at_k_golden(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "size"),
    [([0.6, 0.3, 0.06, 0.04], 3), ([0.97, 0.02, 0.01], 1), ([0.5, 0.45, 0.05], 2), ([0.25] * 4, 4)],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_branching_golden(probabilities: list[float], size: int, dtype: torch.dtype) -> None:
    assert nucleus_sizes(torch.tensor(probabilities, dtype=dtype)).item() == size
    logprobs = torch.tensor(probabilities, dtype=dtype).log()[None]
    assert uncertainty(logprobs, torch.tensor([0]))[0, 2].item() == size


def test_the_tolerance_is_no_more_than_rounding() -> None:
    """A share that is missed by 1e-5 is missed, whatever the digits."""
    missed = torch.tensor([0.5, 0.44999, 0.05001])
    assert nucleus_sizes(missed).item() == nucleus_sizes(missed.double()).item() == 3


def by_hand(probabilities: list[float], share: float) -> int:
    total, size = 0.0, 0
    for p in sorted(probabilities, reverse=True):
        total, size = total + p, size + 1
        if total >= share - 1e-12:
            break
    return size


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=3 * FEW), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_branching_is_counted_one_by_one(weights: list[float], share: float) -> None:
    probabilities = torch.tensor(weights, dtype=torch.float64)
    probabilities /= probabilities.sum()
    assert nucleus_sizes(probabilities, share).item() == by_hand(probabilities.tolist(), share)


def test_branching_of_many_rows_is_that_of_each() -> None:
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 5, 4 * FEW, generator=rng) * torch.tensor([0.1, 1, 4, 16])[:, None, None]
    sizes = nucleus_sizes(logits.softmax(-1))
    assert sizes.shape == (4, 5)
    assert int(sizes.min()) < FEW < int(sizes.max())
    for row, size in zip(logits.softmax(-1).flatten(0, 1), sizes.flatten(), strict=True):
        assert by_hand(row.double().tolist(), 0.95) == size


def test_all_of_the_mass_is_at_most_all_tokens() -> None:
    assert nucleus_sizes(torch.full((300,), 1 / 300.5), 1.0).item() == 300


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_must_be_one(share: float) -> None:
    with pytest.raises(ValueError, match="share of the mass"):
        nucleus_sizes(torch.tensor([1.0]), share)


def test_perplexity() -> None:
    halves = torch.tensor([math.log(1 / 2), math.log(1 / 8)], dtype=torch.float64)
    assert perplexity(halves).item() == pytest.approx(4.0, abs=1e-12)
    assert perplexity(torch.zeros(5)).item() == 1.0
    with pytest.raises(ValueError, match="without a token"):
        perplexity(torch.zeros(0))


def test_uncertainty_of_rows() -> None:
    rows = torch.tensor([[0.6, 0.3, 0.06, 0.04], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    found = uncertainty(rows.log(), torch.tensor([1, 2, 0]))
    first = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.06 * math.log(0.06) + 0.04 * math.log(0.04))
    assert found[0].tolist() == pytest.approx([math.log(0.3), first, 3])
    assert found[1].tolist() == pytest.approx([math.log(0.25), math.log(4), 4])
    assert found[2].tolist() == pytest.approx([0, 0, 1])


def test_unsolved() -> None:
    right = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    assert unsolved(right, 2).tolist() == [True, True, False]
    assert unsolved(right, 3).tolist() == [False, True, False]
    for k in (0, 5):
        with pytest.raises(ValueError, match="1 <= k <= n"):
            unsolved(right, k)


# Stages


def test_a_bend_is_found_where_it_is() -> None:
    steps = np.arange(100.0)
    entropy = np.where(steps < 30, 2 - 0.05 * steps, 0.5 - 0.001 * (steps - 30))
    accuracy = np.where(steps < 30, 0.2 + 0.02 * steps, 0.8 + 0.0005 * (steps - 30))
    found = split(steps, entropy, accuracy)
    assert found is not None
    assert found.rising == 30
    assert found.holds
    assert found.entropy == pytest.approx((-0.05, -0.001), abs=1e-9)
    assert found.accuracy == pytest.approx((0.02, 0.0005), abs=1e-9)


def test_noise_moves_a_bend_little() -> None:
    rng, steps = np.random.default_rng(0), np.arange(200.0)
    entropy = np.maximum(2 - 0.02 * steps, 1.0) + rng.normal(0, 0.05, 200)
    accuracy = np.minimum(0.2 + 0.01 * steps, 0.7) + rng.normal(0, 0.05, 200)
    found = split(steps, entropy, accuracy)
    assert found is not None
    assert found.holds
    assert 45 <= found.rising <= 55


@pytest.mark.parametrize(
    ("entropy", "accuracy"),
    [
        pytest.param(-1.0, 1.0, id="both go on as they began"),
        pytest.param(1.0, 1.0, id="entropy rises"),
        pytest.param(-1.0, -1.0, id="accuracy falls"),
    ],
)
def test_straight_lines_have_no_two_stages(entropy: float, accuracy: float) -> None:
    steps = np.arange(50.0)
    found = split(steps, entropy * steps, accuracy * steps)
    assert found is not None
    assert not found.holds


def test_slopes_are_by_step_also_where_lines_are_missing() -> None:
    steps = np.concatenate([np.arange(0.0, 40, 4), np.arange(40.0, 80)])
    found = split(steps, np.maximum(2 - 0.05 * steps, 0.4), np.minimum(0.02 * steps, 0.64))
    assert found is not None
    assert found.holds
    assert steps[found.rising] == 32
    assert found.entropy == pytest.approx((-0.05, 0), abs=1e-9)
    assert found.accuracy == pytest.approx((0.02, 0), abs=1e-9)


Curves = np.ndarray[Any, np.dtype[np.float64]]


def walks(rng: np.random.Generator, count: int) -> Curves:
    return rng.normal(size=(2, count)).cumsum(1)


def line(slope: float) -> Callable[[np.random.Generator, int], Curves]:
    """Noise of deviation 1 on lines that fall and rise by `slope` over the whole run."""
    return lambda rng, count: rng.normal(size=(2, count)) + slope * np.outer([-1, 1], np.linspace(0, 1, count))


@pytest.mark.parametrize("count", [20, 120])
@pytest.mark.parametrize("noise", [line(0), line(3), walks], ids=["noise", "line", "walks"])
def test_noise_has_no_two_stages(noise: Callable[[np.random.Generator, int], Curves], count: int) -> None:
    rng, steps = np.random.default_rng(1), np.arange(float(count))
    found = [split(steps, *noise(rng, count)) for _ in range(60)]
    assert sum(one is not None and one.holds for one in found) <= 2  # of 60; without the bound it is 4 to 15


def test_a_bend_of_accuracy_alone_is_not_a_turn() -> None:
    """Entropy falls along a straight line, and noise bends it: its change of slope is not clear."""
    rng, steps = np.random.default_rng(2), np.arange(100.0)
    found = []
    for _ in range(30):
        noise = rng.normal(size=(2, 100))
        found.append(split(steps, noise[0] - 0.03 * steps, noise[1] + np.minimum(0.5 * steps, 15)))
    assert sum(one is not None and one.holds for one in found) <= 1


def test_how_clear_a_bend_is() -> None:
    """Without noise that remembers it is least squares' t, of which halving the noise makes about twice as much."""
    noise = np.random.default_rng(3).normal(size=(2, 200))
    steps = np.arange(200.0)
    curves = np.stack([np.maximum(-0.05 * steps, -3), np.minimum(0.05 * steps, 3)])
    much, little = (split(steps, *(curves + share * noise)) for share in (0.5, 0.25))
    assert much is not None
    assert little is not None
    assert much.clear > 3
    assert little.clear / much.clear == pytest.approx(2, rel=0.2)


def test_too_little_to_split() -> None:
    steps = np.arange(19.0)
    assert split(steps, -steps, steps) is None
    assert split(np.arange(40.0), np.ones(40), np.arange(40.0)) is None
    with pytest.raises(ValueError, match="19 steps, entropy has 19 and accuracy 20"):
        split(steps, steps, np.arange(20.0))
