"""The parts of benchmarks/install.py and startup.py that need no installation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

Load = Callable[[str], ModuleType]


def test_a_file_in_two_places_counts_once(load: Load, tmp_path: Path) -> None:
    install = load("install")
    (tmp_path / "a").mkdir()
    before = install.size(tmp_path)
    (tmp_path / "a" / "x").write_bytes(b"1234567")
    os.link(tmp_path / "a" / "x", tmp_path / "y")
    (tmp_path / "z").write_bytes(b"12")
    # Where a folder's own entry grows with what is in it, that is no more than a block.
    assert 9 <= install.size(tmp_path) - before < 9 + 4096


def test_extras_for_development_are_left_out(load: Load) -> None:
    found = load("install").extras()
    assert "demo" in found
    assert not {"dev", "bench"} & {*found}


def test_a_command_that_fails_says_why(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = load("install")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    said, seconds = install.run([sys.executable, "-c", "import os; print('PYTHONPATH' in os.environ)"], tmp_path)
    assert said == "False\n"
    assert seconds > 0
    with pytest.raises(RuntimeError, match=r"-c raise SystemExit\('no such wheel'\) …: no such wheel"):
        install.run([sys.executable, "-c", "raise SystemExit('no such wheel')"], tmp_path)


def test_starting_is_measured_and_told(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    startup = load("startup")
    busy = "import time; began = time.process_time()\nwhile time.process_time() < began + 0.2: pass"
    monkeypatch.setattr(startup, "COMMANDS", {"busy": (["-c", busy], 0.1), "idle": (["-c", "pass"], 60.0)})
    found = startup.measured(1)
    assert found["commands"]["busy"]["cpu_seconds"] > 0.2
    assert [one["within"] for one in found["commands"].values()] == [False, True]
    console = Console(record=True, width=100)
    startup.show(found, console)
    assert "60.00" in console.export_text()
