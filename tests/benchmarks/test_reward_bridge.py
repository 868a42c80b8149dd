"""benchmarks/reward_bridge.py: its shares by hand, the recipe that it runs, and the figures that the docs show."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import eq
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
Load = Callable[[str], ModuleType]


@pytest.fixture
def script(load: Load) -> ModuleType:
    return load("reward_bridge")


def test_shares_by_hand(script: ModuleType) -> None:
    pairs = [(True, True), (True, False), (False, False), (False, False), (False, True)]
    found = script.shares(pairs, [1.0, 0.4, 0.0, 0.1, 0.5])
    assert found == {
        "right_by_rule": pytest.approx(0.4),
        "right_by_judge": pytest.approx(0.4),
        "wrong_called_right": pytest.approx(1 / 3),
        "kappa": pytest.approx((0.6 - 0.52) / 0.48),  # by chance 0.4 * 0.4 + 0.6 * 0.6
        "reward": pytest.approx(0.4),
    }
    alike = script.shares([(True, True)], [1.0])
    assert (alike["kappa"], alike["wrong_called_right"]) == (0.0, 0.0)


def test_only_the_steps_that_are_asked_for_count(script: ModuleType) -> None:
    rows = [{"step": step, "last_line": line, "reference": "1", "value": 0.9} for step, line in ((1, "1"), (2, "2"))]
    assert script.of_steps(rows, range(1, 2), eq)["right_by_rule"] == 1
    assert script.of_steps(rows, range(1, 3), eq)["right_by_rule"] == 0.5


def test_it_runs_the_recipe_with_another_judge_and_mode(script: ModuleType, tmp_path: Path) -> None:
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "config.json").write_text("{}")
    its = script.recipe(judge, "binary", 3, 20, tmp_path)
    assert (its.seed, its.steps, its.arm_name) == (3, 20, "binary3")
    assert its.rewards[0].model_extra["mode"] == "binary"
    assert its.method.name == "reinforce"


def test_the_docs_show_the_committed_figures(script: ModuleType) -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "reward_bridge.json").read_text(encoding="utf-8"))
    assert script.sentence(found) in (ROOT / "docs" / "papers.md").read_text(encoding="utf-8").replace("\n", " ")
