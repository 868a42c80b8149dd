"""Averages as weights: each against the average it stands for, computed directly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyminds.formulas.averages import (
    mean_of_sums,
    over_fixed_length,
    over_sequences,
    over_tokens,
    sum_of_sequences,
    sum_of_tokens,
)

Average = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
EVERY: list[Average] = [
    over_sequences,
    over_tokens,
    over_fixed_length(10),
    sum_of_sequences,
    sum_of_tokens,
    mean_of_sums,
]
MEANS: list[Average] = [over_sequences, over_tokens, over_fixed_length(10), mean_of_sums]


def test_golden() -> None:
    lengths, row_weights = torch.tensor([1.0, 4.0, 5.0]), torch.ones(3)
    assert over_sequences(lengths, row_weights).tolist() == pytest.approx([1 / 3, 1 / 12, 1 / 15])
    assert over_tokens(lengths, row_weights).tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert over_fixed_length(10)(lengths, row_weights).tolist() == pytest.approx([1 / 30] * 3)
    assert sum_of_sequences(lengths, row_weights).tolist() == pytest.approx([1, 0.25, 0.2])
    assert sum_of_tokens(lengths, row_weights).tolist() == [1, 1, 1]
    assert mean_of_sums(lengths, row_weights).tolist() == pytest.approx([1 / 3] * 3)


def test_golden_with_row_weights() -> None:
    lengths, row_weights = torch.tensor([2.0, 4.0]), torch.tensor([3.0, 1.0])
    assert over_sequences(lengths, row_weights).tolist() == pytest.approx([3 / 8, 1 / 16])
    assert over_tokens(lengths, row_weights).tolist() == pytest.approx([0.3, 0.1])
    assert over_fixed_length(8)(lengths, row_weights).tolist() == pytest.approx([3 / 32, 1 / 32])
    assert sum_of_sequences(lengths, row_weights).tolist() == pytest.approx([1.5, 0.25])
    assert sum_of_tokens(lengths, row_weights).tolist() == [3, 1]
    assert mean_of_sums(lengths, row_weights).tolist() == pytest.approx([0.75, 0.25])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**31))
def test_the_weighted_sum_is_the_average_it_is_named_after(row_lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.randn(len(row_lengths), 6, generator=generator, dtype=torch.float64)
    lengths = torch.tensor(row_lengths, dtype=torch.float64)
    mask = (torch.arange(6) < lengths[:, None]).double()
    ones = torch.ones_like(lengths)
    rows = [loss[i, :n] for i, n in enumerate(row_lengths)]
    direct = {
        over_sequences: torch.stack([row.mean() for row in rows]).mean(),
        over_tokens: torch.cat(rows).mean(),
        over_fixed_length(10): torch.stack([row.sum() / 10 for row in rows]).mean(),
        sum_of_sequences: torch.stack([row.mean() for row in rows]).sum(),
        sum_of_tokens: torch.cat(rows).sum(),
        mean_of_sums: torch.stack([row.sum() for row in rows]).mean(),
    }
    for average, expected in direct.items():
        weighted = (average(lengths, ones)[:, None] * mask * loss).sum()
        torch.testing.assert_close(weighted, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("average", EVERY)
def test_an_empty_row_gets_no_weight(average: Average) -> None:
    weights = average(torch.tensor([0.0, 2.0]), torch.ones(2))
    assert weights[0].item() == 0
    assert weights[1].item() > 0


def test_an_empty_row_counts_in_means_over_rows_only() -> None:
    lengths, row_weights = torch.tensor([0.0, 2.0]), torch.ones(2)
    assert over_sequences(lengths, row_weights).tolist() == [0, 0.25]
    assert mean_of_sums(lengths, row_weights).tolist() == [0, 0.5]
    assert over_tokens(lengths, row_weights).tolist() == [0, 0.5]


@pytest.mark.parametrize("average", EVERY)
@pytest.mark.parametrize("lengths", [[3.0, 2.0], [0.0, 2.0], [0.0, 0.0], []])
def test_without_any_row_weight_all_is_zero(average: Average, lengths: list[float]) -> None:
    weights = average(torch.tensor(lengths), torch.zeros(len(lengths)))
    assert weights.tolist() == [0.0] * len(lengths)


@pytest.mark.parametrize("average", EVERY)
def test_only_empty_rows_give_zero(average: Average) -> None:
    assert average(torch.zeros(3), torch.ones(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("average", EVERY)
def test_a_padding_row_changes_nothing(average: Average) -> None:
    lengths, row_weights = torch.tensor([1.0, 4.0]), torch.tensor([1.0, 0.5])
    padded = average(torch.cat([lengths, torch.ones(1)]), torch.cat([row_weights, torch.zeros(1)]))
    torch.testing.assert_close(padded, torch.cat([average(lengths, row_weights), torch.zeros(1)]))


@pytest.mark.parametrize("average", EVERY)
def test_the_order_of_rows_does_not_matter(average: Average) -> None:
    lengths, row_weights = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([1.0, 0.5, 2.0])
    torch.testing.assert_close(average(lengths.flip(0), row_weights.flip(0)), average(lengths, row_weights).flip(0))


@pytest.mark.parametrize("average", MEANS)
def test_a_common_factor_of_row_weights_cancels(average: Average) -> None:
    lengths, row_weights = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([1.0, 0.5, 2.0])
    torch.testing.assert_close(average(lengths, 7 * row_weights), average(lengths, row_weights))


@pytest.mark.parametrize("average", [sum_of_sequences, sum_of_tokens])
def test_sums_keep_the_factor(average: Average) -> None:
    lengths, row_weights = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([1.0, 0.5, 2.0])
    torch.testing.assert_close(average(lengths, 7 * row_weights), 7 * average(lengths, row_weights))


@pytest.mark.parametrize("average", MEANS)
def test_dropping_a_row_before_the_weights_would_change_the_average(average: Average) -> None:
    """Why weights are computed over all rows: the row that would be dropped holds down the others."""
    lengths, row_weights = torch.tensor([2.0, 2.0]), torch.ones(2)
    assert average(lengths, row_weights)[0].item() == pytest.approx(average(lengths[:1], row_weights[:1])[0].item() / 2)


@pytest.mark.parametrize("length", [0, -1, float("nan")])
def test_a_fixed_length_must_be_positive(length: float) -> None:
    with pytest.raises(ValueError, match="positive number of tokens"):
        over_fixed_length(length)


def test_a_fixed_length_is_a_value() -> None:
    assert over_fixed_length(256) == over_fixed_length(256) != over_fixed_length(255)
    assert repr(over_fixed_length(256)) == "over_fixed_length(length=256)"
