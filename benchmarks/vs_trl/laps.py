"""What is measured of a process: the seconds of its steps, by wall and by processor, their phases, its peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any


class Laps:
    """A lap per step; `phases` are the wall seconds of the running one by name. Between laps, which have numbers from 1
    on, `wait(number of the last one)` may pause the process: that time is no lap's."""

    def __init__(self, wait: Callable[[int], None] = lambda done: None) -> None:
        self.all: list[dict[str, Any]] = []
        self.wait = wait
        self.start()

    def start(self) -> None:
        """The running lap begins now."""
        self.phases: dict[str, float] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def end(self, **more: Any) -> None:
        """The running lap ends and the next begins; `more` is kept with it."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        rest = {"rest": wall - sum(self.phases.values())}
        self.all.append({"seconds": wall, "cpu_seconds": cpu, "phases": self.phases | rest, **more})
        self.wait(len(self.all))
        self.start()

    def watch(self, owner: Any, method: str, phase: str) -> None:
        """From now on the time in `owner.method` counts as `phase`. Phases must not nest."""
        function = getattr(owner, method)

        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(phase, time.perf_counter() - began)

        setattr(owner, method, run)

    def add(self, phase: str, seconds: float) -> None:
        """So many more seconds of the running lap were `phase`."""
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds


def peak_mebibytes() -> float:
    """The most memory that this process has held (peak resident set; Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
