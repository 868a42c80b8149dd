"""Clip fractions under TRL's names: by hand, and over the mini-batches of a step."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch

from manyminds.batch import collate, weigh
from manyminds.clipping import Clipping
from manyminds.methods.cispo import CISPO
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.gspo import GSPO
from manyminds.methods.terms import SIDES
from manyminds.metrics import Metrics
from manyminds.objective import Outputs
from manyminds.records import Example, Progress
from test_step import Looking, step
from toy import EXPERTS, Toy


def answer(credit: float, *ratios: float, mask: tuple[int, ...] = ()) -> Example:
    """An answer whose tokens have become likelier by these ratios: they all have probability 1/2 now."""
    old = tuple(log(0.5 / ratio) for ratio in ratios)
    return Example("sampled", (1,), (2,) * len(ratios), credit, mask=mask, planes={"old_logprobs": old})


def told(method: Any, *rows: Example) -> dict[str, float]:
    """What is told of these rows, taken in one by one."""
    terms = Composed(method).terms(Progress(1, 0.0))
    clipping = Clipping(rows, terms)
    for row in weigh(rows, terms):
        batch = collate([row], dtype=torch.float64)
        clipping.see(Outputs(torch.full(batch.targets.shape, log(0.5), dtype=torch.float64)), batch)
    return clipping.metrics


ROWS = (
    answer(1.0, 1.3, 0.5, 1.1),  # above, of positive credit; what is below is pulled back, and not cut
    answer(-1.0, 1.3, 0.5),  # below, of negative credit
    answer(0.0, 9.0),
    answer(1.0, 9.0, 9.0, mask=(0, 1)),  # the masked token does not count
)


def test_by_hand() -> None:
    fields: Any = {"experts": ("e0",), "minibatches": 2}
    assert told(GRPO(**fields), *ROWS) == {
        "clip_ratio/low_mean": pytest.approx(1 / 7),
        "clip_ratio/high_mean": pytest.approx(2 / 7),
        "clip_ratio/region_mean": pytest.approx(3 / 7),
    }
    # a bound is still inside
    assert told(GRPO(**fields, clip_high=0.5), answer(1.0, 1.4))["clip_ratio/high_mean"] == 0
    # 1 + 4: two of seven tokens are above, one of them without credit
    assert told(CISPO(**fields), *ROWS) == {"cispo_clip_ratio": pytest.approx(1 / 7)}


def test_of_answers_where_the_ratio_is_an_answers() -> None:
    """(1.3 * 0.5 * 1.1)^(1/3) < 1 has positive credit, (1.3 * 0.5)^(1/2) < 1 negative."""
    for level, low, high in (("sequence", 1 / 4, 1 / 4), ("token", 2 / 7, 1 / 7)):
        found = told(GSPO(experts=("e0",), level=level), *ROWS)
        assert found["clip_ratio/low_mean"] == pytest.approx(low)
        assert found["clip_ratio/high_mean"] == pytest.approx(high)
        assert found["clip_ratio/region_mean"] == pytest.approx(low + high)


def test_nothing_is_told_where_nothing_can_be_cut() -> None:
    assert told(GRPO(experts=("e0",)), Example("sampled", (1,), (2,), 1.0)) == {}


def test_an_update_without_credit_counts_as_0() -> None:
    nothing = Clipping(ROWS[2:3], Composed(GRPO(experts=("e0",), minibatches=2)).terms(Progress(1, 0.0))).metrics
    assert nothing == dict.fromkeys(SIDES, 0.0)


def test_a_step_tells_the_mean_of_its_updates() -> None:
    policy = Looking(Toy(), lr=3.0)
    method = GRPO(experts=EXPERTS, questions_per_step=2, minibatches=2, clip_low=0.01, clip_high=0.01)
    *_, metrics = step(method, model=policy.model, policy=policy)
    # the first update is of the policy that drew, so nothing is cut in it
    assert 0 < metrics["clip_ratio/region_mean"] <= 0.5
    both = metrics["clip_ratio/low_mean"] + metrics["clip_ratio/high_mean"]
    assert metrics["clip_ratio/region_mean"] == pytest.approx(both)


def test_a_mean_over_updates() -> None:
    metrics = Metrics()
    for value in (0.0, 0.3, 0.6):
        metrics.add({"cispo_clip_ratio": value, "grad_norm": value})
    assert metrics.values == {"cispo_clip_ratio": pytest.approx(0.3), "grad_norm": 0.6}
