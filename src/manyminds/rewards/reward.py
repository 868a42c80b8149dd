"""What a reward is, and the decorators that make one: `@reward` of one answer, `@model_reward` of a batch.

>>> @reward(weight=0.1)
... def states_units(question: Question, response: str) -> float:
...     return float(question.answer.split()[-1] in response)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, overload

from manyminds.errors import UserError
from manyminds.rewards.kinds import VERL_GIVES, Batch, EachSample, Function, Portable, Verl, parameters
from manyminds.rewards.sample import ARGUMENTS, PLURALS, Outcome, Sample
from manyminds.rewards.trl import Trl
from manyminds.rewards.waiting import is_async

Run = Callable[[Sequence[Sample]], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Reward:
    """A named judgement of answers and its place in the sum.

    `run` gives each of a batch of samples an outcome. `gate` names a reward before this one: where that gave nothing
    above 0 (above one half, if it is graded), this one is not asked and counts as 0. `normalise` "group": it enters the
    sum standardised within the answers of one expert to one question; "batch": over all that are judged together.
    `paid`: it asks a model, so it is asked no more than needed. `note`: what the user should know before it is asked, a
    clause that goes on after its name. `trusted`: a judge may run it in its own process, because it ends soon whatever
    the answer is. `graded`: its value is how sure it is, so that any above one half says right.
    """

    name: str
    run: Run
    weight: float = 1.0
    gate: str = ""
    normalise: Literal["none", "group", "batch"] = "none"
    paid: bool = False
    note: str = ""
    trusted: bool = False
    graded: bool = False

    def __call__(self, samples: Sequence[Sample]) -> tuple[Outcome, ...]:
        """An outcome for each sample, in their order; in this process, whatever the function may do to it."""
        return tuple(self.run(samples)) if samples else ()

    @property
    def apart(self) -> Portable | None:
        """How it is run in a process of its own; None for what runs in this one: trusted, a model, or a coroutine."""
        return self.run if isinstance(self.run, Portable) and self.run.portable and not self.trusted else None

    @property
    def opens_above(self) -> float:
        """What it must exceed, as the gate of another reward, for that one to be asked."""
        return 0.5 if self.graded else 0.0

    @property
    def function(self) -> Function:
        """The function that it was made from."""
        found: Function = getattr(self.run, "function", self.run)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to tell before it is asked, a sentence each: `the reward 'llm_judge' keeps …`."""
        return tuple(f"the reward {self.name!r} {clause}" for clause in [self.note] if clause)

    def gives(self, value: float | None, due: float) -> bool:
        """Whether a value is what is due, 1 or 0; None is none."""
        its = value or 0.0
        return (its > 0.5) == (due > 0.5) if self.graded else its == due

    def describe(self) -> str:
        """Its place in the sum, in words: `weight 0.1, behind exact_answer, standardised within its group`."""
        words = [f"weight {self.weight:g}"]
        words += [f"behind {self.gate}"] if self.gate else []
        over = {"group": "within its group", "batch": "over the step"}
        words += [f"standardised {over[self.normalise]}"] if self.normalise in over else []
        return ", ".join(words)


@overload
def reward(function: Function, /) -> Reward: ...


@overload
def reward(
    function: None = None,
    /,
    *,
    weight: float = 1.0,
    concurrency: int = 16,
    deadline: float | None = None,
    trusted: bool = False,
) -> Callable[[Function], Reward]: ...


def reward(
    function: Function | None = None,
    /,
    *,
    weight: float = 1.0,
    concurrency: int = 16,
    deadline: float | None = None,
    trusted: bool = False,
) -> Reward | Callable[[Function], Reward]:
    """Makes a function a reward, as `@reward` or `@reward(weight=0.1)`; TRL's and verl's are known by their arguments.

    An `async def` of one answer is run on up to `concurrency` answers at once, each for at most `deadline` seconds. A
    plain function runs in worker processes, or in the judge's own if it is `trusted`.
    Raises UserError if the function asks for what rewards are not given.
    """

    def made(function: Function) -> Reward:
        found = replace(make(function, weight), trusted=trusted)
        _may_have(deadline, function)
        if isinstance(found.run, EachSample):
            return replace(found, run=replace(found.run, concurrency=concurrency, deadline=deadline))
        return found

    return made if function is None else made(function)


