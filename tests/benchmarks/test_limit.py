"""benchmarks/limit.py on a model of no size: its sizes, its JSON, its shares."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from transformers import LlamaForCausalLM

from manyminds.limits import Limits, Shape, Work, decode_work, roofline_seconds, update_work

SLOW = {"float32": 1e9, "bfloat16": 4e9}


@pytest.fixture
def script(load: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return load("limit")


@pytest.fixture
def bench(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with one tiny model and a machine that is not measured."""
    rates = iter([1.0, 1.0, 0.5, 2.0] * 9)  # before: as they are; after: once worse, once better
    monkeypatch.setattr(
        script, "measure", lambda device, dtype, threads: Limits(device, dtype, threads, SLOW[dtype] * next(rates), 1e9)
    )
    tiny = script.Size(16, 1, 2, 1, 24, vocabulary=20, prompts=2, answers=2, prompt=4, new=3)
    monkeypatch.setattr(script, "MODELS", {"tiny": tiny})
    return script


@pytest.mark.parametrize(
    ("name", "parameters"), [("demo", 125_184), ("1m", 1_079_808), ("5m", 4_847_104), ("25m", 25_752_576)]
)
def test_the_sizes(name: str, parameters: int, script: ModuleType) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(script.MODELS[name].config())
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_the_json_says_all(bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    bench.main(threads=1, model=None, as_json=True, out=tmp_path / "limit.json")
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "limit.json").read_text(encoding="utf-8"))
    assert {"machine", "versions", "threads", "limits", "models"} == found.keys()
    assert found["limits"]["float32"]["gemm_flops_per_s"] == 1e9
    assert found["limits"]["bfloat16"]["gemm_flops_per_s"] == 8e9
    assert [row["precision"] for row in found["models"]] == ["float32", "mixed"]
    for row in found["models"]:
        check_shares(row, found["limits"][bench.DTYPES[row["precision"]]])
    assert torch.get_num_threads() == threads == 1


def check_shares(row: dict[str, Any], limits: dict[str, Any]) -> None:
    """4 answers of 3 tokens to 2 prompts of 4: 12 tokens drawn, 28 tokens in rows."""
    shape = Shape(
        linear=2 * 16 * 8 * 3 + 3 * 16 * 24, layers=1, heads=2, kv_heads=1, head_dim=8, hidden=16, vocabulary=20
    )
    lengths = [4, 4], [[3, 3], [3, 3]]
    for half, work, tokens in (("decode", decode_work, 12), ("update", update_work, 28)):
        its = row[half]
        assert Work(**its["needed"]) == work(shape, *lengths)
        assert its["limit_seconds"] == pytest.approx(roofline_seconds(work(shape, *lengths), Limits(**limits)))
        assert its["tokens_per_s"] == pytest.approx(tokens / its["seconds"])
        assert its["share_of_limit"] == pytest.approx(its["limit_seconds"] / its["seconds"])


def test_the_table(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(threads=1, model=["tiny"], as_json=False, out=None)
    text = capsys.readouterr().out
    assert "float32: 1 GFLOP/s in matrix products" in text
    assert "tiny" in text
    assert "share" in text


def test_a_model_that_is_not_there(bench: ModuleType) -> None:
    with pytest.raises(typer.BadParameter, match="there is no model 'huge'; known are tiny"):
        bench.main(threads=1, model=["huge"], as_json=False, out=None)


def test_as_many_runs_as_there_is_time_for(bench: ModuleType) -> None:
    ran: list[int] = []
    bench.best(ran.append, seconds=0.0)
    assert ran == [0]
    ran.clear()
    bench.best(ran.append, seconds=60.0)
    assert ran == [0, 1, 2]
