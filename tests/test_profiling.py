"""The `profile/…` line of a step with numbers by hand, in the files of a run, and that timing changes nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny
from manyminds import clock, profiling, run
from manyminds.batch import Row
from manyminds.clock import Clock
from manyminds.config import Recipe, parse
from manyminds.durable import read_jsonl, sha256
from manyminds.limits import Limits, Shape, decode_work, forward_work, roofline_seconds, update_work
from manyminds.metrics import Metrics
from manyminds.profiling import PARTS, Profiler
from manyminds.records import Example, Ids, Prompt, Question, Rollout, Span
from manyminds.run import train

SHAPE = Shape(linear=100, layers=2, heads=3, kv_heads=1, head_dim=4, hidden=12, vocabulary=5)
LIMITS = Limits("cpu", "float32", 2, gemm_flops_per_s=95e9, memory_bytes_per_s=35e9)
SLOW = Limits("cpu", "float32", 2, gemm_flops_per_s=1000, memory_bytes_per_s=100)
NUMBERS = {"sampled_tokens": 30.0, "trained_tokens": 80.0}


def clocked(seconds: Mapping[str, float], kept: Mapping[str, list[Any]] | None = None) -> Clock:
    """A clock that has run."""
    made = Clock()
    made.seconds |= seconds
    made.kept |= kept or {}
    return made


def rollout(prompt: Ids, answer: Ids, name: str = "q") -> Rollout:
    return Rollout(Prompt(Question(name, "", "", prompt_ids={"a": prompt}), "a"), answer, (-1.0,) * len(answer), "")


SECONDS = {"prefill": 1.0, "decode": 4.0, "logprobs": 2.0, "backward": 5.0, "optimizer": 1.0, "other": 0.5}
DRAWN = [
    (rollout((7, 8, 9), (1, 2)), rollout((7, 8, 9), (1, 2, 3, 4)), rollout((7, 8), (1,))),
    (rollout((7, 8, 9), (1, 2)),),
]


def test_parts_and_rates() -> None:
    line = Profiler(SHAPE, SLOW).metrics(clocked(SECONDS | {"a part of its own": 0.25}), NUMBERS)
    assert line == {
        "profile/prefill_s": 1.0,
        "profile/decode_s": 4.0,
        "profile/checks_s": 0.0,
        "profile/logprobs_s": 2.0,
        "profile/backward_s": 5.0,
        "profile/optimizer_s": 1.0,
        "profile/sync_s": 0.0,
        "profile/other_s": 0.75,
        "profile/sampled_tokens_per_s": 30 / 5,
        "profile/trained_tokens_per_s": 80 / 8,
    }


def test_without_spans_all_of_it_is_other() -> None:
    line = Profiler(SHAPE, SLOW).metrics(clocked({"other": 2.0}, {"drawn": DRAWN, "trained": [()]}), NUMBERS)
    assert line == {f"profile/{part}_s": 0.0 for part in PARTS} | {"profile/other_s": 2.0}


def test_share_of_the_limit_in_sampling() -> None:
    """Each draw is counted by itself, equal prompts within it once."""
    line = Profiler(SHAPE, SLOW).metrics(clocked(SECONDS, {"drawn": DRAWN}), NUMBERS)
    work = decode_work(SHAPE, [3, 2], [[2, 4], [1]]) + decode_work(SHAPE, [3], [[2]])
    assert line["profile/decode_limit_share"] == pytest.approx(roofline_seconds(work, SLOW) / 5.0)
    assert "profile/update_limit_share" not in line
    narrow = Profiler(SHAPE, SLOW, width=2).metrics(clocked(SECONDS, {"drawn": DRAWN}), NUMBERS)
    assert narrow["profile/decode_limit_share"] < line["profile/decode_limit_share"]


def test_share_of_the_limit_in_the_update() -> None:
    """Rows of one update share their prompts; what was scored is a forward pass more."""
    rows = [Row(Example("sampled", (7, 8, 9), (1,) * n), (1.0,)) for n in (2, 4)]
    spans = (Span("0", (7, 8), (1, 2, 3)),)
    line = Profiler(SHAPE, SLOW).metrics(clocked(SECONDS, {"trained": [rows, rows[:1]], "scored": [spans]}), NUMBERS)
    work = update_work(SHAPE, [3], [[2, 4]]) + update_work(SHAPE, [3], [[2]]) + forward_work(SHAPE, [2], [[3]])
    assert line["profile/update_limit_share"] == pytest.approx(roofline_seconds(work, SLOW) / 8.0)


@pytest.mark.parametrize(
    ("device", "precision", "dtype", "width"),
    [("cpu", "float32", "float32", 4), ("cpu", "mixed", "bfloat16", 4), ("cuda", "mixed", "bfloat16", 2)],
)
def test_the_limit_is_that_of_the_precision(
    device: str, precision: str, dtype: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "measure", lambda device, dtype: Limits(device, dtype, 1, 1.0, 1.0))
    model = tiny.model()
    stand_in = SimpleNamespace(
        config=model.config,
        device=SimpleNamespace(type=device),
        modules=model.modules,
        get_output_embeddings=model.get_output_embeddings,
    )
    profiler = Profiler.of(stand_in, precision)
    assert (profiler.limits.device, profiler.limits.dtype, profiler.width) == (device, dtype, width)
    assert profiler.shape == Shape.of(model.config)


def test_the_note_names_the_path_and_the_limits() -> None:
    profiler = Profiler(SHAPE, LIMITS)
    limits = "measured limits of this machine: 95 GFLOP/s in float32 (2 threads), 35 GB/s"
    assert profiler.note(SimpleNamespace()) == f"profile: {limits}"
    told = profiler.note(SimpleNamespace(path="shared prefix"))
    assert told == f"profile: answers were drawn by the path 'shared prefix'; {limits}"


# In a run


def recipe(output: Path, **changes: Any) -> Recipe:
    """Three steps of a tiny model."""
    return parse(
        {
            "name": "tiny",
            "model": "tiny",
            "task": {"name": "arithmetic", "warmup": 4, "train": 5, "validation": 2, "test": 2},
            "method": {"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 2},
            "steps": 3,
            "sampling": {"max_tokens": 5},
            "optimizer": {"lr": 0.003},
            "evaluation": {"every": 3, "samples": 2, "group": 2},
            "checkpoint": {"every": 1, "keep": 9},
            "output": str(output),
            **changes,
        }
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's limits without measuring it."""
    monkeypatch.setattr(profiling, "measure", lambda device, dtype: LIMITS)


