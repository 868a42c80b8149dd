"""How long until `import manyminds` is done, and until `manyminds --help` has answered?

    python benchmarks/startup.py [--processes 10] [--json] [--out benchmarks/results/startup.json]

Each in fresh processes, after one that fills the disk's cache; medians. A Python that does nothing stands beside them.
Claimed, by the clock: less than 0.3 s and 0.5 s, and nothing heavy imported on the way (tests/test_imports.py). Where
other work is going on (see "load") the clock shows the wait for a core; the processor's seconds stay what they are.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds import __version__
from manyminds.machine import machine

COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "python": (["-c", "pass"], None),
    "import manyminds": (["-c", "import manyminds"], 0.3),
    "manyminds --help": (["-m", "manyminds", "--help"], 0.5),
}
"""What is run by this Python, and the seconds that it may take."""


def once(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds by the clock and by the processor that one process took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(processes: int) -> dict[str, Any]:
    """Medians of every command, and whether each kept within its limit."""
    found = {}
    for name, (arguments, limit) in COMMANDS.items():
        tell(name)
        once(arguments)
        seconds, cpu = zip(*(once(arguments) for _ in range(processes)), strict=True)
        middle = statistics.median(seconds)
        found[name] = {
            "seconds": middle,
            "fastest": min(seconds),
            "cpu_seconds": statistics.median(cpu),
            "limit": limit,
            "within": None if limit is None else middle < limit,
        }
    versions = {"python": sys.version.split()[0], "manyminds": __version__}
    load = os.getloadavg()[0]
    return {"machine": machine(), "load": load, "versions": versions, "processes": processes, "commands": found}


def show(found: dict[str, Any], text: Console) -> None:
    """A line a command."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("command", "median s", "fastest s", "processor s", "limit s"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, one in found["commands"].items():
        cells = (one["seconds"], one["fastest"], one["cpu_seconds"], one["limit"])
        table.add_row(name, *("–" if cell is None else f"{cell:.2f}" for cell in cells))
    text.print(table)


def main(
    processes: Annotated[int, typer.Option(min=1, help="Of each command.")] = 10,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How long until `import manyminds` is done, and until `manyminds --help` has answered?"""
    found = measured(processes)
    give(found, partial(show, found), as_json=as_json, out=out)
    if not all(one["within"] is not False for one in found["commands"].values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
