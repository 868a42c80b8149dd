"""Asks rewards: functions that nobody vouches for in worker processes, all others in this one."""

from __future__ import annotations

import hashlib
import importlib
import math
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

import cloudpickle

from manyminds.errors import UserError
from manyminds.rewards.kinds import Function, Portable, parameters
from manyminds.rewards.reward import Reward
from manyminds.rewards.sample import Outcome, Sample, failed
from manyminds.sections import JudgeConfig
from manyminds.workers import GIB, Done, Workers

KNOWN = 2**16
"""Outcomes that are remembered, so that equal arguments are asked about once."""
EXTRAS = 64
"""An outcome with more numbers besides is not remembered: that many could fill the memory."""

Extract = Callable[[str], str | None]


class Asker:
    """`ask(reward, samples)` gives an outcome for each sample, whatever the reward's function does.

    Functions of one answer are called once for each set of equal arguments: what they gave is remembered. A function
    of a batch that fails is called again for each sample alone. Once more than `patience` calls of one answer have
    failed the others are not waited for. Worker processes are started when they are first needed. Raises UserError,
    naming the recipe's `key`, for a function that cannot be sent to another process.
    """

    def __init__(self, rewards: Sequence[Reward], extract: Extract, config: JudgeConfig, key: str) -> None:
        apart = {reward.name: run for reward in rewards if (run := reward.apart)}
        self._places = {name: place for place, name in enumerate(apart)}
        self._workers = Workers(
            [_packed(name, run, extract, key) for name, run in apart.items()],
            count=config.workers,
            deadline=config.deadline,
            memory=int(config.memory_gib * GIB),
        )
        self._known: OrderedDict[bytes, Done] = OrderedDict()

    def __call__(self, reward: Reward, samples: Sequence[Sample], patience: float = math.inf) -> tuple[Outcome, ...]:
        run, which = reward.apart, self._places.get(reward.name)
        if run is None or which is None or not samples:
            return reward(samples)
        if run.alone:
            return self._each(which, run, samples, patience)
        (together,) = self._asked(which, run, [samples], patience)
        again = together.failure and len(samples) > 1
        return self._each(which, run, samples, patience) if again else _outcomes(together, len(samples))

    def close(self) -> None:
        """End the worker processes; the next call starts others."""
        self._workers.close()

    def _each(self, which: int, run: Portable, samples: Sequence[Sample], patience: float) -> tuple[Outcome, ...]:
        done = self._asked(which, run, [[sample] for sample in samples], patience)
        return tuple(outcome for one in done for outcome in _outcomes(one, 1))

    def _asked(self, which: int, run: Portable, batches: Sequence[Sequence[Sample]], patience: float) -> list[Done]:
        """For each batch what became of one call: its value are the outcomes."""
        found: dict[bytes, Done] = {}
        calls: dict[bytes, tuple[bytes]] = {}
        keys: list[bytes] = []
        for place, batch in enumerate(batches):
            try:
                packed = cloudpickle.dumps((_without_extract(run.given(batch), batch[0].extract), len(batch)))
            except Exception as error:  # a column that is not there; whatever a value's own pickling raises
                keys.append(b"%d" % place)
                found[keys[-1]] = Done(failure=failed(error).failure)
                continue
            key = hashlib.sha256(b"%d:" % which + packed).digest()
            keys.append(key)
            if key in self._known:
                self._known.move_to_end(key)
                found[key] = self._known[key]
            else:
                calls[key] = (packed,)
        room = max(map(len, batches))
        found |= zip(calls, self._workers(which, [*calls.values()], room=room, patience=patience), strict=True)
        if run.alone:
            self._remember({key: found[key] for key in calls})
        return [found[key] for key in keys]

    def _remember(self, found: Mapping[bytes, Done]) -> None:
        """Failures are not remembered: what was late once may be in time when the machine is less busy."""
        for key, done in found.items():
            if not any(outcome.failure or len(outcome.extras) > EXTRAS for outcome in _outcomes(done, 1)):
                self._known[key] = done
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)


def _outcomes(done: Done, count: int) -> tuple[Outcome, ...]:
    """What a call says of each of its samples."""
    return (Outcome(failure=done.failure, killed=done.killed),) * count if done.failure else tuple(done.value)


@dataclass(frozen=True)
class Remote:
    """What a worker is given once: a reward's function, and the task's `extract` if the function asks for it."""

    run: Portable
    extract: Extract | None

    def __call__(self, packed: bytes) -> list[Outcome]:
        """In a worker: what the function says of packed arguments."""
        given, count = pickle.loads(packed)
        its = {name: self.extract if isinstance(value, Extracting) else value for name, value in given.items()}
        return self.run.outcomes(its, count)


class Extracting:
    """Among arguments stands for the task's `extract`, which the workers have already."""


def _without_extract(given: Mapping[str, Any], extract: Extract) -> dict[str, Any]:
    return {name: Extracting() if value is extract else value for name, value in given.items()}


def _packed(name: str, run: Portable, extract: Extract, key: str) -> Remote:
    """What is sent to the workers. Raises UserError if it cannot be."""
    wanted = extract if "extract" in parameters(run.function) else None
    remote = Remote(replace(run, function=_by_name(run.function)), wanted)
    try:
        cloudpickle.dumps(remote)
    except Exception as error:
        raise UserError(
            f"{key}: the reward {name!r} cannot be sent to a worker process ({type(error).__name__}: {error}); let its "
            "function make what it needs itself, or vouch for it with @reward(trusted=True), to run it in this process."
        ) from error
    return remote


def _by_name(function: Function) -> Any:
    """The function, such that it is sent as its name if a module has it there under a decorator.

    `cloudpickle` would send its code and all that it refers to, some of which may be bound to this process.
    """
    if isinstance(function, partial):
        return partial(_by_name(function.func), *function.args, **function.keywords)
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__":
        return function
    try:
        found = attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return function
    return _Named(module, name) if isinstance(found, Reward) and found.function is function else function


@dataclass(frozen=True)
class _Named:
    """Sent to another process it arrives as the function that the module's reward of this name was made from."""

    module: str
    name: str

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return _function_of, (self.module, self.name)

    def __call__(self) -> None:
        """Not called here; `partial` wants what can be called."""


def _function_of(module: str, name: str) -> Function:
    found: Reward = attrgetter(name)(importlib.import_module(module))
    return found.function
