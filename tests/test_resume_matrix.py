"""Every method, stopped and resumed, ends where it would have ended: all tensors, the memory, the metrics and the
evaluations, bit for bit. In `make test` after one of its steps, in `make test-long` every variant after each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arms import ARMS
from manyminds import checkpoint
from manyminds.config import Recipe
from manyminds.run import train
from manyminds.warmup import warmup
from test_resume import state, stopped_and_resumed, tiny

STEPS = 6
PARTS: dict[str, dict[str, Any]] = {
    f"{base}, with dr_grpo": {**ARMS[base], "with": [{"name": "dr_grpo", "fixed_length": 6}]}
    for base in ("meml, tuned", "grpo, two epochs")
}


def recipe(output: Path, arm: str, **changes: Any) -> Recipe:
    """Six steps on five questions, two a step: an epoch ends in the middle of a step."""
    method = {**tiny(output).method.model_dump(include={"questions_per_step", "answers_per_prompt"})}
    spec = {**method, **(ARMS | PARTS)[arm]}
    if spec.get("student"):
        spec["student"] = "concise"
    return tiny(output, warmup=None, method=spec, steps=STEPS, rewards=["partly:even"], **changes)


EVERY = [*ARMS, *PARTS]
FIRST = [*{arm["name"]: label for label, arm in reversed(ARMS.items())}.values(), *PARTS]  # an arm a method
SOME = [(1 + place % (STEPS - 1),) for place in range(len(FIRST))]  # over all of them every step is tried
ALL = [tuple(range(1, STEPS))] * len(EVERY)
MATRIX = [
    *(pytest.param(*its, id=its[0]) for its in zip(FIRST, SOME, strict=True)),
    *(pytest.param(*its, id=f"{its[0]}, every step", marks=pytest.mark.long) for its in zip(EVERY, ALL, strict=True)),
]


@pytest.mark.parametrize(("arm", "steps"), MATRIX)
def test_every_method_resumes_from_every_step(arm: str, steps: tuple[int, ...], tmp_path: Path) -> None:
    whole = recipe(tmp_path / "whole", arm)
    train(whole)
    due = state(whole.folder)
    assert all(line["trained_rows"] for line in due["metrics"]), "every step must learn something"
    for step in sorted(set(steps)):
        parts = recipe(tmp_path / f"parts{step}", arm)
        stopped_and_resumed(train, parts, step)
        assert state(parts.folder) == due, f"stopped after step {step}"


def test_the_memory_is_partly_filled_where_there_is_one(tmp_path: Path) -> None:
    """What the matrix means to try is there to be tried."""
    made = recipe(tmp_path, "meml, tuned", checkpoint={"every": 1, "keep": STEPS})
    train(made)
    sizes = []
    for step in range(1, STEPS):
        saved = checkpoint.load(made.folder / "checkpoints" / f"step-{step:06d}")
        sizes.append(len(saved.state["memory"][0]))
    assert any(sizes)


@pytest.mark.parametrize("step", range(1, 8))
def test_the_warm_up_resumes_from_every_step(step: int, tmp_path: Path, whole_warm_up: dict[str, Any]) -> None:
    parts = tiny(tmp_path)
    stopped_and_resumed(warmup, parts, step)
    assert state(parts.warmup_folder) == whole_warm_up


@pytest.fixture(scope="module")
def whole_warm_up(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = tiny(tmp_path_factory.mktemp("whole"))
    warmup(made)
    return state(made.warmup_folder)


SWITCHES: dict[str, dict[str, Any]] = {
    "evaluated at every step": {"evaluation": {"every": 1, "questions": 4, "samples": 2, "group": 2}},
    "never evaluated": {"evaluation": {"every": 99, "questions": 4, "samples": 2, "group": 2}},
    "logged elsewhere too": {"loggers": ["tensorboard"]},
    "timed": {"profile": True},
    "saved at every step": {"checkpoint": {"every": 1}},
    "the best kept": {"checkpoint": {"every": 3, "keep_best": True}},
}


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = recipe(tmp_path_factory.mktemp("plain"), "meml, tuned")
    train(made)
    return state(made.folder)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("step", [None, 3], ids=["undisturbed", "resumed"])
def test_watching_a_run_does_not_change_it(
    switch: str, step: int | None, tmp_path: Path, plain_run: dict[str, Any]
) -> None:
    """Evaluation, loggers, timing and saving may be switched on or off: the tensors are those of the plain run."""
    if "loggers" in SWITCHES[switch]:
        pytest.importorskip("tensorboard")
    watched = recipe(tmp_path, "meml, tuned", **SWITCHES[switch])
    if step is None:
        train(watched)
    else:
        stopped_and_resumed(train, watched, step)
    found = state(watched.folder)
    assert found["tensors"] == plain_run["tensors"]
    assert found["state"]["memory"] == plain_run["state"]["memory"]
    assert [line["reward"] for line in found["metrics"]] == [line["reward"] for line in plain_run["metrics"]]
