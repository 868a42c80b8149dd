"""Tasks by name. The table is explicit; a task's module is imported when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, get_type_hints

from manyminds.errors import UserError
from manyminds.records import Expert
from manyminds.tasks.rows import shortened
from manyminds.tasks.task import SPLITS, Task, did_you_mean

__all__ = ["SPLITS", "TASKS", "Task", "load_task"]


def _at(module: str, function: str) -> Callable[..., Task]:
    """The function that builds a task, imported when it is called; options it does not know are refused.

    The recipe's `experts` and `rewards` go to tasks that file worked answers by expert, and judge them.
    """

    def build(its: Mapping[str, Any], /, **options: Any) -> Task:
        loader: Callable[..., Task] = getattr(import_module(f"manyminds.tasks.{module}"), function)
        known = inspect.signature(loader).parameters
        for option in options:
            if option not in known:
                raise UserError(f"task.{option}: {function} has no such key; {did_you_mean(option, known)}")
        _check_kinds(loader, options)
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in options:
                raise UserError(f"task.{name} is missing; {function} needs it")
        options |= {key: value for key, value in its.items() if value is not None and key in known}
        return loader(**options)

    return build


def _check_kinds(loader: Callable[..., Task], options: Mapping[str, Any]) -> None:
    """Raises UserError for an option that is of another kind than the loader's signature says."""
    from pydantic import TypeAdapter, ValidationError

    kinds = get_type_hints(loader)
    for option, value in options.items():
        try:
            TypeAdapter(kinds[option]).validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            inner = [str(part) for part in first["loc"] if isinstance(value, Mapping) and part in value]
            key = ".".join(["task", option, *inner])
            raise UserError(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {shortened(value)}") from error


TASKS: dict[str, Callable[..., Task]] = {
    "arithmetic": _at("arithmetic", "arithmetic"),
    "gsm8k": _at("gsm8k", "gsm8k"),
    "jsonl": _at("jsonl", "jsonl"),
    "mathqa": _at("mathqa", "mathqa"),
    "multiarith": _at("multiarith", "multiarith"),
    "reasoning_gym": _at("reasoning_gym", "reasoning_gym"),
    "strategyqa": _at("strategyqa", "strategyqa"),
    "svamp": _at("svamp", "svamp"),
}


def load_task(
    name: str, experts: Sequence[Expert] | None = None, recipe_rewards: Sequence[Any] | None = None, /, **options: Any
) -> Task:
    """The task of this name, for a recipe's experts and rewards if it names some; UserError for an unknown name or
    option."""
    if name not in TASKS:
        raise UserError(f"task.name: there is no task {name!r}; {did_you_mean(name, TASKS)}")
    return TASKS[name]({"experts": experts, "rewards": recipe_rewards}, **options)
