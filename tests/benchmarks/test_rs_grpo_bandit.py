"""benchmarks/rs_grpo_bandit.py: the bandit of the RS-GRPO paper, on the library's own credit."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import exp
from pathlib import Path
from types import ModuleType

import pytest
import torch

Load = Callable[[str], ModuleType]


@pytest.fixture
def script(load: Load) -> ModuleType:
    return load("rs_grpo_bandit")


def test_the_arms_and_the_first_policy(script: ModuleType) -> None:
    """As the equations of the paper's code have them, written out once more."""
    due = [0.1 + 0.9 * exp(-((x - 40) ** 2) / 50) + 0.5 * exp(-((x - 75) ** 2) / 50) for x in range(100)]
    assert script.rewards().tolist() == pytest.approx(due)
    weights = [exp(-0.5 * ((x - 75) / 5) ** 2) + 0.1 for x in range(100)]
    assert script.start().softmax(-1).tolist() == pytest.approx([w / sum(weights) for w in weights])


def test_one_update_is_a_step_up_the_gradient(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside autograd, for arms drawn beforehand."""
    drawn = torch.randint(30, 90, (2, 16), generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(script.torch, "multinomial", lambda *_, **__: drawn)
    _, (told,), _ = script.bandit((2.0,), seeds=2, updates=1, points=1)
    for arms, expected in zip(drawn, told, strict=True):
        logits = script.start().requires_grad_()
        r = script.rewards()[arms]
        credit = ((2 * r).exp() / (2 * r).exp().mean() - 1) / 2
        (credit * logits.log_softmax(-1)[arms]).mean().backward()
        due = (logits.detach() + 0.1 * logits.grad).softmax(-1) @ script.rewards()
        assert expected.item() == pytest.approx(due.item(), abs=1e-12)


def test_risk_leaves_the_lower_hill(script: ModuleType) -> None:
    """A fifth of the updates: the higher hill is climbed, its top not reached yet."""
    rows = script.by_beta(script.BETAS, *script.bandit(script.BETAS, seeds=2, updates=5_000, points=2))
    assert script.as_claimed(rows)
    caught, averse, far, farther = (row["rewards"] for row in rows)
    assert all(0.57 < reward < 0.6 for reward in (*caught, *averse))
    assert all(reward > 0.9 for reward in (*far, *farther))


@pytest.mark.long
def test_where_the_bandit_ends(script: ModuleType) -> None:
    """Golden: .60 at arm 75 for beta 0 and 2, .999 and .998 at arm 40 for beta 4 and 8. Some seeds stop beside it."""
    rows = script.by_beta(script.BETAS, *script.bandit(script.BETAS, seeds=5, updates=25_000, points=1))
    assert script.as_claimed(rows)
    for row, due in zip(rows, (0.60, 0.60, 0.999, 0.998), strict=True):
        tops = [r for r, arm in zip(row["rewards"], row["arms"], strict=True) if arm in (75, 40)]
        assert tops
        assert tops == pytest.approx([due] * len(tops), abs=1e-3)
        assert all(abs(arm - script.DUE[row["beta"]]) <= 1 for arm in row["arms"])


def test_a_seed_on_the_other_hill_is_told(script: ModuleType) -> None:
    assert script.as_claimed([{"beta": 8.0, "arms": [40, 39, 41]}, {"beta": 0.0, "arms": [75]}])
    assert not script.as_claimed([{"beta": 8.0, "arms": [40, 75]}])
    assert not script.as_claimed([{"beta": 2.0, "arms": [75, 40]}])


def test_the_script_from_end_to_end(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "bandit.json", tmp_path / "bandit.png"
    script.main(updates=20, seeds=2, as_json=True, out=out, plot=plot)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text(encoding="utf-8"))
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [row["beta"] for row in found["rows"]] == [0.0, 2.0, 4.0, 8.0]
    assert {"machine", "versions", "as_claimed", "wall_seconds"} <= found.keys()
    script.show(found, script.Console())
    assert "higher hill" in capsys.readouterr().out


def test_the_committed_result_is_what_the_page_says(script: ModuleType) -> None:
    place = Path(__file__).parents[2] / "benchmarks" / "results" / "rs_grpo_bandit.json"
    found = json.loads(place.read_text(encoding="utf-8"))
    assert found["as_claimed"] == script.as_claimed(found["rows"])
    page = (Path(__file__).parents[2] / "docs" / "papers.md").read_text(encoding="utf-8")
    for row in found["rows"]:
        counts = f"{row['on_the_higher_hill']} of {found['seeds']}"
        assert f"| {row['beta']:g} | {row['reward']:.3f} | {counts} |" in page