def fake_step(*_: Any, **__: Any) -> tuple[Any, Metrics]:
    """A training step that does nothing but tell the clock."""
    with clock.span("prefill"):
        pass
    with clock.span("decode"):
        clock.keep("drawn", DRAWN[0])
    with clock.span("backward"):
        clock.keep("trained", [Row(Example("sampled", (7, 8, 9), (1, 2)), (1.0,))])
    metrics = Metrics()
    metrics.add(NUMBERS)
    return (), metrics


def test_a_profiled_run_logs_the_line_and_says_the_path(
    tmp_path: Path, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "training_step", fake_step)
    notes: list[str] = []

    def watch(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if what == "note":
            notes.append(data["text"])

    asked = recipe(tmp_path, profile=True)
    train(asked, watch=watch)
    for line in read_jsonl(asked.folder / "metrics.jsonl"):
        parts = [line[f"profile/{part}_s"] for part in PARTS]
        assert 0 < sum(parts) <= line["step_time"]
        assert {name for name in line if name.startswith("profile/")} == {
            *(f"profile/{part}_s" for part in PARTS),
            *(f"profile/{name}" for name in ("sampled_tokens_per_s", "trained_tokens_per_s")),
            *(f"profile/{name}" for name in ("decode_limit_share", "update_limit_share")),
        }
        sampling = line["profile/prefill_s"] + line["profile/decode_s"]
        assert line["profile/sampled_tokens_per_s"] == pytest.approx(30 / sampling)
    (note,) = notes
    assert note.startswith("profile: ")
    assert "95 GFLOP/s in float32" in note


def left_behind(folder: Path) -> dict[str, Any]:
    """Weights and optimiser of the last checkpoint, and all metrics but times."""
    newest = folder / "checkpoints" / "step-000003"
    lines = read_jsonl(folder / "metrics.jsonl")
    numbers = [{k: v for k, v in line.items() if k != "step_time" and not k.startswith("profile/")} for line in lines]
    return {"tensors": {p.name: sha256(p) for p in newest.rglob("*.safetensors")}, "numbers": numbers}


def test_timing_changes_no_number(tmp_path: Path, measured: None) -> None:
    plain, timed = recipe(tmp_path / "plain"), recipe(tmp_path / "timed", profile=True)
    train(plain)
    train(timed)
    found = left_behind(timed.folder)
    assert found == left_behind(plain.folder)
    assert len(found["tensors"]) > 1
    assert not any(name.startswith("profile/") for name in read_jsonl(plain.folder / "metrics.jsonl")[0])


class Stopped(Exception):
    """Stands for whatever ends a run."""


def test_a_resumed_run_may_be_timed_from_there_on(tmp_path: Path, measured: None) -> None:
    def watch(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if what == "step" and step == 2:
            raise Stopped

    plain, whole = recipe(tmp_path / "parts"), recipe(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(plain, watch=watch)
    saved = plain.folder / "checkpoints" / "step-000001" / "state.json"
    assert json.loads(saved.read_text())["recipe"]["profile"] is False
    train(plain.model_copy(update={"profile": True}), resume=True)
    train(whole)
    assert left_behind(plain.folder) == left_behind(whole.folder)
    timed = ["profile/other_s" in line for line in read_jsonl(plain.folder / "metrics.jsonl")]
    assert timed == [False, True, True]
