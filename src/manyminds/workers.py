"""Calls of functions that nobody vouches for, in processes that can be killed: each call has a deadline, memory and
input are capped, and whatever a function does costs its own call and no other.

`pebble` runs the processes, kills those that are late and starts others in their place; `loky` starts them without
running the user's script again; `cloudpickle` hands over functions that are defined in a script or notebook.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
from loky import cpu_count

GIB = 2**30
NOT_WAITED_FOR = "it was not waited for, as too many before it failed"
DEADLINE = 10.0
MEMORY = 4 * GIB
INPUT = 2**20


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a call: its value, or why there is none. `killed`: it took its worker process with it."""

    value: Any = None
    failure: str = ""
    killed: bool = False


class Workers:
    """Processes that call some functions, on as many arguments at a time as there are processes.

    A call may take `deadline` seconds; a process may hold `memory` bytes of data beyond what it starts with; arguments
    and results have at most `input_limit` bytes as a pickle. Processes are started at the first call, and again after
    one was lost. Memory is capped on Linux only.
    """

    def __init__(
        self,
        functions: Sequence[Callable[..., Any]],
        *,
        count: int | None = None,
        deadline: float = DEADLINE,
        memory: int = MEMORY,
        input_limit: int = INPUT,
    ) -> None:
        self.count = count or min(8, cpu_count())
        self.deadline, self.memory, self.input_limit = deadline, memory, input_limit
        self._functions = tuple(cloudpickle.dumps(function) for function in functions)
        self._pool: Any = None

    def __call__(
        self, which: int, calls: Sequence[tuple[Any, ...]], *, room: int = 1, patience: float = math.inf
    ) -> list[Done]:
        """The function of this number on each of the arguments, in their order. Raises nothing that a function does.

        Each call may bring, and give back, `room` times the limit: one that stands for many. Once more than `patience`
        calls have failed the rest is `NOT_WAITED_FOR`.
        """
        if not calls:
            return []
        pool = self._started()
        waiting = [self._sent(pool, which, arguments, room * self.input_limit) for arguments in calls]
        done: list[Done] = []
        failures = 0
        for one in waiting:
            done.append(self._came(one) if failures <= patience else self._dropped(one))
            failures += bool(done[-1].failure)
        return done

    def close(self) -> None:
        """End the processes; the next call starts others."""
        if self._pool is not None:
            self._end()
            self._pool = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _started(self) -> Any:
        if self._pool is None or not self._pool.active:
            from loky.backend import get_context
            from pebble import ProcessPool

            self.close()
            self._pool = ProcessPool(
                max_workers=self.count,
                initializer=_begin,
                initargs=(self._functions, self.memory, os.getcwd()),
                context=get_context("loky"),
            )
            self._end = weakref.finalize(self, _end, self._pool)
        return self._pool

    def _sent(self, pool: Any, which: int, arguments: tuple[Any, ...], limit: int) -> Any:
        """The call under way, or what became of it at once."""
        try:
            packed = cloudpickle.dumps(arguments)
        except Exception as error:  # whatever an argument's own pickling raises
            return Done(failure=f"its input cannot be sent to a worker: {type(error).__name__}: {error}")
        if len(packed) > limit:
            return Done(failure=f"its input of {len(packed):,} bytes is over the limit of {limit:,}")
        return pool.schedule(_call, args=(which, packed, limit), timeout=self.deadline)

    def _dropped(self, one: Any) -> Done:
        """Nobody needs the call any more: it ends, with its process if it has begun."""
        if not isinstance(one, Done):
            one.cancel()
        return Done(failure=NOT_WAITED_FOR)

    def _came(self, one: Any) -> Done:
        from pebble import ProcessExpired

        if isinstance(one, Done):
            return one
        try:
            failure, packed = one.result()
        except TimeoutError:
            return Done(failure=f"it did not return within {self.deadline:g} s", killed=True)
        except ProcessExpired as error:
            return Done(failure=f"it ended its worker process (exit code {error.exitcode})", killed=True)
        return Done(failure=failure) if failure else Done(cloudpickle.loads(packed))


def _end(pool: Any) -> None:
    pool.stop()
    pool.join()


_functions: list[Callable[[], Callable[..., Any]]] = []
"""In a worker: what gives each function, or raises what its loading raised."""


def _begin(packed: Sequence[bytes], memory: int, folder: str) -> None:
    """In a worker, before its first call: load the functions, so that no deadline pays for their imports.

    Modules are looked for as `named.find` does, in the working `folder` last.
    """
    os.dup2(2, 1)  # standard output is for the result of a command; what a function prints goes beside it
    if folder not in sys.path:
        sys.path.append(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its workers itself
    _die_with_parent()
    os.register_at_fork(after_in_child=_die_with_parent)
    _functions[:] = [_loaded(one) for one in packed]
    if sys.platform == "linux":
        import resource

        held = _data_bytes() + memory
        resource.setrlimit(resource.RLIMIT_DATA, (held, held))


def _loaded(packed: bytes) -> Callable[[], Callable[..., Any]]:
    try:
        function = cloudpickle.loads(packed)
    except BaseException as error:
        why = f"{type(error).__name__}: {error}"

        def broken() -> Callable[..., Any]:
            raise RuntimeError(f"it cannot be loaded in a worker: {why}")

        return broken
    return lambda: function


def _die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, so that none is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process now."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))


def _call(which: int, packed: bytes, limit: int) -> tuple[str, bytes]:
    """In a worker: why there is no value, or the value as a pickle."""
    pid = os.getpid()
    try:
        result: Any = cloudpickle.dumps(_functions[which]()(*cloudpickle.loads(packed)))
    except BaseException as error:  # SystemExit and KeyboardInterrupt too cost this call only
        result = error
    if os.getpid() != pid:
        os._exit(0)  # a fork that came back must not answer in its parent's place
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {str(result)[:500]}", b""
    if len(result) > limit:
        return f"its result of {len(result):,} bytes is over the limit of {limit:,}", b""
    return "", result
