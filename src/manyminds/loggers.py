"""Metrics to TensorBoard, Weights & Biases, trackio and others, through accelerate's trackers.

A run's own `metrics.jsonl` is written in any case; these are copies of it. Nothing here is imported unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from manyminds.config import Recipe, dump
from manyminds.errors import UserError


class Loggers:
    """The trackers that a recipe names, each a run of its own name; none is the same as none at all.

    Raises UserError for one that is unknown or whose library is not installed.
    """

    def __init__(self, recipe: Recipe, stage: str, folder: Path) -> None:
        self.trackers = [_tracker(name, f"{recipe.name}/{stage}", folder) for name in recipe.loggers]
        for tracker in self.trackers:
            tracker.start()
            tracker.store_init_configuration(_flat(dump(recipe)))

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """All finite numbers among the values, as those of this step."""
        numbers = {key: value for key, value in values.items() if _is_number(value) and key != "step"}
        for tracker in self.trackers:
            tracker.log(numbers, step=step)

    def finish(self) -> None:
        """Everything is logged."""
        for tracker in self.trackers:
            tracker.finish()


def _tracker(name: str, run: str, folder: Path) -> Any:
    if find_spec("accelerate") is None:
        raise UserError(f"loggers: {name} is reached through accelerate; pip install accelerate {name}")
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    PartialState()
    known = {str(getattr(key, "value", key)): kind for key, kind in LOGGER_TYPE_TO_CLASS.items()}
    if name not in known:
        raise UserError(f"loggers: there is no '{name}'; known are {', '.join(sorted(known))}")
    if name not in {str(getattr(key, "value", key)) for key in get_available_trackers()}:
        raise UserError(f"loggers: the library of '{name}' is not installed; pip install {name}")
    if known[name].requires_logging_directory:
        return known[name](run.replace("/", "-"), logging_dir=str(folder / name))
    return known[name](run.replace("/", "-"))


def numbers(metrics: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """An evaluation's metrics as single numbers, under a prefix."""
    return {f"{prefix}/{name}": one["value"] for name, one in metrics.items() if one is not None}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; lists as text."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            flat[name] = str(value)
        elif value is not None:
            flat[name] = value
    return flat
