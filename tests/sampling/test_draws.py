"""One token drawn from a vocabulary of any size: where the cumulative probability passes the row's number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from manyminds.sampling.draws import BLOCK, choose

SIZES = [2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 17]
ABOVE = [size for size in SIZES if size > BLOCK]
LAST = 1 - 2.0**-53
"""The largest number below 1."""


def logits_of(rows: int, size: int, spread: float = 3.0) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(size)) * spread


def drawn(logits: Tensor, temperature: float, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """One answer at every row."""
    return choose(logits, temperature, torch.arange(len(logits)), noise)


def between(logits: Tensor, temperature: float, tokens: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The cumulative probabilities before and after each row's token, in float64, summed from the first token on."""
    law = (logits.double() / temperature).softmax(-1).numpy()
    sums = np.cumsum(law, -1)
    after = sums[np.arange(len(sums)), tokens.numpy()]
    return after - law[np.arange(len(sums)), tokens.numpy()], after


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", SIZES)
def test_the_number_lies_between_the_sums_before_and_after_the_token(size: int, temperature: float) -> None:
    """3000 numbers, each for a distribution of its own; probabilities are float32, so sums are near 1e-6."""
    rows = 3000 if size <= BLOCK else 500
    logits = logits_of(rows, size)
    noise = torch.rand(rows, dtype=torch.float64)
    token, logprob, entropy = drawn(logits, temperature, noise)
    before, after = between(logits, temperature, token)
    assert (before - 1e-6 <= noise.numpy()).all()
    assert (noise.numpy() < after + 1e-6).all()
    each = (logits.double() / temperature).log_softmax(-1)
    assert torch.allclose(logprob.double(), each.gather(-1, token[:, None])[:, 0], rtol=0, atol=1e-5)
    assert torch.allclose(entropy.double(), -(each.exp() * each).sum(-1), rtol=0, atol=1e-4)
    assert size == 2 or len(token.unique()) > 50


@pytest.mark.parametrize("size", SIZES)
def test_in_double_precision_it_is_the_exact_inverse(size: int) -> None:
    """Weights 1 and 2, and numbers that keep away from every boundary: there is one right token for each."""
    weights = torch.ones(1, size, dtype=torch.float64)
    weights[0, ::3] = 2
    noise = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    token, _, _ = drawn(weights.log().expand(400, -1), 1.0, noise)
    sums = weights[0].numpy().cumsum()
    assert token.tolist() == np.searchsorted(sums, noise.numpy() * sums[-1], side="right").tolist()


@pytest.mark.parametrize("size", [6, 3 * BLOCK + 5])
def test_tokens_come_as_often_as_their_probability_says(size: int) -> None:
    """n answers at one row, over an even grid of numbers: a token's count is n p to within one, and so is a run's."""
    n = 20_000
    logits = logits_of(1, size)
    noise = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    token, logprob, _ = choose(logits, 1.0, torch.zeros(n, dtype=torch.long), noise)
    law = logits[0].double().softmax(-1)
    assert ((token.bincount(minlength=size) - n * law).abs() <= 1.1).all()
    runs = token.bincount(minlength=size).cumsum(0) - n * law.cumsum(0)
    assert (runs.abs() <= 1.1).all()
    assert (token.diff() >= 0).all()
    assert torch.allclose(logprob.double(), law.log()[token], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", ABOVE)
@pytest.mark.parametrize("number", [0.0, 1e-300, 0.5, LAST])
def test_ruled_out_tokens_are_never_chosen(size: int, number: float) -> None:
    """Whole blocks without probability, at the front, in the middle and at the end."""
    allowed = torch.tensor([BLOCK // 2, size - 2])
    logits = torch.full((1, size), -torch.inf)
    logits[0, allowed] = 0.0
    token, logprob, entropy = drawn(logits, 1.0, torch.tensor([number], dtype=torch.float64))
    assert token.item() == (allowed[0] if number < 0.5 else allowed[1])
    assert logprob.item() == pytest.approx(np.log(0.5))
    assert entropy.item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("size", SIZES)
def test_the_first_and_the_last_number_have_a_token(size: int) -> None:
    """Rounding must not carry the last number past the vocabulary, nor onto a token behind all probability."""
    logits = torch.zeros(2, size)
    logits[:, -1] = -torch.inf
    token, logprob, _ = drawn(logits, 1.0, torch.tensor([0.0, LAST], dtype=torch.float64))
    assert token.tolist() == [0, size - 2]
    assert logprob.tolist() == pytest.approx([-np.log(size - 1)] * 2)


@pytest.mark.parametrize("size", ABOVE)
def test_an_answer_is_drawn_the_same_among_others(size: int) -> None:
    """Several answers may stand at one row, in any order, and none at another."""
    logits, rows, noise = logits_of(4, size), torch.tensor([3, 0, 0, 3, 1, 0]), torch.rand(6, dtype=torch.float64)
    together = choose(logits, 0.7, rows, noise)
    for i, row in enumerate(rows.tolist()):
        alone = drawn(logits[row : row + 1], 0.7, noise[i : i + 1])
        assert [x[i].item() for x in together] == pytest.approx([x.item() for x in alone], abs=1e-6)
    assert len(together[0].unique()) > 3


@pytest.mark.parametrize("size", ABOVE)
def test_without_numbers_it_is_the_likeliest(size: int) -> None:
    logits = logits_of(5, size)
    token, logprob, _ = drawn(logits, 0.0, None)
    assert token.tolist() == logits.argmax(-1).tolist()
    assert torch.allclose(logprob, logits.log_softmax(-1).amax(-1), rtol=0, atol=1e-5)
