"""Log-probs of the sampler that are not the policy's are measured and told; rows that spoil a step are found."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from manyminds.batch import Row, collate
from manyminds.config import Recipe
from manyminds.durable import read_jsonl
from manyminds.errors import NotFinite
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Example
from manyminds.run import train
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.soundness import Difference
from test_resume import tiny

MEAN, MOST = "sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max"


def example(logprobs: tuple[float, ...], mask: tuple[int, ...] = ()) -> Example:
    planes = {"sampling_logprobs": logprobs} if logprobs else {}
    return Example("sampled", (1,), (2, 3), mask=mask, planes=planes)


def test_the_difference_by_hand() -> None:
    rows = [example((-1.0, -2.0)), example((-1.0, -9.0), mask=(1, 0)), example(())]
    batch = collate([Row(row, (1.0,)) for row in rows])
    seen = Difference()
    assert seen.metrics == {}
    seen.see(torch.tensor([[-1.5, -2.0], [-1.25, 5.0], [7.0, 7.0]]), batch)
    assert seen.metrics == {MEAN: 0.75 / 3, MOST: 0.5}


def test_what_is_no_number_is_seen_unless_it_is_masked() -> None:
    seen = Difference()
    hidden, told, none = example((-1.0, math.nan), mask=(1, 0)), example((math.nan, -1.0)), example((-1.0, -1.0))
    seen.see(torch.full((1, 2), -1.0), collate([Row(hidden, (1.0,))]))
    assert seen.metrics == {MEAN: 0.0, MOST: 0.0}
    seen.see(torch.full((2, 2), -1.0), collate([Row(told, (1.0,)), Row(none, (1.0,))]))
    assert math.isnan(seen.metrics[MEAN])
    assert math.isnan(seen.metrics[MOST])


def test_rows_of_a_sampler_that_gives_no_log_probs_do_not_count() -> None:
    row = replace(example(()), planes={"sampling_logprobs": ()})
    seen = Difference()
    seen.see(torch.full((1, 2), -3.0), collate([Row(row, (1.0,))]))
    assert seen.metrics == {}


def told(recipe: Recipe) -> list[str]:
    """What the run told of its sampler."""
    notes = recipe.folder / "notes.jsonl"
    lines = read_jsonl(notes) if notes.exists() else []
    return [line["text"] for line in lines if "sampler's log-probs" in line["text"]]


def test_a_run_measures_it_at_every_step_that_learns(tmp_path: Path) -> None:
    made = tiny(
        tmp_path,
        warmup=None,
        rewards=["partly:even"],
        method={"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 6},
    )
    train(made)
    lines = read_jsonl(made.folder / "metrics.jsonl")
    measured = [line for line in lines if MEAN in line]
    assert measured
    assert {bool(line["trained_rows"]) for line in lines if MEAN not in line} <= {False}
    assert all(0 <= line[MEAN] <= line[MOST] < 1e-4 for line in measured)
    assert told(made) == []


def test_it_is_of_the_policy_that_drew(tmp_path: Path) -> None:
    """A second epoch on the same answers has another policy, and does not count."""
    method = {"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 6, "epochs": 3}
    made = tiny(tmp_path, warmup=None, rewards=["partly:even"], method=method, optimizer={"lr": 0.05})
    train(made)
    measured = [line[MOST] for line in read_jsonl(made.folder / "metrics.jsonl") if MOST in line]
    assert measured
    assert max(measured) < 1e-4


def shifted(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    """A sampler whose log-probs are off."""
    sample = TransformersSampler.sample

    def off(self: Any, *args: Any) -> Any:
        return tuple(replace(r, logprobs=tuple(v + by for v in r.logprobs)) for r in sample(self, *args))

    monkeypatch.setattr(TransformersSampler, "sample", off)


def test_a_run_tells_once_of_a_sampler_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted(monkeypatch, 0.125)
    method = {"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 6}
    made = tiny(tmp_path, warmup=None, rewards=["partly:even"], method=method)
    train(made)
    (sentence,) = told(made)
    assert "differ by 0.125 nats on the mean token, more than sampling.logp_difference_bound (0.05)" in sentence
    wide = tiny(
        tmp_path / "wide",
        warmup=None,
        rewards=["partly:even"],
        method=method,
        sampling={"max_tokens": 6, "logp_difference_bound": 0.2},
    )
    train(wide)
    assert told(wide) == []


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_log_probs_that_are_not_finite_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    shifted(monkeypatch, value)
    made = tiny(tmp_path, warmup=None)
    with pytest.raises(NotFinite, match=r"step 1: the sampler gave a token a log-prob of (nan|-inf) in an answer of '"):
        train(made)
    rows = json.loads((made.folder / "not_finite" / "step-000001.json").read_text())["rows"]
    assert len(rows) == 2 * 3 * 3
    assert all(row["ids"] and row["group_id"][0] for row in rows)


def test_the_rows_with_a_gradient_that_is_not_finite_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of one question is finite and its gradient is not: the square root at zero."""
    forward = HFPolicy.forward
    spoilt: set[str] = set()

    def broken(self: HFPolicy, batch: Any, needs: Any) -> Any:
        outputs = forward(self, batch, needs)
        first = next((e.group_id[0] for e in batch.examples), "")
        if not spoilt:
            spoilt.add(first)
        bad = [i for i, e in enumerate(batch.examples) if e.group_id[0] in spoilt]
        logprobs = outputs.logprobs.clone()
        logprobs[bad] = logprobs[bad] + (0.0 * logprobs[bad]).abs().sqrt()
        return replace(outputs, logprobs=logprobs)

    monkeypatch.setattr(HFPolicy, "forward", broken)
    method = {"name": "grpo", "questions_per_step": 4, "answers_per_prompt": 6}
    made = tiny(tmp_path, warmup=None, rewards=["partly:even"], method=method)
    with pytest.raises(NotFinite, match=r"the gradient's norm is nan; the rows are in"):
        train(made)
    (file,) = (made.folder / "not_finite").iterdir()
    rows = json.loads(file.read_text())["rows"]
    assert rows
    assert {row["group_id"][0] for row in rows} == spoilt
