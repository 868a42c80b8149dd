"""Where the seconds of a step go: wall time by part, counts and records, gathered by a clock while one runs.

    with clock.running(Clock()) as found:
        with clock.span("decode"):
            ...
    found.seconds["decode"]

Without a running clock all of it does nothing and costs next to nothing. Time inside an inner span is the inner one's
alone, so that the parts add up to the whole. A clock runs for the thread that started it; others do not see it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import Any

OTHER = "other"
"""What a clock calls the time outside all spans."""


class Clock:
    """`seconds` by part, `counts` by name, and what was kept by name, in the order in which it came."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, float] = {}
        self.kept: dict[str, list[Any]] = {}

    @property
    def total(self) -> float:
        """The wall seconds it ran, once it has ended."""
        return sum(self.seconds.values())


class _Span:
    """A span that is open, inside `outer`; `inner` are the seconds that spans inside it took."""

    __slots__ = ("clock", "inner", "name", "outer", "started", "token")

    def __init__(self, name: str, clock: Clock, outer: _Span | None) -> None:
        self.name, self.clock, self.outer, self.inner = name, clock, outer, 0.0

    def __enter__(self) -> None:
        self.token = _open.set(self)
        self.started = _now()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        seconds = _now() - self.started
        _open.reset(self.token)
        known = self.clock.seconds
        known[self.name] = known.get(self.name, 0.0) + seconds - self.inner
        if self.outer is not None:
            self.outer.inner += seconds


_open: ContextVar[_Span | None] = ContextVar("clock", default=None)
_NOTHING = nullcontext()


def span(name: str) -> AbstractContextManager[None]:
    """What runs inside takes its wall seconds under `name`, less those of spans inside it."""
    outer = _open.get()
    return _NOTHING if outer is None else _Span(name, outer.clock, outer)


def count(name: str, amount: float) -> None:
    """Add to a count of the running clock."""
    if (inside := _open.get()) is not None:
        counts = inside.clock.counts
        counts[name] = counts.get(name, 0.0) + amount


def keep(name: str, what: Any) -> None:
    """Leave something with the running clock, to be looked at when the time no longer counts."""
    if (inside := _open.get()) is not None:
        inside.clock.kept.setdefault(name, []).append(what)


@contextmanager
def running(clock: Clock) -> Iterator[Clock]:
    """The clock runs for what is inside; the time outside all spans is `OTHER`. It replaces one that ran already."""
    with _Span(OTHER, clock, None):
        yield clock


def _now() -> float:
    """Seconds; work that a GPU was given before is waited for, so that it counts where it was asked for."""
    torch = sys.modules.get("torch")  # nobody gave a GPU anything before torch was imported
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
