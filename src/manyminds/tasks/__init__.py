"""Tasks by name. The table is explicit; a task's module is imported when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from manyminds.errors import UserError
from manyminds.tasks.task import SPLITS, Task, did_you_mean

__all__ = ["SPLITS", "TASKS", "Task", "load_task"]


def _at(module: str, function: str) -> Callable[..., Task]:
    """The function that builds a task, imported when it is called; options it does not know are refused."""

    def build(**options: Any) -> Task:
        loader: Callable[..., Task] = getattr(import_module(f"manyminds.tasks.{module}"), function)
        known = inspect.signature(loader).parameters
        for option in options:
            if option not in known:
                raise UserError(f"task.{option}: {function} has no such key; {did_you_mean(option, known)}")
        return loader(**options)

    return build


TASKS: dict[str, Callable[..., Task]] = {
    "arithmetic": _at("arithmetic", "arithmetic"),
    "jsonl": _at("jsonl", "jsonl"),
    "reasoning_gym": _at("reasoning_gym", "reasoning_gym"),
}


def load_task(name: str, **options: Any) -> Task:
    """The task of this name; UserError for an unknown name or option."""
    if name not in TASKS:
        raise UserError(f"task.name: there is no task {name!r}; {did_you_mean(name, TASKS)}")
    return TASKS[name](**options)
