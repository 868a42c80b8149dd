"""The stages of a run, from the lines of its metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyminds.analysis.stages import stages


def run(folder: Path, lines: list[dict[str, Any]]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def line(step: int, entropy: float | None, accuracy: float, name: str = "rewards/exact/mean") -> dict[str, Any]:
    return {"step": step, "kind": "train", "entropy": entropy, name: accuracy, "reward": 0.5}


def test_rising_then_a_plateau(tmp_path: Path) -> None:
    lines = [line(i + 1, max(1 - 0.02 * i, 0.6), min(0.2 + 0.02 * i, 0.6)) for i in range(100)]
    lines.insert(3, line(4, None, 0.1))  # what was not finite is null in a run's metrics
    found = stages(run(tmp_path, lines), "exact")
    assert found["found"]
    assert (found["step"], found["steps"]) == (20, 100)
    assert found["entropy"][0] == pytest.approx(1 - 0.02 * 4.5)
    assert found["entropy"][2] == pytest.approx(0.6)
    assert found["accuracy"][2] == pytest.approx(0.6)
    assert found["entropy_slopes"][0] == pytest.approx(-0.02, rel=0.05)
    assert found["accuracy_slopes"][1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("entropy", "accuracy", "why"),
    [
        (1.0, 1.0, "entropy does not fall"),
        (-1.0, -1.0, "accuracy does not rise"),
        (-1.0, 1.0, "more than half as fast"),
    ],
)
def test_why_there_are_no_two_stages(tmp_path: Path, entropy: float, accuracy: float, why: str) -> None:
    found = stages(run(tmp_path, [line(i, entropy * i / 99, accuracy * i / 99) for i in range(100)]), "exact")
    assert not found["found"]
    assert why in found["why"]


def test_noise_is_told_as_such(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whys = []
    for i in range(12):
        (tmp_path / str(i)).mkdir()
        noise = rng.normal(size=(60, 2)).tolist()
        found = stages(run(tmp_path / str(i), [line(j, *pair) for j, pair in enumerate(noise)]), "exact")
        assert not found["found"]
        whys.append(found["why"])
    assert any("cannot be told from noise" in why for why in whys)


def test_slopes_are_a_step_also_where_lines_are_missing(tmp_path: Path) -> None:
    lines = [line(i, -min(i, 50) / 10, min(i, 50) / 100) for i in range(100)]
    for one in lines[10:40]:
        one["entropy"] = None
    found = stages(run(tmp_path, lines), "exact")
    assert found["found"]
    assert found["step"] == 49
    assert found["entropy_slopes"] == pytest.approx([-0.1, 0], abs=1e-9)
    assert found["accuracy_slopes"] == pytest.approx([0.01, 0], abs=1e-9)


def test_the_reward_stands_in_where_the_verifier_is_not_kept(tmp_path: Path) -> None:
    lines = [{"step": i, "kind": "train", "entropy": -min(i, 30) / 9, "reward": min(i, 30) / 30} for i in range(90)]
    assert stages(run(tmp_path, lines), "exact")["found"]


def test_runs_without_stages(tmp_path: Path) -> None:
    assert stages(tmp_path, "exact") == {"found": False, "why": "no reinforcement learning in it"}
    warm = [{"step": i, "kind": "warmup", "loss/trace": 1.0} for i in range(50)]
    assert stages(run(tmp_path, warm), "exact")["why"] == "no reinforcement learning in it"
    assert "12 steps" in stages(run(tmp_path, [line(i, -i, i) for i in range(12)]), "exact")["why"]
    assert "never changes" in stages(run(tmp_path, [line(i, 1.0, i) for i in range(30)]), "exact")["why"]
