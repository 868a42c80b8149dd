"""What an answer's length is worth."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def soft_overlong(lengths: Float[Tensor, "*lead"], longest: int, cache: int) -> Float[Tensor, "*lead"]:
    """The soft overlong punishment of a length, from 0 to -1, in tokens: with L = longest - cache,

        0 if length <= L,      (L - length) / cache if L < length <= longest,      -1 above.

    Limits: continuous, -1 at `longest` already; cache = 0 is a step from 0 to -1 just above `longest`.
    Source: DAPO (arXiv 2503.14476, eq. 13).
    """
    over = lengths - (longest - cache)
    if cache == 0:
        return -(over > 0).to(lengths.dtype)
    return -(over / cache).clamp(0, 1)
