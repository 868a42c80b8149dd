"""How large is an installation, and how long does it take: the core, and what each extra adds to it?

    python benchmarks/install.py [--extra NAME ...] [--json] [--out benchmarks/results/install.json]

Builds the wheel, installs it with `constraints.txt` into a fresh environment, adds one extra after the other (in the
order of pyproject.toml, unless named) and last runs `manyminds demo --quick` there, outside the repository. A step's
size is what the environment grew by: of two extras that share a package, the first one has it. Seconds hold what pip
downloads, if its cache does not have it, and the wait where other work is going on (see "load"). Takes some minutes and
2 GB of disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds.machine import machine

ROOT = Path(__file__).parents[1]
MB = 1_000_000
DEVELOPMENT = {"dev", "bench"}
"""Extras that users of a wheel have no use for."""


def extras() -> list[str]:
    """The extras of pyproject.toml that are for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name not in DEVELOPMENT]


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> tuple[str, float]:
    """What a command printed and the seconds it took. Raises RuntimeError with its last lines if it fails.

    It sees no PYTHONPATH: what it imports is what was installed.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began = time.perf_counter()
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**inherited, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise RuntimeError(f"{Path(command[0]).name} {' '.join(map(str, command[1:4]))} …: {said}")
    return done.stdout, time.perf_counter() - began


def size(folder: Path) -> int:
    """Bytes of all files below a folder; one that stands in several places counts once."""
    seen = {(found.st_dev, found.st_ino): found.st_size for found in (p.lstat() for p in folder.rglob("*"))}
    return sum(seen.values())


def build(folder: Path) -> Path:
    """The wheel, made in `folder`."""
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def packages(python: Path, folder: Path) -> dict[str, str]:
    """Version by name of everything that is installed."""
    listed = json.loads(run([python, "-m", "pip", "list", "--format", "json"], folder)[0])
    return {one["name"]: one["version"] for one in listed if one["name"] not in ("pip", "setuptools")}


def measured(names: Sequence[str]) -> dict[str, Any]:
    """Every installation step, and the demo at the end of them."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tell("building the wheel")
        wheel = build(folder)
        _, seconds = run([sys.executable, "-m", "venv", folder / "env"], folder)
        python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        steps = [{"what": "environment", "seconds": seconds, "mb": size(folder / "env") / MB, "packages": []}]
        for name in ("core", *names):
            tell(f"installing {name}")
            before, there = size(folder / "env"), packages(python, folder)
            wanted = str(wheel) if name == "core" else f"{wheel}[{name}]"
            install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wanted]
            _, seconds = run(install, folder)
            added = sorted({*packages(python, folder)} - {*there})
            grown = (size(folder / "env") - before) / MB
            steps.append({"what": name, "seconds": seconds, "mb": grown, "packages": added})
        demo = None
        if "demo" in names:
            tell("running manyminds demo --quick in it")
            said, seconds = run([python, "-m", "manyminds", "demo", "--quick", "--json"], folder)
            means = {arm: one["mean"]["value"] for arm, one in json.loads(said)["arms"].items()}
            demo = {"seconds": seconds, "mean": means}
        wheel_mb = wheel.stat().st_size / MB
        versions = {"python": sys.version.split()[0], **packages(python, folder)}
    head = {"machine": machine(), "load": os.getloadavg()[0], "wheel_mb": wheel_mb}
    return {**head, "steps": steps, "demo": demo, "versions": versions}


def show(found: dict[str, Any], text: Console) -> None:
    """A line a step."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("step", "MB", "seconds", "packages"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for step in found["steps"]:
        table.add_row(step["what"], f"{step['mb']:.0f}", f"{step['seconds']:.0f}", str(len(step["packages"])))
    text.print(table)
    text.print(f"The wheel has {found['wheel_mb']:.1f} MB.", highlight=False)
    if found["demo"]:
        text.print(f"manyminds demo --quick: {found['demo']['seconds']:.0f} s.", highlight=False)


def main(
    extra: Annotated[list[str] | None, typer.Option(help="Only this extra; may be repeated.")] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How large is an installation, and how long does it take: the core, and what each extra adds to it?"""
    unknown = sorted({*(extra or ())} - {*extras()})
    if unknown:
        raise typer.BadParameter(f"there is no extra '{unknown[0]}' for users; known are {', '.join(extras())}")
    found = measured(extra or extras())
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
