"""What verifiers of one word judged in training, one judgment a line: what another verifier can be taught from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyminds.durable import append_jsonl
from manyminds.records import Rollout
from manyminds.rewards.verdict import Verdict

FILE = "judgments.jsonl"


class Judgments:
    """Writes the judgments of training steps to `judgments.jsonl` in a run's folder; without a folder nothing.

    A line holds the step, the reward's name and the judge's, the question, the reference answer, the line of the
    response that was judged, the label (null for a word that is none) and its probability, the reward's value, and
    whose answer it was. A run that goes on cuts lines of steps that it takes again.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / FILE if folder else None

    def add(self, rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], step: int) -> None:
        """Write what was judged, in one piece. Raises UserError if the disk refuses."""
        rows = [
            row
            for rollout, verdict in zip(rollouts, verdicts, strict=True)
            for row in _rows(rollout, verdict, step)
            if self.path
        ]
        if rows and self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_jsonl(self.path, *rows)


def _rows(rollout: Rollout, verdict: Verdict, step: int) -> list[dict[str, Any]]:
    """The judgments of one answer as plain values."""
    question = rollout.prompt.question
    turns = [{"role": role, "content": _text(said)} for role, said in question.messages]
    return [
        {
            "step": step,
            "reward": reward,
            "judge": judgment.judge,
            "question_id": question.id,
            "question": turns or _text(question.text),
            "reference": _text(question.answer),
            "last_line": _text(judgment.line),
            "label": judgment.label,
            "probability": judgment.probability,
            "value": verdict.parts[reward],
            "expert": rollout.prompt.expert,
        }
        for reward, judgment in verdict.judgments.items()
    ]


def _text(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode(errors="backslashreplace").decode()
