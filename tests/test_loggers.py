"""Copies of the metrics go to the trackers that a recipe names, by accelerate; the run is the same without."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from manyminds.config import load_recipe
from manyminds.durable import read_jsonl, sha256
from manyminds.errors import UserError
from manyminds.run import train

accelerate_tracking = pytest.importorskip("accelerate.tracking")

DEMO = str(Path(__file__).parents[1] / "recipes" / "demo.yaml")
SMALL = ["model=tiny", "warmup=null", "steps=2", "method.questions_per_step=2", "sampling.max_tokens=8"]
SMALL += ["task.warmup=40", "task.train=8", "task.validation=4", "task.test=5", "evaluation.samples=8"]


class Kept:
    """Stands for a tracker; keeps what it is told."""

    requires_logging_directory = True
    made: ClassVar[list[Kept]] = []

    def __init__(self, run: str, logging_dir: str) -> None:
        self.run, self.folder, self.settings, self.logged, self.over = run, logging_dir, {}, [], False
        self.made.append(self)

    def start(self) -> None: ...

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.over = True


def trained(place: Path, loggers: str) -> Path:
    recipe = load_recipe(DEMO, [*SMALL, f"output={place}", f"loggers={loggers}"])
    train(recipe)
    return recipe.folder


def test_a_tracker_gets_every_step_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "made", [])
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "kept", Kept)
    monkeypatch.setattr(accelerate_tracking, "get_available_trackers", lambda: ["kept"])
    folder, plain = trained(tmp_path / "logged", "[kept]"), trained(tmp_path / "plain", "[]")
    (kept,) = Kept.made
    lines = read_jsonl(folder / "metrics.jsonl")
    steps = [values for _, values in kept.logged if "reward" in values]
    assert [step for step, values in kept.logged if "reward" in values] == [1, 2]
    assert [one["reward"] for one in steps] == [line["reward"] for line in lines]
    assert all(isinstance(value, int | float) for _, values in kept.logged for value in values.values())
    assert {"validation/mean", "test/mean"} <= {key for _, values in kept.logged for key in values}
    assert kept.over
    assert kept.settings["method.name"] == "meml_grpo"
    assert kept.run == "demo-meml_grpo"
    weights = [sorted(f.rglob("model.safetensors"))[-1] for f in (folder, plain)]
    assert sha256(weights[0]) == sha256(weights[1])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loggers: there is no 'tensorbord'; known are .*tensorboard"):
        trained(tmp_path, "[tensorbord]")
    with pytest.raises(UserError, match="the library of 'clearml' is not installed; pip install clearml"):
        trained(tmp_path, "[clearml]")


def test_tensorboard_itself(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = trained(tmp_path, "[tensorboard]")
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
