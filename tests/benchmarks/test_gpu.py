"""benchmarks/gpu.py: its toy runs to the end on a CPU, its figures are what they say, and without a GPU it stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer

from manyminds.limits import Limits, Shape

Load = Callable[[str], ModuleType]
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_the_toy(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--json", "--out", str(out)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_text(encoding="utf-8"))
    assert found["device"] == "cpu"
    assert found["decode"]["path"] == "shared prefix"
    for part, tokens in (("decode", 3 * 2 * 6), ("update", 3 * 2 * 14), ("generate", 3 * 2 * 6)):
        its = found[part]
        assert its["tokens_per_s"] == pytest.approx(tokens / its["seconds"])
    assert found["update"]["mfu"] > 0
    assert {"seconds", "failed"} & found["generate_batch"].keys()
    assert found["over_generate"] == pytest.approx(found["generate"]["seconds"] / found["decode"]["seconds"])


def test_without_a_gpu_it_stops(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = load("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(typer.Exit) as stopped:
        gpu.main(toy=False)
    assert stopped.value.exit_code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "This benchmark needs a CUDA GPU, and torch finds none here; --toy tries the script on a CPU.\n"


def test_the_full_size(load: Load) -> None:
    gpu = load("gpu")
    with torch.device("meta"):
        model = gpu.Qwen2ForCausalLM(gpu.FULL.config())
    assert sum(p.numel() for p in model.parameters()) == 494_032_768
    assert gpu.FULL.drawn == 64 * 8 * 512
    assert model.get_input_embeddings().padding_idx is None


def test_shares_of_the_limits(load: Load) -> None:
    gpu = load("gpu")
    size = gpu.Qwen(16, 1, 2, 1, 24, vocabulary=20, prompts=1, answers=2, prompt=4, new=3)
    shape = Shape(linear=1_000, layers=1, heads=2, kv_heads=1, head_dim=8, hidden=16, vocabulary=20)
    limits = Limits("cuda", "bfloat16", 1, gemm_flops_per_s=1e6, memory_bytes_per_s=1e4)
    # Three passes read 1,320 weights of 2 bytes; two of them read the prompt's 4 positions once for both answers, and
    # each answer's own 1 + 2 positions: 8 + 2 * 3, of 16 numbers.
    found = gpu.against_limits("decode", 2.0, size, shape, limits)
    assert found["tokens_per_s"] == 3.0
    assert found["bandwidth_limit_seconds"] == pytest.approx((3 * 1_320 * 2 + 14 * 16 * 2) / 1e4)
    assert found["share_of_bandwidth_limit"] == pytest.approx(found["bandwidth_limit_seconds"] / 2)
    # 4 prompt positions and 2 * 2 of answers go through the matrices; 1 + 4 of them through the head.
    linear = 2 * (1_000 * 8 + 320 * 5)
    attention = 4 * 2 * 8 * (1 + 2 + 3 + 4 + 2 * (5 + 6))
    assert found["matmul_limit_seconds"] == pytest.approx((linear + attention) / 1e6)
    update = gpu.against_limits("update", 2.0, size, shape, limits)
    assert update["tokens_per_s"] == 2 * 7 / 2
    assert update["mfu"] == pytest.approx(3 * (linear + attention) / 2 / 1e6)


def test_a_part_that_fails_says_so_and_the_others_go_on(load: Load) -> None:
    gpu = load("gpu")
    told: list[str] = []
    parts = gpu.Parts("cpu", told.append, 0.3)

    def fails() -> dict[str, Any]:
        raise RuntimeError("no kernel\nfor this")

    def endless() -> dict[str, Any]:
        while True:
            time.sleep(0.01)

    parts.run("one", fails)
    parts.run("two", lambda: {"seconds": 1.0})
    parts.run("three", endless)
    parts.run("four", endless)
    over = {"failed": "TimeoutError: no time left"}
    assert parts.found == {
        "one": {"failed": "RuntimeError: no kernel"},
        "two": {"seconds": 1.0},
        "three": over,
        "four": over,
    }
    assert told == ["one", "two", "three", "four"]
    rates = {"decode": {"tokens_per_s": 6.0}, "generate": {"tokens_per_s": 2.0}, "generate_batch": over}
    assert gpu.ratios(rates) == {"over_generate": 3.0}
