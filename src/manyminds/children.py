"""Runs as child processes, followed by the files that they write. Imports no torch.

Each child has one thread, so that as many as there are cores run side by side at full speed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manyminds.errors import UserError

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Large tensors are kept by the process instead of going back to the system after every step.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


class Child:
    """One stage of a recipe in a process of its own; what it says on standard error goes to `log`."""

    def __init__(self, name: str, recipe: Path, stage: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.log = recipe.with_name(f"{name}.log")
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "manyminds.cell", str(recipe), stage],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **ENVIRONMENT},
            )
        self.steps = Tail(folder / "metrics.jsonl")
        self.evaluations = Tail(folder / "evaluations.jsonl")

    def ended(self) -> bool:
        """Whether it has ended. Raises UserError if it failed, with what it said last."""
        code = self.process.poll()
        if code:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                raise UserError(f"{self.name} failed: {lines[-1]} (all it said is in {self.log})")
            how = f"was stopped by signal {-code}" if code < 0 else f"ended with status {code}"
            raise UserError(f"{self.name} {how} and said nothing")
        return code is not None


@contextmanager
def children(started: Sequence[Child]) -> Iterator[Sequence[Child]]:
    """The children; none of them outlives the block. Logs of those that said nothing are not kept."""
    try:
        yield started
    finally:
        for child in started:
            child.process.terminate()
        for child in started:
            child.process.wait()
            if child.log.stat().st_size == 0:
                child.log.unlink()


class Tail:
    """Reads what is added to a file of JSON lines; a line that is still being written waits for the next call."""

    def __init__(self, path: Path) -> None:
        self.path, self.position = path, 0

    def read(self) -> list[dict[str, Any]]:
        """The lines that are whole and new. A file that is not there yet has none."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.position)
            whole, newline, _ = file.read().rpartition(b"\n")
        self.position += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]
