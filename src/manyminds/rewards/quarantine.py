"""Where failed samples are put aside for the user to look at, with what caused the failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyminds.durable import append_jsonl
from manyminds.records import Rollout
from manyminds.rewards.verdict import Verdict

QUARANTINE = 1000
"""Failed samples that are kept; all of them are counted."""
TEXT = 10_000
"""Characters of a response, a question or an error that are kept."""
FILE = "quarantine.jsonl"


class Quarantine:
    """The first `QUARANTINE` failed samples: in `rows`, and one a line in `quarantine.jsonl` of the folder, if any."""

    def __init__(self, folder: Path | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.path = folder / FILE if folder else None
        self._written: int | None = None

    def add(self, rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], step: int) -> None:
        """Put aside what failed, or was not answered by a model, in this training step. UserError if the disk is full.

        A run that goes on counts what its file holds.
        """
        rows = [
            _row(rollout, reward, error, step)
            for rollout, verdict in zip(rollouts, verdicts, strict=True)
            for reward, error in {**verdict.failures, **verdict.unanswered}.items()
        ]
        self.rows += rows[: max(0, QUARANTINE - len(self.rows))]
        if rows and self.path:
            if self._written is None:
                self._written = self.path.read_bytes().count(b"\n") if self.path.exists() else 0
            its = rows[: max(0, QUARANTINE - self._written)]
            if its:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                append_jsonl(self.path, *its)
            self._written += len(its)


def _row(rollout: Rollout, reward: str, error: str, step: int) -> dict[str, Any]:
    """A failed sample as plain values, so that it can be written as JSON."""
    question = rollout.prompt.question
    return {
        "step": step,
        "reward": reward,
        "error": _text(error),
        "question_id": question.id,
        "source": question.source,
        "question": _text(question.text),
        "answer": _text(question.answer),
        "expert": rollout.prompt.expert,
        "response": _text(rollout.text),
    }


def _text(text: str) -> str:
    """The text as UTF-8 can hold it, not all of it if it is long."""
    whole = text.encode(errors="backslashreplace").decode() if len(text) <= TEXT else ""
    return whole or (f"{_text(text[:TEXT])}… ({len(text):,} characters)" if text else "")
