"""From an entry of a recipe to a reward: built-in names, a user's own `module:function`, functions that make one."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manyminds import named
from manyminds.errors import UserError
from manyminds.rewards.kinds import VERL_GIVES, Verl, parameters, required
from manyminds.rewards.reward import Reward, make
from manyminds.rewards.sample import ARGUMENTS, PLURALS
from manyminds.rewards.trl import TRL_GIVES, Trl
from manyminds.sections import Misplaced, RewardConfig

REWARDS = {
    "exact_answer": "manyminds.rewards.exact_answer:exact_answer",
    "number_answer": "manyminds.rewards.number_answer:number_answer",
    "math_answer": "manyminds.rewards.math_answer:math_answer",
    "choice_answer": "manyminds.rewards.choice_answer:choice_answer",
    "yes_no_answer": "manyminds.rewards.yes_no_answer:yes_no_answer",
    "llm_judge": "manyminds.rewards.llm_judge:llm_judge",
    "generative_verifier": "manyminds.rewards.generative_verifier:generative_verifier",
    "contains": "manyminds.rewards.last_line:contains",
    "jaccard": "manyminds.rewards.last_line:jaccard",
}
"""The built-in rewards, by the name a recipe gives them."""

GIVEN = {*ARGUMENTS, *PLURALS, *TRL_GIVES, *VERL_GIVES, "samples"}
"""What reward functions of any kind are given, so that a recipe does not."""

Entry = str | Reward | RewardConfig


def resolve(entry: Entry, key: str = "task.rewards", folder: Path | None = None) -> Reward:
    """The reward of a built-in name, of a user's own `module:function`, or of an entry of a recipe's `rewards`.

    Modules are looked for as Python does, and in the working folder. `folder` is where a reward may keep what it needs
    for a run to go on. Raises UserError, naming the recipe's `key`.
    """
    if isinstance(entry, Reward):
        return entry
    config = RewardConfig.model_validate(entry) if isinstance(entry, str) else entry
    try:
        return build(config, folder)
    except Misplaced as error:
        below = "" if error.path == ("name",) else "".join(f".{part}" for part in error.path)
        raise UserError(f"{key}{below}: {error}") from error


def resolve_all(entries: Sequence[Entry], key: str = "task.rewards", folder: Path | None = None) -> tuple[Reward, ...]:
    """The rewards of a recipe, in order. Raises UserError for what is wrong with one, or between them."""
    rewards = tuple(resolve(entry, key, folder) for entry in entries)
    try:
        agree(rewards)
    except Misplaced as error:
        raise UserError(f"{key}: {error}") from error
    return rewards


def agree(rewards: Sequence[Reward]) -> None:
    """Raises Misplaced, its path beginning with the place in the list, if the rewards do not go together."""
    names = [reward.name for reward in rewards]
    if not names:
        raise Misplaced((), "there is no reward; name at least one, such as exact_answer.")
    for place, reward in enumerate(rewards):
        if reward.name in names[:place]:
            raise Misplaced(
                (str(place), "name"),
                f"two rewards have one name ({', '.join(names)}); each needs its own, which `as` gives it.",
            )
        if reward.gate and reward.gate not in names[:place]:
            before = f"before it stand {', '.join(names[:place])}" if place else "the first one cannot have a gate"
            raise Misplaced(
                (str(place), "gate"), f"{reward.gate!r} must name a reward that stands before this one; {before}."
            )


def build(config: RewardConfig, folder: Path | None = None) -> Reward:
    """The reward of an entry. Raises Misplaced, which says below which key of the entry the mistake is."""
    found, options = _found(config.name), dict(config.model_extra or {})
    if not isinstance(found, Reward) and _makes_rewards(found, options):
        found, options = _made(found, options, config.name, folder), {}
    if isinstance(found, Reward):
        if config.kind is not None:
            raise Misplaced(("from",), f"{config.name!r} is a reward already; leave `from` out.")
    else:
        own = {name: its for name, its in options.items() if name in parameters(found) and name not in GIVEN}
        function = partial(found, **own) if own else found
        found = _told(lambda: make(function, kind=config.kind))
        options = {name: its for name, its in options.items() if name not in own}
    if options:
        _check(options, found.function, config.name)
        found = replace(found, run=replace(found.run, function=partial(found.function, **options)))
    return _placed(found, config)


def _placed(found: Reward, config: RewardConfig) -> Reward:
    """The reward under the name and with the weight, gate, columns that the entry gives it."""
    if config.columns:
        if not isinstance(found.run, Trl | Verl):
            raise Misplaced(("columns",), f"{found.name!r} takes no columns; TRL's and verl's functions do.")
        found = replace(found, run=replace(found.run, columns=config.columns))
    if config.messages is not None:
        if not isinstance(found.run, Trl):
            raise Misplaced(("messages",), f"{found.name!r} takes no completions; TRL's functions do.")
        found = replace(found, run=replace(found.run, messages=config.messages))
    return replace(
        found,
        name=config.called or found.name,
        weight=found.weight if config.weight is None else config.weight,
        gate=config.gate or found.gate,
        normalise=config.normalise,
    )


def _found(name: str) -> Any:
    target = REWARDS.get(name, name)
    module, colon, attribute = target.partition(":")
    if not colon or not module or not attribute:
        raise Misplaced(
            ("name",), f"there is no reward {name!r}; it must be one of {', '.join(REWARDS)}, or `module:function`."
        )
    found = _told(partial(named.find, target, ""))
    if not isinstance(found, Reward) and not callable(found):
        raise Misplaced(("name",), f"{name!r} is {type(found).__name__}, not a function.")
    return found


def _makes_rewards(function: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    """Whether it is not a reward function but gives one when it is called: it is a class, it says that it returns one,
    or it names nothing that a reward is given and the options are all that it needs."""
    if inspect.isclass(function):
        return True
    try:
        returned = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):  # annotations that only a type checker can read, or none
        returned = None
    if returned in (Reward, Callable) or typing.get_origin(returned) is Callable:
        return True
    names = parameters(function)
    return bool(names) and not GIVEN & {*names} and not _lacking(function, options)


def _made(function: Callable[..., Any], options: Mapping[str, Any], name: str, folder: Path | None) -> Any:
    """What a function that makes rewards makes of the options; it is given the run's folder if it asks for it."""
    _check(options, function, name)
    if lacking := _lacking(function, options):
        raise Misplaced(("name",), f"{name!r} needs the option {lacking[0]!r}.")
    where = {"folder": folder} if "folder" in parameters(function) else {}
    made = _told(partial(function, **options, **where), options)
    if not callable(made):
        raise Misplaced(("name",), f"{name!r} made {type(made).__name__}, not a function.")
    return made


