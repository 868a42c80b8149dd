from __future__ import annotations

from typing import Any

import pytest

from manyminds.cell import traces_used, training, used, validation
from manyminds.comparison import Comparison
from manyminds.config import parse
from manyminds.errors import UserError
from manyminds.summary import at_equal, outcome, summarise

MEML_AGAINST_GRPO = {"outcome": "mean", "arm": "meml", "against": "grpo"}
FILE: dict[str, Any] = {
    "name": "tiny",
    "base": "base.yaml",
    "seeds": [1, 2, 3],
    "levels": {"demo": {}},
    "arms": {"grpo": {}, "meml": {}},
    "primary": MEML_AGAINST_GRPO,
    "results": "results",
}
RECIPE: dict[str, Any] = {"name": "base", "model": "tiny", "task": {"name": "arithmetic"}}
NAMES = ("groups/mixed", "groups/all_right", "groups/all_wrong", "groups/pooled_all_wrong")


def record(arm: str, seed: int, mean: float, points: list[tuple[float, float, float]]) -> dict[str, Any]:
    """A cell with the same accuracy everywhere, and a curve of (tokens, seconds, accuracy)."""
    names = ("plain", "mean", "worst", "best", "vote", "oracle")
    curve = [{"num_tokens": t, "seconds": s, **dict.fromkeys(names, v)} for t, s, v in points]
    costs = dict.fromkeys(("seconds", "wall_seconds", "trained_tokens", "traces_used", "step"), 1)
    metrics = {name: {"value": mean} for name in (*names, "pass_at_2", "pooled_pass_at_6")}
    head = {"level": "demo", "arm": arm, "seed": seed, "sampled_tokens": points[-1][0], "validation": curve}
    return {**head, **costs, "metrics": {**metrics, "worst": {"value": mean - 0.1}}}


def test_the_summary_by_hand() -> None:
    comparison = Comparison.model_validate({**FILE, "secondary": ["worst", "spread"]})
    curve = [(0.0, 0.0, 0.1), (10.0, 1.0, 0.2)]
    cells = [record("meml", 1, 0.6, curve), record("meml", 2, 0.8, curve)]
    cells += [record("grpo", 1, 0.5, curve), record("grpo", 2, 0.5, curve), record("grpo", 3, 0.9, curve)]
    found = summarise(comparison, cells)
    assert found["primary"]["seed_numbers"] == [1, 2]
    assert found["primary"]["differences"] == pytest.approx([10.0, 30.0])
    assert found["primary"]["difference"] == pytest.approx(20.0)
    assert found["secondary"][0]["p_holm"] == pytest.approx(2 * found["primary"]["p"])  # twice the smaller of two
    assert found["secondary"][1]["difference"] == pytest.approx(0.0)
    assert found["levels"]["demo"]["arms"]["meml"]["metrics"]["mean"] == {
        "mean": 0.7,
        "sd": pytest.approx(0.2 / 2**0.5),
    }


def test_arms_stand_at_the_budget_of_the_one_that_spent_least() -> None:
    comparison = Comparison.model_validate(FILE)
    cells = {
        "meml": {1: record("meml", 1, 0.6, [(0, 0, 0.1), (10, 4, 0.4), (20, 8, 0.6)])},
        "grpo": {1: record("grpo", 1, 0.6, [(0, 0, 0.1), (15, 5, 0.3)])},
        "plain": {1: record("plain", 1, 0.6, [(0, 0, 0.1), (9, 9, 0.5)])},
        "mef": {1: {**record("mef", 1, 0.6, [(0, 0, 0.1)]), "sampled_tokens": 0}},
    }
    tokens = at_equal(comparison.primary, cells, "num_tokens")
    assert tokens["budget"] == {"1": 9.0}
    assert {arm: its["mean"]["mean"] for arm, its in tokens["arms"].items()} == {"meml": 0.1, "grpo": 0.1, "plain": 0.5}
    assert tokens["primary"]["differences"] == pytest.approx([10.0])  # 0.4 at 15 tokens against 0.3
    close = {
        "meml": {1: record("meml", 1, 0.6, [(0, 0, 0.1), (1009, 8, 0.6)])},
        "grpo": {1: record("grpo", 1, 0.6, [(0, 0, 0.1), (1000, 8, 0.3)])},
    }
    assert at_equal(comparison.primary, close, "num_tokens")["primary"]["differences"] == pytest.approx([30.0])
    seconds = at_equal(comparison.primary, cells, "seconds")
    assert seconds["budget"] == {"1": 5.0}
    assert seconds["arms"]["plain"]["mean"]["mean"] == 0.1


def test_curves_are_sampled_as_stated() -> None:
    lines = [{"step": i, "step_time": 0.5, "reward": float(i), **dict.fromkeys(NAMES, 0.0)} for i in range(1, 13)]
    assert training(lines)["reward"] == [5.5, 11.5]
    assert training(lines)["step"] == [10, 12]
    metrics = {name: {"value": 0.25} for name in ("plain", "mean", "worst", "best", "vote", "oracle")}
    points = [{"step": 4, "num_tokens": 9, "metrics": {**metrics, "styles/plain/c": {"value": 1.0}}}]
    (point,) = validation([*points, {**points[0], "num_tokens": 99}], lines)
    assert (point["num_tokens"], point["seconds"], point["mean"], point["styles"]) == (
        9,
        2.0,
        0.25,
        {"plain": {"c": 1.0}},
    )


def test_traces_are_counted_where_they_are_learnt() -> None:
    lines = [{"hard_buffer/rows": 32.0, "hard_buffer/tokens": 90.0}, {"traces/rows": 0.0}, {"traces/rows": 3.0}]
    recipe = parse({**RECIPE, "warmup": {"rows_per_step": 5}, "method": {"name": "grpo"}})
    assert traces_used(recipe, "train", lines) == 35
    assert traces_used(recipe, "train", [{}, {}]) == 0
    assert traces_used(recipe, "warmup", lines) == 3 * 5
    assert used(lines, "tokens") == 90


def test_a_metric_that_was_not_measured_is_told_by_name() -> None:
    cell = record("meml", 1, 0.6, [(0.0, 0.0, 0.1)])
    with pytest.raises(UserError, match="'pass_at_9' was not measured in arm 'meml'; measured are plain"):
        outcome("pass_at_9", cell)
