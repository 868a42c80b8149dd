"""Where the time of a run went, from the `profile/…` metrics of its steps: means over the steps that have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyminds.profiling import PARTS, SAMPLING, UPDATE
from manyminds.report.runs import Arm, Step

GROUPS = (
    ("sampling", SAMPLING, "sampled_tokens", "profile/decode_limit_share"),
    ("update", UPDATE, "trained_tokens", "profile/update_limit_share"),
)
"""The two halves of a step whose speed is told: their parts, what they handle, and how near to the limit they are."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: mean seconds a step and their share of it; for a half its speed and share of the limit.

    `inner` marks a part of the half above it.
    """

    name: str
    seconds: float
    share: float
    tokens_per_s: float | None = None
    limit: float | None = None
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one arm went: mean seconds by part over `steps` steps, and the table's lines."""

    label: str
    steps: int
    seconds: dict[str, float]
    lines: tuple[Line, ...]

    @property
    def total(self) -> float:
        """Mean seconds of a step."""
        return sum(self.seconds.values())


def timing(arm: Arm) -> Timing | None:
    """None if no step of the arm was profiled."""
    steps = [step for step in arm.steps if f"profile/{PARTS[0]}_s" in step.values]
    if not steps:
        return None
    seconds = {part: sum(_took(step, part) for step in steps) / len(steps) for part in PARTS}
    return Timing(arm.label, len(steps), seconds, tuple(_lines(steps, seconds)))


def _lines(steps: Sequence[Step], seconds: dict[str, float]) -> list[Line]:
    """Sampling with its parts, the update with its own, the rest, and the whole step."""
    total = sum(seconds.values()) or 1.0
    lines = []
    for name, parts, counted, limit in GROUPS:
        took = sum(seconds[part] for part in parts)
        tokens = sum(step.values.get(counted, 0.0) for step in steps) / len(steps)
        speed = tokens / took if took else None
        lines.append(Line(name, took, took / total, speed, _over_time(steps, parts, limit)))
        lines += [Line(part, seconds[part], seconds[part] / total, inner=True) for part in parts]
    rest = [part for part in PARTS if part not in (*SAMPLING, *UPDATE)]
    lines += [Line(part, seconds[part], seconds[part] / total) for part in rest]
    return [*lines, Line("step", sum(seconds.values()), 1.0)]


def _over_time(steps: Sequence[Step], parts: Sequence[str], share: str) -> float | None:
    """The least time as a share of the time taken, over all steps that say so."""
    told = [(step.values[share], sum(_took(step, part) for part in parts)) for step in steps if share in step.values]
    took = sum(seconds for _, seconds in told)
    return sum(value * seconds for value, seconds in told) / took if took else None


def _took(step: Step, part: str) -> float:
    return step.values.get(f"profile/{part}_s", 0.0)
