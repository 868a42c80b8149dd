"""TRL's own reward functions, taken from TRL as they are."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

pytest.importorskip("trl")

from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge
from manyminds.sections import RewardConfig
from manyminds.tasks.arithmetic import extract


def judged(entry: dict[str, Any], *texts: str, ids: tuple[int, ...] = (), **extras: Any) -> list[float | None]:
    """What the entry of a recipe gives these answers, under the one name that the judge knows it by."""
    question = Question("q", "What is 1/3?", r"$\frac{1}{3}$", extras=extras)
    judge = Judge([RewardConfig.model_validate(entry)], extract)
    scored = judge([Rollout(Prompt(question, "concise"), ids, (), text) for text in texts])
    assert judge.quarantine == []
    return [next(iter(s.parts.values())) for s in scored]


def test_think_format_reward() -> None:
    texts = ("<think>a third</think> It is 1/3.", "<think>a third", "It is 1/3.")
    entry = {"name": "trl.rewards:think_format_reward"}
    assert judged({**entry, "messages": True}, *texts) == [1.0, 0.0, 0.0]
    assert judged(entry, *texts, prompt=[{"role": "user", "content": "What is 1/3?"}]) == [1.0, 0.0, 0.0]


def test_soft_overlong_punishment() -> None:
    entry = {"name": "trl.rewards:get_soft_overlong_punishment", "max_completion_len": 100, "soft_punish_cache": 20}
    assert judged(entry, "x", ids=(1,) * 90) == [-0.5]
    assert judged(entry, "x", ids=(1,) * 80) == [0.0]


def test_repetition_penalty() -> None:
    entry = {"name": "trl.rewards:get_repetition_penalty_reward", "ngram_size": 2}
    assert judged(entry, "x", ids=(5, 5, 5, 5, 5)) == [-0.75]
    assert judged({"name": "trl.rewards:get_repetition_penalty_reward"}, "x", ids=(1, 2, 3, 4)) == [0.0]


@pytest.mark.skipif(not importlib.util.find_spec("math_verify"), reason="TRL's checks of accuracy need math-verify")
def test_accuracy_reward() -> None:
    entry = {"name": "trl.rewards:accuracy_reward", "messages": True, "columns": {"solution": "answer"}}
    assert judged(entry, r"It is \boxed{\frac{1}{3}}", r"It is \boxed{\frac{1}{2}}") == [1.0, 0.0]
    cosine = {**entry, "name": "trl.rewards:get_cosine_scaled_reward", "max_len": 100}
    assert judged(cosine, r"\boxed{\frac{1}{3}}", r"\boxed{3}", ids=(1,) * 50) == pytest.approx([0.75, -0.75])
