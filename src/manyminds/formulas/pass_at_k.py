"""The chance that at least one of k answers is right, from n sampled ones."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pass_at_k(n: int | Int[Tensor, "*lead"], right: int | Int[Tensor, "*lead"], k: int) -> Float[Tensor, "*lead"]:
    """1 - C(n - right, k) / C(n, k): the share of the k-subsets of n answers that hold a right one.

    `n` answers were drawn independently, `right` of them are right; counts may be tensors, one entry a question.
    Computed in float64 as 1 - prod_{j<k} (n - right - j) / (n - j): every factor lies in [0, 1], so nothing
    overflows. Unbiased for 1 - (1 - p)^k, which 1 - (1 - right / n)^k is not.
    Limits: k = 1 gives right / n; right = 0 gives exactly 0; fewer than k wrong answers give exactly 1.
    Raises ValueError unless 1 <= k <= n and 0 <= right <= n, everywhere.
    Source: Chen et al. 2021 (arXiv 2107.03374, eq. 1).
    """
    drawn, correct = torch.as_tensor(n), torch.as_tensor(right)
    if k < 1 or bool((drawn < k).any()):
        raise ValueError(f"pass@k needs 1 <= k <= n, not k = {k} with n = {drawn.tolist()}")
    if bool(((correct < 0) | (correct > drawn)).any()):
        raise ValueError(f"right must lie between 0 and n, not right = {correct.tolist()} with n = {drawn.tolist()}")
    earlier = torch.arange(k, device=correct.device)
    wrong_left = ((drawn - correct).unsqueeze(-1) - earlier).clamp(min=0).double()
    return 1 - (wrong_left / (drawn.unsqueeze(-1) - earlier)).prod(-1)
