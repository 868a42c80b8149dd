"""benchmarks/scaling.py at no size: a step does all its work, slopes and verdicts are what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from manyminds.limits import Shape, decode_work, update_work

Load = Callable[[str], ModuleType]
TINY = {"questions": 1, "answers": 2, "length": 2, "vocabulary": 20, "hidden": 16, "layers": 1, "prompt": 3}
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")


def test_a_station_takes_whole_steps(load: Load) -> None:
    one_step = load("one_step")
    station = one_step.Station(one_step.Point(**{**TINY, "questions": 2, "experts": 3}))
    before = next(station.model.parameters()).detach().clone()
    for _ in range(2):
        seconds = station.step()  # all tokens drawn and all rows trained on, or it raises
        assert min(seconds.values()) > 0
    assert station.point.tokens == 2 * 3 * 2 * 2
    assert not before.equal(next(station.model.parameters()))
    asked = next(station.questions)
    assert asked.id == "4"
    assert len(set(asked.prompt_ids.values())) == 3


def test_the_arithmetic_of_a_step(load: Load) -> None:
    one_step = load("one_step")
    station = one_step.Station(one_step.Point(**{**TINY, "experts": 2}))
    shape = Shape(linear=4 * 16 * 16 + 3 * 16 * 48, layers=1, heads=4, kv_heads=4, head_dim=4, hidden=16, vocabulary=20)
    sizes = [3, 3], [[2, 2], [2, 2]]
    assert station.needed() == {"sampling": decode_work(shape, *sizes), "update": update_work(shape, *sizes)}


def test_slopes_and_what_is_steep(load: Load) -> None:
    scaling = load("scaling")
    its = scaling.points(scaling.BASE, {"length": (32, 64, 128)})
    assert its["length", 64] == scaling.BASE
    assert its["length", 128] == replace(scaling.BASE, length=128)
    assert scaling.slope([1, 2, 4], [3, 3 * 2**1.5, 3 * 2**3]) == pytest.approx(1.5)
    taken = {p: {"sampling": 1e-6 * p.length**1.3, "update": 2.0} for p in its.values()}
    least = {p: {"sampling": 1e-7 * p.length**1.15, "update": 1.0} for p in its.values()}
    found = scaling.by_factor(its, taken, least)
    assert found["length"]["slopes"] == {"sampling": pytest.approx(1.3), "update": pytest.approx(0.0)}
    assert found["length"]["least_slopes"]["sampling"] == pytest.approx(1.15)
    row = found["length"]["rows"][1]
    assert row["sampled_tokens"] == 4 * 8 * 64
    assert row["cpu_seconds_per_token"] == pytest.approx((1e-6 * 64**1.3 + 2) / 2048)
    assert scaling.steep(found) == ["sampling in length"]
    found["length"]["least_slopes"]["sampling"] = 1.21
    assert scaling.steep(found) == []


@pytest.mark.parametrize(("kept", "flat"), [(0.0, True), (1.0, False)])
def test_memory_of_vocabulary_times_length_stands_out(
    kept: float, flat: bool, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaling = load("scaling")

    def called(module: str, function: str, values: dict[str, int], **_: Any) -> dict[str, float]:
        v, t = values["vocabulary"], values["length"]
        return {"peak": 0.0, "beyond_weights": 7 + 3 * v + 5 * t + kept * 8 * t * v * 4 / 2**20}

    monkeypatch.setattr(scaling, "called", called)
    base = replace(scaling.BASE, questions=1)
    found = scaling.memory(base, (1_000, 10_000), (16, 256), lambda words: None)
    assert found["flat"] is flat
    assert found["logits_mebibytes"] == pytest.approx(8 * 256 * 10_000 * 4 / 2**20)
    assert found["extra_mebibytes"] == pytest.approx(kept * 8 * (256 - 16) * 9_000 * 4 / 2**20)
    assert [(row["vocabulary"], row["length"]) for row in found["rows"]] == [
        (1_000, 64), (10_000, 64), (1_000, 16), (1_000, 256), (10_000, 16), (10_000, 256),
    ]  # fmt: skip


@linux
def test_memory_in_a_child(load: Load) -> None:
    point = asdict(load("one_step").Point(**TINY))
    found = load("fresh").called("scaling", "held", point)
    assert found["peak"] >= found["held"] > found["weights"] > 0
    assert found["beyond_weights"] == pytest.approx(found["peak"] - found["held"] - 3 * found["weights"])


@linux
def test_the_script_from_end_to_end(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling = load("scaling")
    monkeypatch.setattr(scaling, "BASE", scaling.Point(**TINY))
    doubled = {name: (TINY.get(name, 1), 2 * TINY.get(name, 1)) for name in scaling.FACTORS}
    monkeypatch.setattr(scaling, "FACTORS", doubled)
    monkeypatch.setattr(scaling, "called", lambda module, function, values, **_: scaling.held(**values))
    out, plot = tmp_path / "scaling.json", tmp_path / "scaling.png"
    scaling.main(rounds=1, as_json=True, out=out, plot=plot)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text(encoding="utf-8"))
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {"machine", "versions", "limits", "base", "factors", "steep", "memory", "wall_seconds"} <= found.keys()
    assert found["factors"].keys() == scaling.FACTORS.keys()
    assert [row["sampled_tokens"] for row in found["factors"]["experts"]["rows"]] == [4, 8]
    scaling.show(found, scaling.Console())
    assert "flat in vocabulary times length" in capsys.readouterr().out


def test_without_proc_it_says_so(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling = load("scaling")
    monkeypatch.setattr(load("fresh").Path, "exists", lambda path: False)
    with pytest.raises(typer.Exit) as stopped:
        scaling.main(rounds=1)
    assert stopped.value.exit_code == 2
    assert "run it on Linux" in capsys.readouterr().err