@overload
def model_reward(function: Function, /) -> Reward: ...


@overload
def model_reward(
    function: None = None, /, *, weight: float = 1.0, deadline: float | None = None
) -> Callable[[Function], Reward]: ...


def model_reward(
    function: Function | None = None, /, *, weight: float = 1.0, deadline: float | None = None
) -> Reward | Callable[[Function], Reward]:
    """Makes a function of lists a reward: a model in this process, or one behind an endpoint.

    It is given what it names of `samples`, `questions`, `responses`, `answers` and so on, lists with an entry for each
    sample, and returns a list as long: a number, None, or either with a dict of numbers to log. What it raises, and
    what an `async def` has not returned after `deadline` seconds, is None for the batch. Raises UserError as `reward`.
    """

    def made(function: Function) -> Reward:
        place = place_of(function)
        _may_have(deadline, function)
        run = Batch(function, _asked(function, place, (*PLURALS, "samples", "extract")), deadline)
        return Reward(name_of(function), run, _finite(weight, place), paid=True)

    return made if function is None else made(function)


def make(function: Function, weight: float = 1.0, kind: str | None = None) -> Reward:
    """The reward of a function, of the kind that its arguments show: TRL's ("trl"), verl's ("verl"), or of one answer.

    Raises UserError if it asks for what such a function is not given.
    """
    names, place = set(parameters(function)), place_of(function)
    run: Run
    if kind == "trl" or (kind is None and names & {"prompts", "completions", "completion_ids"}):
        run = Trl(function)
    elif kind == "verl" or (kind is None and "solution_str" in names):
        run = Verl(function, _asked(function, place, VERL_GIVES, rest=True))
    else:
        run = EachSample(function, _asked(function, place, tuple(ARGUMENTS)))
    return Reward(name_of(function), run, _finite(weight, place))


def name_of(function: Function) -> str:
    """What a function or callable object is called."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def place_of(function: Function) -> str:
    """`reward 'name' (file:line)`, the place where it is known."""
    code = getattr(function.func if isinstance(function, partial) else function, "__code__", None)
    return f"reward {name_of(function)!r}{f' ({code.co_filename}:{code.co_firstlineno})' if code else ''}"


def _asked(function: Function, place: str, given: Sequence[str], rest: bool = False) -> tuple[str, ...]:
    """Those of the `given` arguments that the function names. What it names besides must have a default.

    Raises UserError otherwise, and for * or **; `rest` allows these.
    """
    asked = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            if rest and parameter.kind is parameter.VAR_KEYWORD:
                continue
            raise UserError(f"{place}: its argument {parameter.name!r} takes any name; name those it needs.")
        if parameter.name in given and parameter.name not in getattr(function, "keywords", {}):
            asked.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise UserError(
                f"{place}: it asks for {parameter.name!r}, which rewards are not given; they may ask for "
                f"{', '.join(given)}."
            )
    return tuple(asked)


def _finite(weight: float, place: str) -> float:
    if not math.isfinite(weight):
        raise UserError(f"{place}: its weight is {weight}; it must be a finite number.")
    return float(weight)


def _may_have(deadline: float | None, function: Function) -> None:
    if deadline is None:
        return
    if not deadline > 0:
        raise UserError(f"{place_of(function)}: its deadline is {deadline}; it must be seconds above 0.")
    if not is_async(function):
        raise UserError(
            f"{place_of(function)}: it has a deadline, which an `async def` may have; that of a plain function is "
            "`judge.deadline` in the recipe."
        )
