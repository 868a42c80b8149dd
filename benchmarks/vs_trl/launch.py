"""Sides of a workload as child processes that take steps when told to, and what they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

from vs_trl.child import FOUND, READY
from vs_trl.workloads import Workload

PATH = Path(__file__).parents[1]
# Memory stays with the process after a step. It makes TRL faster too, by 10 to 20 % on one core, so both have it.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}
QUIET = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Variant:
    """A side and how it works; `rows` and `changes` are TRL's, `malloc` says whether the child has `MALLOC`."""

    side: str
    precision: str
    rows: int = 0
    changes: dict[str, Any] = field(default_factory=dict)
    malloc: bool = True

    @property
    def name(self) -> str:
        return f"{self.side} {self.precision}"

    def describe(self) -> str:
        """All that tells it from others, for a line of text."""
        rows = f", {self.rows or 'all'} answers at a time" if self.side == "trl" else ""
        changes = "".join(f", {key}={value}" for key, value in self.changes.items())
        return f"{self.name}{rows}{changes}{'' if self.malloc else ', malloc as it is'}"


def environment(threads: int, malloc: bool) -> dict[str, str]:
    """What a child's environment has besides the parent's; both sides run on the CPU."""
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **QUIET, **(MALLOC if malloc else {})}


class Side:
    """A variant at work on a workload in a child process, which waits between pairs. Raises RuntimeError, with what the
    child said last, if it fails."""

    def __init__(self, workload: Workload, variant: Variant, model: Path, threads: int) -> None:
        self.workload, self.variant, self.name = workload, variant, f"{workload.name}, {variant.describe()}"
        spec = {"workload": asdict(workload), "model": str(model), "threads": threads, **asdict(variant)}
        path = os.pathsep.join(filter(None, [str(PATH), os.environ.get("PYTHONPATH", "")]))
        self.log = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed with the process)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "vs_trl.child", json.dumps(spec)],
            env={**os.environ, "PYTHONPATH": path, **environment(threads, variant.malloc)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self._hear()

    def step(self) -> None:
        """A pair's steps, until the child waits again."""
        self._go_on()

    def finish(self) -> dict[str, Any]:
        """All that the child has to say, after the last pair."""
        found: dict[str, Any] = json.loads(self._go_on().removeprefix(FOUND))
        return found

    def _go_on(self) -> str:
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):  # what it died of is told below
            self.child.stdin.write("go on\n")
            self.child.stdin.flush()
        return self._hear()

    def _hear(self) -> str:
        assert self.child.stdout is not None
        said = self.child.stdout.readline()
        if not said.startswith((READY, FOUND)):
            code = self.child.wait()
            self.log.seek(0)
            last = "\n".join(self.log.read().strip().splitlines()[-12:])
            raise RuntimeError(f"{self.name}: the run failed ({code})\n{last}")
        return said

    def close(self) -> None:
        """End the child, if it still runs."""
        self.child.kill()
        self.child.communicate()
        self.log.close()


def figures(workload: Workload, variant: Variant, raw: dict[str, Any], pair: int) -> dict[str, Any]:
    """Medians over a pair's timed steps, beside every one of them."""
    first = workload.warm + pair * workload.timed
    timed = raw["laps"][first : first + workload.timed]
    names = {name for lap in timed for name in lap["phases"]}
    return {
        "pair": pair,
        "workload": workload.name,
        "variant": variant.name,
        "how": variant.describe(),
        "seconds_per_step": median(lap["seconds"] for lap in timed),
        "cpu_seconds_per_step": median(lap["cpu_seconds"] for lap in timed),
        "sampled_tokens_per_step": median(lap["sampled_tokens"] for lap in timed),
        "phases": {name: median(lap["phases"].get(name, 0.0) for lap in timed) for name in sorted(names)},
        "steps": timed,
        "peak_mebibytes": raw["peak_mebibytes"],
        "prompt_ids_sha256": raw["prompt_ids_sha256"],
        "settings": raw["settings"],
    }
