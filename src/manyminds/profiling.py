"""Where a step's seconds went, as `profile/…` metrics: seconds by part, tokens per second, and how near to the limit.

The limit is the least time that the arithmetic which the step needed takes at this machine's measured rates
(limits.py). What was drawn, scored and trained is left with the clock by the step: "drawn" holds the rollouts of each
draw, "scored" the spans of each scoring, "trained" the rows of each update. What was not left is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyminds.clock import OTHER, Clock
from manyminds.limits import (
    Limits,
    Shape,
    Work,
    decode_work,
    forward_work,
    linear_parameters,
    measure,
    roofline_seconds,
    update_work,
)
from manyminds.records import Ids

SAMPLING = ("prefill", "decode")
UPDATE = ("logprobs", "backward", "optimizer")
PARTS = (*SAMPLING, "checks", *UPDATE, "sync", OTHER)
"""The parts of a step, in the order in which they come; what is in no other part is in the last."""


@dataclass(frozen=True, slots=True)
class Profiler:
    """A model's shape and its machine's limits; `width` is the bytes of a number in the cache."""

    shape: Shape
    limits: Limits
    width: int = 4

    @classmethod
    def of(cls, model: Any, precision: str | None) -> Profiler:
        """Measures the machine, which takes about a second. Raises UserError for a model of unknown arithmetic."""
        shape = Shape.of(model.config, linear_parameters(model))
        mixed = precision == "mixed"
        limits = measure(model.device.type, "bfloat16" if mixed else "float32")
        return cls(shape, limits, 2 if mixed and model.device.type != "cpu" else 4)

    def metrics(self, parts: Clock, step: Mapping[str, float]) -> dict[str, float]:
        """The line of one step, from its clock and its other metrics; rates whose time is 0 are left out."""
        seconds = {part: parts.seconds.get(part, 0.0) for part in PARTS}
        seconds[OTHER] += parts.total - sum(seconds.values())
        sampling, update = (sum(seconds[part] for part in which) for which in (SAMPLING, UPDATE))
        found = {f"profile/{part}_s": value for part, value in seconds.items()}
        if sampling:
            found["profile/sampled_tokens_per_s"] = step.get("sampled_tokens", 0.0) / sampling
        if update:
            found["profile/trained_tokens_per_s"] = step.get("trained_tokens", 0.0) / update
        if sampling and "drawn" in parts.kept:
            found["profile/decode_limit_share"] = roofline_seconds(self.drawn(parts), self.limits) / sampling
        if update and "trained" in parts.kept:
            found["profile/update_limit_share"] = roofline_seconds(self.learnt(parts), self.limits) / update
        return found

    def drawn(self, parts: Clock) -> Work:
        """What drawing the step's answers needed."""
        draws = (grouped((r.prompt.ids, len(r.ids)) for r in draw) for draw in parts.kept["drawn"])
        return sum((decode_work(self.shape, *lengths, width=self.width) for lengths in draws), Work())

    def learnt(self, parts: Clock) -> Work:
        """What scoring and training the step's rows needed."""
        rows = (grouped((r.example.prompt_ids, len(r.example.ids)) for r in update) for update in parts.kept["trained"])
        spans = (grouped((s.prompt_ids, len(s.ids)) for s in its) for its in parts.kept.get("scored", ()))
        trained = sum((update_work(self.shape, *lengths) for lengths in rows), Work())
        return sum((forward_work(self.shape, *lengths) for lengths in spans), trained)

    def note(self, sampler: Any) -> str:
        """Which way answers were drawn, and what the shares of the limit are shares of."""
        path = getattr(sampler, "path", "")
        drawn = f"answers were drawn by the path '{path}'; " if path else ""
        its = self.limits
        return (
            f"profile: {drawn}measured limits of this machine: {its.gemm_flops_per_s / 1e9:.0f} GFLOP/s in {its.dtype} "
            f"({its.threads} thread{'' if its.threads == 1 else 's'}), {its.memory_bytes_per_s / 1e9:.0f} GB/s"
        )


def grouped(pairs: Iterable[tuple[Ids, int]]) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
    """Lengths of prompts, and of the answers to each, from (prompt, length of an answer); equal prompts are one."""
    answers: dict[Ids, list[int]] = {}
    for prompt, length in pairs:
        answers.setdefault(prompt, []).append(length)
    return [len(prompt) for prompt in answers], list(answers.values())
