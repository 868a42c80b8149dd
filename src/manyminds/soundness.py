"""Numbers that must not go wrong in silence: log-probs not finite or not the policy's, rows that spoil a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from manyminds.batch import Batch, Row
from manyminds.errors import NotFinite
from manyminds.objective import Term, evaluate, needed, total
from manyminds.records import Example, Rollout

if TYPE_CHECKING:
    from manyminds.policy.policy import Policy

SAMPLING = "sampling_logprobs"
"""The plane of an example that was drawn under its own prompt: the log-probs with which the sampler drew it."""


class Difference:
    """How far the policy's log-probs are from those with which the sampler drew the same tokens.

    In nats: the mean and the greatest absolute difference per token, over the tokens of the rows that are trained.
    Before the first update of a step both are of the same weights; what is left is another engine, precision or
    sequence layout, and an on-policy loss is off by that much.
    """

    def __init__(self) -> None:
        self._seen: list[Tensor] = []

    def see(self, logprobs: Tensor, batch: Batch) -> None:
        """Take in a batch ("B T" log-probs); rows without the sampler's log-probs do not count."""
        drawn = [i for i, example in enumerate(batch.examples) if example.planes.get(SAMPLING)]
        if drawn:
            counted = batch.mask[drawn] > 0
            gaps = (logprobs.detach()[drawn] - batch.planes[SAMPLING][drawn]).double().abs()
            gaps = torch.where(counted, gaps, 0.0)
            self._seen.append(torch.stack([gaps.sum(), counted.sum().double(), gaps.max()]))

    @property
    def metrics(self) -> dict[str, float]:
        """TRL's names; empty if nothing was seen. Not a number if any difference is none."""
        if not self._seen:
            return {}
        sums, tokens, greatest = torch.stack(self._seen).T  # read once: a device is waited for each time
        name = "sampling/sampling_logp_difference"
        return {f"{name}/mean": float(sums.sum() / tokens.sum()), f"{name}/max": float(greatest.max())}


def finite(drawn: Sequence[Rollout]) -> Sequence[Rollout]:
    """The same answers. Raises NotFinite if the sampler gave a token of one a log-prob that is not finite."""
    bad = [rollout for rollout in drawn if not all(map(math.isfinite, rollout.logprobs))]
    if bad:
        prompt = bad[0].prompt
        value = next(v for v in bad[0].logprobs if not math.isfinite(v))
        raise NotFinite(
            f"the sampler gave a token a log-prob of {value} in an answer of '{prompt.expert}' to question "
            f"'{prompt.question.id}'",
            [Example("sampled", r.prompt.ids, r.ids, group_id=r.prompt.group_id) for r in bad],
        )
    return drawn


def culprits(rows: Sequence[Row], terms: Sequence[Term], policy: Policy) -> tuple[Example, ...]:
    """The rows whose own gradient is not finite, found one by one; all of them if only the sum is not.

    Costs a step, once something went wrong. No gradient is left.
    """
    found = []
    for row in rows:
        policy.forget()
        for batch in policy.split([row]):
            policy.backward(total(terms, evaluate(terms, policy.forward(batch, needed(terms)), batch)))
        if not policy.finite():
            found.append(row.example)
    policy.forget()
    return tuple(found or (row.example for row in rows))
