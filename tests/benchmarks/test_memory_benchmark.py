"""benchmarks/memory.py and fresh.py: peaks are a part's own, children answer or fail, the claim is what it says."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
SMALL, LARGE = {"held": 300.0, "peak": 400.0}, {"held": 400.0, "peak": 900.0}


def test_a_peak_is_that_of_the_part(load: Load) -> None:
    peak = load("fresh").peak
    # Pages of its own: what malloc hands out may lie in memory that the process has freed but still holds.
    with peak() as found, mmap.mmap(-1, 2**27) as pages:
        for at in range(0, len(pages), mmap.PAGESIZE):
            pages[at] = 1
    assert found["peak"] - found["held"] == pytest.approx(128, abs=8)
    with peak() as found:
        pass
    assert found["peak"] - found["held"] < 8


def test_a_child_fails_with_its_reason(load: Load) -> None:
    fresh = load("fresh")
    assert fresh.called("textwrap", "indent", {"text": "a", "prefix": "b"}) == "ba"
    with pytest.raises(fresh.Failed, match="has no attribute 'nothing'"):
        fresh.called("textwrap", "nothing", {})


def test_a_child_that_needs_too_much_fails(load: Load) -> None:
    fresh = load("fresh")
    with pytest.raises(fresh.Failed, match="MemoryError"):
        fresh.called("random", "randbytes", {"n": 2**27}, largest=2**27)


def test_the_claim(load: Load) -> None:
    memory = load("memory")
    mib = 2**20
    assert memory.Rows().added_bytes((1_000, 150_000)) == 2 * 64 * 149_000 * 4
    found = memory.compared(SMALL, LARGE, 95 * mib)  # 1.3 * 400 + 4 * 95 = 900
    assert found == {
        "ratio": 2.25,
        "ratio_without_weights": pytest.approx(1.3),
        "allowed": pytest.approx(900.0),
        "holds": True,
    }
    assert not memory.compared(SMALL, LARGE, 94 * mib)["holds"]


def test_our_update_in_a_child(load: Load) -> None:
    memory = load("memory")
    rows = asdict(memory.Rows(tokens=6, prompt=3, hidden=16, layers=1, heads=2))
    found = load("fresh").called("memory", "ours", {"vocabulary": 20_000, "rows": rows})
    assert found["peak"] == pytest.approx(found["held"] + found["above"])
    # gradients and two moments of embedding and head, 2 * 16 * 20,000 numbers, are 7.3 MiB; all logits 1.5 more
    assert 7 < found["above"] < 60
    assert found["cpu_seconds"] > 0


def test_trls_update_in_a_child(load: Load) -> None:
    pytest.importorskip("trl")
    memory = load("memory")
    rows = asdict(memory.Rows(tokens=6, prompt=3, hidden=16, layers=1, heads=2))
    found = load("fresh").called("memory", "trl", {"vocabulary": 200, "rows": rows})  # its job is asserted there
    assert found["above"] > 0


def test_both_sides_and_the_claim(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = load("memory")

    def called(module: str, side: str, values: dict[str, Any], *, threads: int) -> dict[str, float]:
        assert (module, threads, values["rows"]["tokens"]) == ("memory", 1, 9)
        large = values["vocabulary"] == 150_000
        if side == "trl" and large:
            raise memory.Failed("MemoryError")
        return {**(LARGE if large else SMALL), "above": 1.0, "cpu_seconds": 2.0}

    monkeypatch.setattr(memory, "called", called)
    monkeypatch.setattr(memory, "find_spec", lambda name: name)
    out = tmp_path / "memory.json"
    memory.main(tokens=9, threads=1, as_json=False, out=out)
    text = capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["logits_bytes"] == 9 * 150_000 * 4
    assert found["ours"]["holds"] is False
    assert found["ours"]["ratio"] == 2.25
    assert found["trl"]["runs"]["150000"] == {"failed": "MemoryError"}
    assert "holds" not in found["trl"]
    assert "ours: the peak grows 2.25 times" in text
    assert "the claim DOES NOT HOLD" in text
    assert "MemoryError" in text


def test_our_own_failure_is_no_result(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = load("memory")

    def called(*_: Any, **__: Any) -> None:
        raise memory.Failed("AssertionError")

    monkeypatch.setattr(memory, "called", called)
    with pytest.raises(memory.Failed):
        memory.measured(memory.Rows(), 1, lambda words: None)
