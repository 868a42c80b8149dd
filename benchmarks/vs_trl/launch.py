"""Starts one run in a child process and reads what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

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


def launch(workload: Workload, variant: Variant, model: Path, threads: int, place: Path) -> dict[str, Any]:
    """The run's figures. Raises RuntimeError, with what the child said last, if it failed."""
    spec = {"workload": asdict(workload), "model": str(model), "threads": threads, **asdict(variant)}
    out = place / "run.json"
    out.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(PATH), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "vs_trl.child", json.dumps(spec), str(out)],
        env={**os.environ, "PYTHONPATH": path, **environment(threads, variant.malloc)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not out.exists():
        last = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise RuntimeError(f"{workload.name}, {variant.describe()}: the run failed ({done.returncode})\n{last}")
    return figures(workload, variant, json.loads(out.read_text(encoding="utf-8")))


def figures(workload: Workload, variant: Variant, raw: dict[str, Any]) -> dict[str, Any]:
    """Medians over the timed steps, beside every step."""
    timed = raw["laps"][workload.warm :]
    names = {name for lap in timed for name in lap["phases"]}
    return {
        "workload": workload.name,
        "variant": variant.name,
        "seconds_per_step": median(lap["seconds"] for lap in timed),
        "cpu_seconds_per_step": median(lap["cpu_seconds"] for lap in timed),
        "sampled_tokens_per_step": median(lap["sampled_tokens"] for lap in timed),
        "phases": {name: median(lap["phases"].get(name, 0.0) for lap in timed) for name in sorted(names)},
        "steps": raw["laps"],
        "peak_mebibytes": raw["peak_mebibytes"],
        "prompt_ids_sha256": raw["prompt_ids_sha256"],
        "settings": raw["settings"],
    }
