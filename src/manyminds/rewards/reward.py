"""Reward functions: `@reward` on a plain function of one answer; its arguments are given to it by their names.

>>> @reward(weight=0.1)
... def states_units(question: Question, response: str) -> float:
...     return float(question.answer.split()[-1] in response)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

from manyminds import named
from manyminds.errors import UserError

ARGUMENTS = ("question", "response", "answer", "rollout", "extract")
"""What a reward may ask for: the Question, the text of the response, the gold answer, the Rollout, and the task's
function that reads the final answer out of a text."""

REWARDS = {"exact_answer": "manyminds.rewards.exact_answer:exact_answer"}
"""The built-in rewards, by the name a recipe gives them."""

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Reward:
    """A named function of one answer, and its weight in the sum.

    It returns a number (a bool is one), None where it does not apply, or a number and a dict of numbers to log.
    """

    name: str
    function: Function
    weight: float = 1.0
    arguments: tuple[str, ...] = ()

    def __call__(self, given: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
        """The value (None: not applicable) and its extras. Raises ValueError or TypeError for other results."""
        result = self.function(**{name: given[name] for name in self.arguments})
        extras: Any = {}
        if isinstance(result, tuple):
            if len(result) != 2 or not isinstance(result[1], Mapping):
                raise TypeError("a reward returns a number, None, or a number and a dict")
            result, extras = result
        value = None if result is None else _number("the result", result)
        return value, {str(key): _number(str(key), extra) for key, extra in extras.items()}


@overload
def reward(function: Function, /) -> Reward: ...


@overload
def reward(function: None = None, /, *, weight: float = 1.0) -> Callable[[Function], Reward]: ...


def reward(function: Function | None = None, /, *, weight: float = 1.0) -> Reward | Callable[[Function], Reward]:
    """Makes a function a reward, as `@reward` or `@reward(weight=0.1)`."""
    if function is not None:
        return _reward(function, weight)
    return lambda decorated: _reward(decorated, weight)


def _reward(function: Function, weight: float) -> Reward:
    """The reward of this name; UserError if the function asks for what no reward is given."""
    name = getattr(function, "__name__", type(function).__name__)
    place = f"reward {name!r}{_line_of(function)}"
    if not math.isfinite(weight):
        raise UserError(f"{place}: its weight is {weight}; it must be a finite number.")
    if inspect.iscoroutinefunction(function):
        raise UserError(f"{place}: it is an `async def`; a reward is a plain function.")
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UserError(f"{place}: its argument {parameter.name!r} takes any name; name those it needs.")
        if parameter.name not in ARGUMENTS:
            raise UserError(
                f"{place}: it asks for {parameter.name!r}, which rewards are not given; they may ask for "
                f"{', '.join(ARGUMENTS)}."
            )
    return Reward(name, function, float(weight), tuple(parameter.name for parameter in parameters))


def _line_of(function: Function) -> str:
    """` (file:line)`, where it is known."""
    code = getattr(function, "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""


def _number(what: str, value: Any) -> float:
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{what} is {type(value).__name__} {str(value)[:60]!r}, not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}, not a finite number")
    return number


def resolve(name: str | Reward) -> Reward:
    """The reward of a built-in name, or of a user's own `module:function`; a plain function counts with weight 1.

    Modules are looked for as Python does, and in the working folder.
    """
    if isinstance(name, Reward):
        return name
    target = REWARDS.get(name, name)
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise UserError(
            f"task.rewards: there is no reward {name!r}; it must be one of {', '.join(REWARDS)}, or `module:function`."
        )
    found = named.find(target, "task.rewards")
    if isinstance(found, Reward):
        return found
    if not callable(found):
        raise UserError(f"task.rewards: {name!r} is {type(found).__name__}, not a function.")
    return _reward(found, 1.0)
