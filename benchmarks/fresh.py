"""One function in a process of its own, and the most memory that a part of it held. Linux only: it reads /proc.

    called("memory", "ours", {"vocabulary": 1000})      memory.ours(vocabulary=1000), in a child

Peaks are the process's own high-water mark (VmHWM), begun anew where the part begins. `ru_maxrss` would not do: what
the parent held when it started a child counts there as the child's.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from vs_trl.launch import PATH, environment

MIB = 2**20
LARGEST = 20 * 2**30
"""Bytes of data that a child may have; beyond, it fails instead of taking the machine with it."""


class Failed(RuntimeError):
    """The child ended without a result; the message is the last it said."""


def called(
    module: str,
    function: str,
    values: Mapping[str, Any],
    *,
    threads: int = 1,
    largest: int = LARGEST,
) -> Any:
    """What the function of a module in benchmarks/ returns in a fresh process. Raises Failed if it does not."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "result.json"
        path = os.pathsep.join(filter(None, [str(PATH), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(
            [sys.executable, __file__, module, function, json.dumps(values), str(out), str(largest)],
            env={**os.environ, "PYTHONPATH": path, **environment(threads, malloc=False)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not out.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise Failed(f"{module}.{function}({dict(values)}): {last[0]}")
        return json.loads(out.read_text(encoding="utf-8"))


def needs_linux() -> None:
    """Says so, and exits, where peaks cannot be read."""
    if not Path("/proc/self/clear_refs").exists():
        typer.echo(
            "Peaks of memory are read from /proc/self, which this system does not have: run it on Linux.", err=True
        )
        raise typer.Exit(2)


@contextmanager
def peak() -> Iterator[dict[str, float]]:
    """MiB of this process: "held" when it is entered, and once it is left "peak", the most it held within."""
    found = {"held": _kibibytes("VmRSS") / 1024}
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark begins anew
    yield found
    found["peak"] = _kibibytes("VmHWM") / 1024


def _kibibytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Run what the command line says."""
    module, function, values, out, largest = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_DATA, (int(largest), int(largest)))
    found = getattr(importlib.import_module(module), function)(**json.loads(values))
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