def _lacking(function: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    return [n for n in parameters(function) if required(function, n) and n not in options and n != "folder"]


def _check(options: Mapping[str, Any], function: Callable[..., Any], name: str) -> None:
    """Raises Misplaced for an option that the function does not have."""
    maker = _makes_rewards(function, options)
    own = [n for n in parameters(function) if n != "folder" and (maker or n not in GIVEN)]
    for option in options:
        if option not in own:
            every = [*(field.alias or key for key, field in RewardConfig.model_fields.items()), *own]
            close = get_close_matches(option, every, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its own are {', '.join(own) or 'none'}."
            raise Misplaced((option,), f"{name!r} has no such option; {hint}")


def _told(call: Callable[[], Any], options: Collection[str] = ()) -> Any:
    """The call's result; what it tells the user of becomes a mistake at the option that it begins with, or the name."""
    try:
        return call()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Misplaced(tuple(map(str, first["loc"])), f"{first['msg']}, not {first['input']!r}.") from error
    except UserError as error:
        option, _, rest = str(error).partition(": ")
        raise Misplaced(
            *(((option,), rest) if option in options else (("name",), str(error).removeprefix(": ")))
        ) from error
    except (TypeError, ValueError) as error:
        raise Misplaced(("name",), f"it cannot be made: {type(error).__name__}: {error}") from error
