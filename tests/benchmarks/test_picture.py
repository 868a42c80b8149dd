"""benchmarks/picture.py: a dot a seed, a panel for each outcome and level that was run."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]


def cell(level: str, arm: str, seed: int, value: float) -> dict[str, Any]:
    metrics = {"mean": {"value": value}, "plain": {"value": value / 2}}
    return {"level": level, "arm": arm, "seed": seed, "metrics": metrics}


CELLS = [
    *(cell("demo", "mef", seed, value) for seed, value in enumerate((0.4, 0.5, 0.6))),
    *(cell("demo", "meml_tuned", seed, value) for seed, value in enumerate((0.8, 0.9))),
    cell("strong", "mef", 0, 0.7),
]


def test_panels_and_dots(load: Load) -> None:
    figure = load("picture").drawn({"cells": CELLS})
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]
    assert titles == [
        "mean over expert prompts from a warm-up of 50 %",
        "mean over expert prompts from a warm-up of 70 %",
        "plain prompt from a warm-up of 50 %",
        "plain prompt from a warm-up of 70 %",
    ]
    dots = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert dots == [pytest.approx([40, 50, 60]), pytest.approx([80, 90])]
    halved = [list(line.get_xdata()) for line in figure.axes[2].lines if line.get_marker() == "o"]
    assert halved == [pytest.approx([20, 25, 30]), pytest.approx([40, 45])]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "before RL (warm-up)",
        "MEML-GRPO, tuned",
    ]


def test_an_interval_is_students(load: Load) -> None:
    interval = load("picture").interval
    values = [40.0, 50.0, 60.0]
    half = 4.302653 * 10 / 3**0.5  # t(0.975, 2 degrees of freedom) * sd / sqrt(n)
    assert interval(values) == pytest.approx((fmean(values) - half, fmean(values) + half), rel=1e-5)
    assert interval(values[:2]) is None
