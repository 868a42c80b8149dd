"""Means by part over the profiled steps of a run, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manyminds.report.runs import Arm, Step
from manyminds.report.timing import Line, timing


def step(number: int, values: dict[str, float]) -> Step:
    return Step(number, "train", values)


FIRST = {
    "profile/prefill_s": 1.0,
    "profile/decode_s": 3.0,
    "profile/backward_s": 2.0,
    "profile/other_s": 2.0,
    "sampled_tokens": 100.0,
    "trained_tokens": 30.0,
    "profile/decode_limit_share": 0.5,
}
SECOND = {
    "profile/prefill_s": 1.0,
    "profile/decode_s": 1.0,
    "profile/backward_s": 4.0,
    "profile/checks_s": 2.0,
    "sampled_tokens": 20.0,
    "trained_tokens": 30.0,
    "profile/decode_limit_share": 0.2,
    "profile/update_limit_share": 0.25,
}


def arm(*steps: Step) -> Arm:
    return Arm("grpo", Path(), steps=steps)


def test_a_run_that_was_not_profiled() -> None:
    assert timing(arm(step(1, {"step_time": 1.0}))) is None
    assert timing(arm()) is None


def test_means_and_rates_over_the_profiled_steps() -> None:
    found = timing(arm(step(1, {"sampled_tokens": 9e9}), step(2, FIRST), step(3, SECOND)))
    assert found is not None
    assert (found.label, found.steps, found.total) == ("GRPO", 2, 8.0)
    lines = {line.name: line for line in found.lines}
    assert [line.name for line in found.lines] == [
        "sampling", "prefill", "decode", "update", "logprobs", "backward", "optimizer", "checks", "sync", "other",
        "step",
    ]  # fmt: skip
    assert [line.name for line in found.lines if line.inner] == [
        "prefill", "decode", "logprobs", "backward", "optimizer"
    ]  # fmt: skip
    # sampling took 4 and 2 seconds, of which half and a fifth had to be
    assert lines["sampling"].limit == pytest.approx((0.5 * 4 + 0.2 * 2) / 6)
    assert replace(lines["sampling"], limit=None) == Line("sampling", 3.0, 3 / 8, 120 / 6)
    assert lines["decode"] == Line("decode", 2.0, 2 / 8, inner=True)
    # the first of the two steps does not say what share of the limit its update came to
    assert lines["update"] == Line("update", 3.0, 3 / 8, 60 / 6, 0.25)
    assert (lines["checks"].seconds, lines["other"].seconds, lines["sync"].seconds) == (1.0, 1.0, 0.0)
    assert lines["step"] == Line("step", 8.0, 1.0)


def test_no_spans_no_rates() -> None:
    found = timing(arm(step(1, {"profile/prefill_s": 0.0, "profile/other_s": 2.0, "sampled_tokens": 5.0})))
    assert found is not None
    assert [(line.tokens_per_s, line.limit) for line in found.lines] == [(None, None)] * 11
    assert found.lines[-1].seconds == 2.0
