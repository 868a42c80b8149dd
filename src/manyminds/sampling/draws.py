"""One token drawn: keyed uniform numbers, and the token at which the cumulative probability passes them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 1024
"""Vocabularies above this are searched block by block, so that no cumulative sum over the whole of one is needed."""


def uniforms(draw: str, group_id: tuple[str, str], answer: int, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """n uniform numbers in [0, 1) that depend on these keys alone (Philox, keyed by their BLAKE2 hash)."""
    key = hashlib.blake2b("\x1f".join([draw, *group_id, str(answer)]).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(n)


def choose(
    logits: Float[Tensor, "rows V"], temperature: float, row: Int[Tensor, " n"], noise: Float[Tensor, " n"] | None
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The next token of n answers that stand at these rows, its log-prob and the entropy in nats, all under the
    tempered policy.

    Greedy without noise; with it, the token at which the cumulative probability passes the answer's uniform number.
    """
    logprobs = torch.log_softmax(logits if temperature in (0, 1) else logits / temperature, dim=-1)
    probabilities = logprobs.exp()
    token = logits.argmax(-1)[row] if noise is None else _passed(probabilities, row, noise)
    entropy = -(probabilities * logprobs.clamp(min=-1e4)).sum(-1)
    return token, logprobs[row, token], entropy[row]


def _passed(
    probabilities: Float[Tensor, "rows V"], row: Int[Tensor, " n"], noise: Float[Tensor, " n"]
) -> Int[Tensor, " n"]:
    """Inverse of the rows' cumulative distributions, in double precision."""
    size = probabilities.shape[-1]
    if size <= BLOCK:
        cumulative = probabilities.double().cumsum(-1)[row]
        return _position(cumulative, noise[:, None] * cumulative[:, -1:])
    blocks = torch.nn.functional.pad(probabilities, (0, -size % BLOCK)).view(len(probabilities), -1, BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64).cumsum(-1)[row]
    threshold = noise[:, None] * sums[:, -1:]
    block = _position(sums, threshold)
    before = torch.nn.functional.pad(sums, (1, 0)).gather(-1, block[:, None])
    inside = blocks[row, block].double().cumsum(-1)
    return block * BLOCK + _position(inside, threshold - before)


def _position(cumulative: Float[Tensor, "n places"], threshold: Float[Tensor, "n 1"]) -> Int[Tensor, " n"]:
    """How many cumulative sums of each line are at most its threshold.

    Rounding may put the threshold a hair above the last sum: then the last place with any probability.
    """
    return (cumulative <= torch.minimum(threshold, cumulative[:, -1:] * (1 - 1e-15))).sum(-1)
