"""Small checkpoints for the tests, and ways to look at and to break them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from manyminds import checkpoint


def write_model(model: Path) -> None:
    save_file({"w": torch.arange(6.0)}, model / "model.safetensors")
    (model / "config.json").write_text("{}")
    (model / "nested").mkdir()
    (model / "nested" / "vocabulary.txt").write_text("a b c")


def save(folder: Path, step: int, value: float = 1.0, **options: Any) -> Path:
    tensors = {"optimizer": {"0.step": torch.tensor(value)}}
    return checkpoint.save(folder, step, write_model, {"value": value}, tensors, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
