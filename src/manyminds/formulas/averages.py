"""Averages as weights: ONE number per row, such that the wanted average of a per-token loss is

    sum over rows i and tokens t of  weight_i * mask_it * loss_it.

Every function takes `lengths` (len_i: the row's tokens with mask 1) and `row_weights` (w_i >= 0, normally 1; a
padding row has 0), both of shape (rows,), and returns the weights, of the same shape.

The rows are those of the whole update: of all ranks, before any row is dropped. A row with zero advantage adds
nothing to the loss but counts in the average; were it dropped first, the others would weigh more, and the
gradient would depend on how many groups happened to be all right or all wrong. Once the weights are known, a
row may be dropped or put into any micro-batch on any rank: from here on, losses and gradients only add.

Limits, for all: a row of length 0 gets weight 0 (in a mean over rows it still counts, as a row whose value is
0); if all row weights are 0, so is every result. Where the formula divides by the row weights, scaling them all
by one factor changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def over_sequences(lengths: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """w_i / (len_i sum_j w_j): the mean over rows of each row's mean over its tokens.

    A token of a long row counts less than one of a short row.
    Source: GRPO's 1/|o_i| (arXiv 2402.03300, eq. 3).
    """
    return _ratio(row_weights, lengths * row_weights.sum())


def over_tokens(lengths: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """w_i / sum_j (w_j len_j): the mean over all tokens, each counting the same.

    Source: DAPO's token-level loss (arXiv 2503.14476, eq. 8), there per group, here over the whole update.
    """
    return _with_tokens(lengths, _ratio(row_weights, (row_weights * lengths).sum()))


@dataclass(frozen=True, slots=True)
class over_fixed_length:
    """w_i / (length sum_j w_j): the mean over rows of summed tokens, divided by one constant for all rows.

    `length` is in tokens, normally the longest response allowed. Raises ValueError unless it is positive.
    Source: Dr. GRPO (arXiv 2503.20783), which removes the bias of 1/|o_i| towards short right and long wrong answers.
    """

    length: float

    def __post_init__(self) -> None:
        if not self.length > 0:
            raise ValueError(f"length must be a positive number of tokens, not {self.length}")

    def __call__(self, lengths: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        return mean_of_sums(lengths, row_weights) / self.length


def sum_of_sequences(lengths: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """w_i / len_i: each row's mean over its tokens, added; the row weights already carry the normalisation.

    With w_i = 1 / (number of rows) it is `over_sequences`.
    """
    return _ratio(row_weights, lengths)


def sum_of_tokens(lengths: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """w_i: every token added; the row weights already carry the normalisation."""
    return _with_tokens(lengths, row_weights)


def mean_of_sums(lengths: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """w_i / sum_j w_j: the mean over rows of each row's sum over its tokens.

    With the log-probs of a response per token, the row's value is that of the sequence: REINFORCE, and MEML-GRPO's
    terms as printed (arXiv 2508.09670).
    """
    return _with_tokens(lengths, _ratio(row_weights, row_weights.sum()))


def _with_tokens(lengths: Float[Tensor, " rows"], weights: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """The weights, but 0 for rows without tokens."""
    return torch.where(lengths > 0, weights, torch.zeros_like(weights))


def _ratio(numerator: Float[Tensor, " rows"], denominator: Float[Tensor, "*any"]) -> Float[Tensor, " rows"]:
    """numerator / denominator, but 0 wherever the denominator is 0."""
    empty = denominator == 0
    return torch.where(empty, torch.zeros_like(numerator), numerator / denominator.masked_fill(empty, 1))
