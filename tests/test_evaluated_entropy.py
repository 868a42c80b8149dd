"""The entropy of an evaluation is the mean surprise of what was drawn, question by question."""

from __future__ import annotations

import numpy as np
import pytest

from hand import question
from manyminds.evaluate import intervals, surprise
from manyminds.records import Prompt, Rollout, Scored


def answer(*logprobs: float) -> Scored:
    return Scored(Rollout(Prompt(question("q", 1), "e0"), (1,) * len(logprobs), logprobs, ""), 1.0)


def test_tokens_weigh_alike_within_a_question() -> None:
    assert surprise([answer(-1.0, -2.0), answer(-6.0)]) == pytest.approx(3.0)
    assert surprise([answer()]) == 0.0


def test_it_is_no_share() -> None:
    found = intervals({"entropy": np.array([2.0, 4.0]), "all_wrong": np.array([1.0, 1.0])}, [])
    assert found["entropy"]["value"] == 3.0
    assert 1 < found["entropy"]["low"] <= 3.0 <= found["entropy"]["high"] <= 4.0
    assert found["all_wrong"]["high"] == 1.0
