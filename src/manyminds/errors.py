"""What a command ends with besides success: a user's mistake, or a signal that asked it to stop."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Any

ENDLESS = re.compile(r"\S{600,}")
"""No name and no path of a user's is so long; a file that is read as something else may hold such words."""


class UserError(Exception):
    """Bad input, told in one sentence: what is wrong, where (file, line, key), and what would be right.

    The command line prints the sentence without a traceback and exits with code 2. From Python it is an
    ordinary exception whose text is that sentence. What it quotes is cut where it would fill the screen.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(ENDLESS.sub(lambda word: f"{word[0][:200]}…{word[0][-3:]}", sentence))


class NotFinite(UserError):
    """A loss, a gradient or a log-prob is not finite, and no weight was changed by it. `rows`: the answers with such
    log-probs, those of the micro-batch with such a loss, or those whose own gradient it is."""

    def __init__(self, what: str, rows: Sequence[Any] = ()) -> None:
        super().__init__(f"{what}, so no update was made; lower `optimizer.lr`, or look for an extreme reward")
        self.what, self.rows = what, tuple(rows)


class Interrupted(Exception):
    """A run was asked to stop by a signal, finished its step and saved. The command line exits with 128 + the signal's
    number, as shells do: 130 after Ctrl-C, 143 after SIGTERM."""

    def __init__(self, by: signal.Signals, step: int) -> None:
        super().__init__(f"stopped by {by.name} after step {step}, which is saved")
        self.by, self.step = by, step

    @property
    def code(self) -> int:
        return 128 + self.by
