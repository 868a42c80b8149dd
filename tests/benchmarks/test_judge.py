"""The parts of benchmarks/judge.py: what is timed is right, and what is claimed is told."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from rich.console import Console


def test_checks_are_counted_and_told(load: Callable[[str], ModuleType]) -> None:
    judge = load("judge")
    found = judge.measured(40, 1, 1)
    assert [0 < one["right"] < 1 for one in found["ways"].values()] == [True] * 3  # each tells right from wrong
    assert [len(one["repeats"]) for one in found["ways"].values()] == [1] * 3
    console = Console(record=True, width=100)
    judge.show(found, console)
    assert "a function of TRL's, in a worker" in console.export_text()
