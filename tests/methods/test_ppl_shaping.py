"""Perplexity shaping: the golden numbers, outliers, the release's bug, and the loss beside other parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, pstdev, quantiles
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.formulas.shaping import perplexity_weights, within_group
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.ppl_shaping import PerplexityShaping
from manyminds.records import Group


def composed(*parts: dict[str, Any], base: str = "grpo", experts: int = 1) -> Composed:
    return Composed(build({"name": base, "experts": [f"e{i}" for i in range(experts)], "with": list(parts)}))


def tensor(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("measured", "z", "weights"),
    [
        (
            (0.2, 0.3, 0.4, 0.9),
            (-0.928477, -0.557086, -0.185695, 1.671258),
            (1.009285, 1.005571, 1.001857, 0.983287),
        ),
        ((0.2, 0.3, 0.4, 2.0), (-1.224745, 0, 1.224745, 20.820663), (1.012247, 1, 0.987753, 0.8)),
    ],
)
def test_golden(measured: Sequence[float], z: Sequence[float], weights: Sequence[float]) -> None:
    assert within_group(tensor(*measured)).tolist() == pytest.approx(z, abs=1e-6)
    assert perplexity_weights(tensor(*measured), 0.01, 0.2).tolist() == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize("measured", [(0.1, 0.5, 0.6, 0.7, 0.8, 9.0), (3.0, 1.0, 1.1, 1.2, 1.3, 1.4, -2.0), (0.5, 2.5)])
def test_other_groups_against_plain_code(measured: tuple[float, ...]) -> None:
    q1, _, q3 = quantiles(measured, n=4, method="inclusive")
    inside = [x for x in measured if q1 - 1.5 * (q3 - q1) <= x <= q3 + 1.5 * (q3 - q1)]
    wanted = [(x - fmean(inside)) / pstdev(inside) for x in measured]
    assert within_group(tensor(*measured)).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("measured", [(0.7,), (0.7, 0.7, 0.7), (0.1, 0.1, 0.1)])
def test_equal_answers_weigh_alike(measured: tuple[float, ...]) -> None:
    assert perplexity_weights(tensor(*measured), 5.0, 0.2).tolist() == pytest.approx([1.0] * len(measured))


def credit(method: Composed, one: Group) -> list[Any]:
    (after,) = method.credit((one,), method.initial_memory(), START)
    return [s.advantage for s in after.answers[0].scored]


ONE = group([[1, 0, 0, 0]], [[-0.2, -0.3, -0.4, -0.9]])
WEIGHTS = (1.00928477, 1.00557086, 1.00185695, 0.98328742)
PLAIN = (1.5, -0.5, -0.5, -0.5)


def test_credit_is_multiplied_to_either_side() -> None:
    wanted = [a * w for a, w in zip(PLAIN, WEIGHTS, strict=True)]
    assert credit(composed({"name": "ppl_shaping"}), ONE) == pytest.approx(wanted, abs=1e-5)
    other = [a * (2 - w) for a, w in zip(PLAIN, WEIGHTS, strict=True)]
    assert credit(composed({"name": "ppl_shaping", "favour": "high"}), ONE) == pytest.approx(other, abs=1e-5)


def test_the_release_multiplies_only_where_unlikely_answers_are_favoured() -> None:
    as_released = {"name": "ppl_shaping", "as_released": True}
    assert credit(composed(as_released), ONE) == credit(composed(), ONE)
    high = {"name": "ppl_shaping", "favour": "high"}
    assert credit(composed(high | {"as_released": True}), ONE) == credit(composed(high), ONE)


def test_alpha_zero_is_the_base() -> None:
    assert credit(composed({"name": "ppl_shaping", "alpha": 0.0}), ONE) == credit(composed(), ONE)


def test_credit_by_token_is_multiplied_token_by_token() -> None:
    method = composed({"name": "toy_methods:Faded"}, {"name": "ppl_shaping", "alpha": 0.1})
    one = group([[1, 0]], [[-0.2, -0.8]], [[(1, 2), (3, 4)]])
    (before,) = composed({"name": "toy_methods:Faded"}).credit((one,), (None, None), START)
    # l = .6 and .9 (the second token has -1): z = -1 and 1.
    wanted = [tuple(a * w for a in s.advantage) for s, w in zip(before.answers[0].scored, (1.1, 0.9), strict=True)]  # type: ignore[union-attr]
    for found, its in zip(credit(method, one), wanted, strict=True):
        assert found == pytest.approx(its)


def test_a_trace_counts_for_nothing() -> None:
    trace = replace(ONE.answers[0].scored[3].rollout, origin="trace:teacher", logprobs=())
    scored = (*ONE.answers[0].scored[:3], replace(ONE.answers[0].scored[3], rollout=trace))
    one = replace(ONE, answers=(replace(ONE.answers[0], scored=scored),))
    found = credit(composed({"name": "ppl_shaping", "alpha": 0.1}), one)
    third = 0.1 * 1.5**0.5  # z of .2, .3, .4 is -sqrt(3/2), 0, sqrt(3/2)
    assert found == pytest.approx([1.5 * (1 + third), -0.5, -0.5 * (1 - third), -0.5], abs=1e-5)


def test_the_loss_beside_meml_grpo() -> None:
    """Positive part of the centred and weighted credit: with reward 1 for the unlikelier of two, A = 1/2 · (1 - α)."""
    method = composed({"name": "ppl_shaping", "alpha": 0.1}, base="meml_grpo", experts=2)
    one = group([[1, 0], [0, 0]], [[-0.9, -0.5], [-0.1, -0.5]])
    rows = of_kind(lesson_of(method, (one,)), "sampled")
    told = evaluated(method, rows, lambda prompt, ids: (-2.0,))
    assert told.losses["policy"] == pytest.approx(0.45 * 2.0 / 4)


@pytest.mark.parametrize("fields", [{"alpha": -0.1}, {"bound": 1.0}, {"favour": "middle"}])
def test_bad_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PerplexityShaping(**fields)
