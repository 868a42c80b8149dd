"""Answers made up by hand: which are right is said by letters, an expert's answers to a question in a word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manyminds.analysis.asking import Asked, Sample
from manyminds.analysis.sources import Source
from manyminds.config import load_recipe
from manyminds.records import Question

DEMO = Path(__file__).parents[2] / "recipes" / "demo.yaml"


def sample(question: str, expert: str, number: int, correct: bool | None, **values: object) -> Sample:
    filled = {"tokens": 2, "entropy": 0.5, "perplexity": 2.0, "branching": 1.5, "text": "x", "finish": "stop"} | values
    reward = None if correct is None else float(correct)
    return Sample(id=question, expert=expert, number=number, correct=correct, reward=reward, **filled)  # type: ignore[arg-type]


def asked(label: str, right: Mapping[str, tuple[str, ...]]) -> Asked:
    """Of each expert a word a question: "r" is a right answer, "w" a wrong one, "-" one without a verdict."""
    experts = tuple(right)
    count, n = len(right[experts[0]]), len(right[experts[0]][0])
    samples = tuple(
        sample(f"q{i}", name, j, None if letter == "-" else letter == "r")
        for i in range(count)
        for name in experts
        for j, letter in enumerate(right[name][i])
    )
    source = Source(label, Path(label), load_recipe(DEMO), "model", 1)
    return Asked(source, tuple(Question(f"q{i}", "", "") for i in range(count)), experts, n, samples, "verifier")
