"""What a dry run says of batch sizes: the numbers that the library chose, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyminds import derivation
from manyminds.config import load_recipe
from manyminds.policy import fitting
from manyminds.preview import Preview, preview

DEMO = Path(__file__).parents[1] / "recipes" / "demo.yaml"
SMALL = "task={name: arithmetic, warmup: 60, train: 30, validation: 6, test: 6}"


def seen(*overrides: str) -> Preview:
    return preview(load_recipe(DEMO, [SMALL, *overrides]))


def test_rollouts_are_multiplied_out() -> None:
    first, answers, tokens, batches, epoch, precision = derivation.of_training(seen())
    assert first == (
        "12 questions under 3 system prompts (concise, deliberate, structured) are 36 prompts; 36 prompts x 8 answers "
        "= 288 rollouts a step, in 36 groups."
    )
    assert answers.startswith("engine.answers_at_once = 512: more gains nothing (a quarter of ")
    assert answers.endswith("the 288 rollouts are drawn together.")
    assert tokens.startswith("engine.tokens_at_once = 4,096 in a micro-batch: more gains nothing")
    # 36 prompts of 10 tokens once, 288 answers of 60: 17,640 = 4.3 micro-batches
    assert "are 17,640 tokens: 5 micro-batches an update" in batches
    assert "nothing needs to divide evenly" in batches
    assert epoch.startswith("30 training questions / 12 a step: an epoch is 2.5 steps")
    assert precision == "engine.precision = float32: the default on cpu; weights are float32."


def test_prompts_are_called_what_they_are() -> None:
    def under(method: str, *overrides: str) -> str:
        return derivation.of_training(seen(f"method={{{method}}}", *overrides))[0].partition(" under ")[2]

    assert under("name: grpo, experts: [plain]").startswith("the plain prompt are 12 prompts; 12 prompts x 8 answers")
    assert under("name: grpo, experts: [concise]").startswith("1 system prompt (concise) are 12 prompts")
    assert under("name: grpo, experts: [concise, plain]").startswith("2 prompts (concise, plain) are 24 prompts")
    without = "experts=[{name: concise}, {name: structured, system: Be structured.}]"
    assert under("name: grpo", without, "warmup=null").startswith("2 prompts (concise, structured) are 24 prompts")
    assert under("name: tutored_grpo, traces: never, tutor_answers: 4") == (
        "4 prompts (plain; in a follow-up concise, deliberate, structured) are 48 prompts; 48 prompts x 4 to 8 answers "
        "= 240 rollouts a step, in 48 groups."
    )


def test_answers_that_may_not_be_drawn_are_at_most() -> None:
    first, *_ = derivation.of_training(seen("method={name: grpo, with: [{name: adaptive_sampling}]}"))
    assert "36 prompts x at most 8 answers = 288 rollouts a step" in first


def test_who_is_asked_again_answers_into_the_same_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO.parents[1] / "examples"))
    first, *_ = derivation.of_training(seen("method={name: grpo, with: [{name: custom_method:AskAgain}]}"))
    assert first == (
        "12 questions under 3 system prompts (concise, deliberate, structured) are 36 prompts; 36 prompts x 16 answers "
        "= 576 rollouts a step, in 36 groups."
    )


def test_what_the_recipe_sets_is_said_to_be_set() -> None:
    lines = derivation.of_training(seen("engine={answers_at_once: 100, tokens_at_once: 20000, precision: mixed}"))
    assert "engine.answers_at_once = 100: as the recipe says; the 288 rollouts take turns, 100 at a time" in lines[1]
    assert "engine.tokens_at_once = 20,000 in a micro-batch: as the recipe says" in lines[2]
    assert "one micro-batch an update" in lines[3]
    assert "engine.precision = mixed: as the recipe says" in lines[5]


def test_a_small_memory_is_the_reason_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "memory_bytes", lambda device: 2**24)
    _, answers, tokens, *_ = derivation.of_training(seen())
    # 3 layers, 1 kv head of 16: 384 bytes a token, 1.5 times 60 of them an answer; 2^22 / 34,560 = 121
    assert answers.startswith("engine.answers_at_once = 121: a quarter of 16 MiB holds 121, at 33.8 KiB each;")
    assert tokens.startswith("engine.tokens_at_once = 227 in a micro-batch: a quarter of 16 MiB holds 227, at 18.0 KiB")


def test_the_warm_up_has_rows() -> None:
    lines = derivation.of_warmup(seen())
    assert lines[0] == "180 traces / 32 rows an update: an epoch is 5.6 steps of 3,000 at most."
