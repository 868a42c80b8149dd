"""benchmarks/siblings.py: its tables and its picture, from cells written down by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
Load = Callable[[str], ModuleType]

NAMES = ("plain", "best", "mean", "worst", "pass_at_1", "pass_at_8", "pass_at_32", "all_wrong", "entropy")


def cell(arm: str, seed: int, value: float) -> dict[str, Any]:
    metrics = {name: {"value": value} for name in NAMES}
    return {"level": "main", "arm": arm, "seed": seed, "metrics": metrics, "recipe": {"optimizer": {"lr": 6e-4}}}


def arm(value: float) -> dict[str, Any]:
    costs = {"step": {"mean": 350.0, "sd": 1.0}, "sampled_tokens": {"mean": 2.4e6, "sd": 0.0}}
    return {"seeds": [1, 2], "metrics": {name: {"mean": value, "sd": 0.1} for name in NAMES}, "costs": costs}


PAIR = {
    "outcome": "mean",
    "arm": "meml_grpo",
    "against": "grpo",
    "difference": 9.0,
    "low": 1.0,
    "high": 17.0,
    "p": 0.04,
}
OTHER = {**PAIR, "arm": "rs_grpo", "difference": 1.0, "low": None, "p": 0.4, "p_holm": 0.8}
FOUND = {
    "cells": [cell(a, s, v + s / 10) for a, v in (("mef", 0.2), ("grpo", 0.4), ("meml_grpo", 0.5)) for s in (1, 2)],
    "levels": {
        "main": {
            "arms": {"mef": arm(0.35), "grpo": arm(0.55), "meml_grpo": arm(0.65)},
            "primary": PAIR,
            "secondary": [],
            "controls": [OTHER],
        }
    },
}


def test_tables(load: Load) -> None:
    siblings = load("siblings")
    rows = siblings.accuracy_table(FOUND).splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == ["before (warm-up)", "**MEML-GRPO, tuned**", "GRPO"]
    assert rows[3] == "| **MEML-GRPO, tuned** | 2 |" + " 65.0 ± 10.0 |" * 8 + " 0.650 |"
    assert siblings.difference_table(FOUND).splitlines()[2:] == [
        "| mean (primary, not corrected) | MEML-GRPO, tuned | GRPO | +9.0 [+1.0, +17.0] | 0.040 |",
        "| mean | RS-GRPO | GRPO | +1.0 | 0.800 |",
    ]
    assert siblings.cost_table(FOUND).splitlines()[-1] == "| GRPO | 350 | 2,400,000 | – | – | – | – |"
    tuned = {"levels": {rate: {"arms": {"grpo": arm(v)}} for rate, v in (("lr6e-4", 0.4), ("lr12e-4", 0.3))}}
    assert siblings.tuning_table(tuned, FOUND).splitlines()[2:] == ["| GRPO | 40.0 | 30.0 | 0.0006 |"]


def test_picture(load: Load) -> None:
    figure = load("siblings").drawn(FOUND)
    assert len(figure.axes) == 3
    dots = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert dots == [pytest.approx([30, 40]), pytest.approx([60, 70]), pytest.approx([50, 60])]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][1:] == ["MEML-GRPO, tuned", "GRPO"]


def test_the_docs_show_the_committed_results(load: Load) -> None:
    siblings = load("siblings")
    found, tuned = (json.loads(path.read_text(encoding="utf-8")) for path in (siblings.RESULTS, siblings.TUNING))
    page, papers = ((DOCS / name).read_text(encoding="utf-8") for name in ("siblings.md", "papers.md"))
    for table in (siblings.accuracy_table, siblings.difference_table, siblings.cost_table):
        assert table(found) in page
    assert siblings.tuning_table(tuned, found) in page
    for arm, section in siblings.SECTIONS.items():
        its = papers.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert siblings.measured(found, arm) in its, section
