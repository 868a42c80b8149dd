"""SIGINT (Ctrl-C) and SIGTERM (a scheduler that takes the machine away) let a run finish its step and save."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from manyminds.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is open, the first of these signals is only noted, in `asked`; a second one does what it did before.

    Only the main thread can do this; in another one signals go on doing what they did.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._note) for one in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            self._restore()
            signal.raise_signal(number)
            return
        self.asked = signal.Signals(number)
        # Written at once and by no stream that the interrupted code may be in the middle of using.
        os.write(
            2, f"\n{self.asked.name}: the step under way is finished and saved; once more stops at once\n".encode()
        )

    def _restore(self) -> None:
        for one, before in self._before.items():
            signal.signal(one, before)
        self._before = {}

    def check(self, step: int, note: Callable[[str], None]) -> None:
        """If a signal came, notes it and raises Interrupted; `step` is the last that is finished and saved."""
        if self.asked is not None:
            note(f"{self.asked.name}: the run stops after this step, which is saved")
            raise Interrupted(self.asked, step)
