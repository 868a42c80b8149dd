"""How long, and for how many sampled tokens, do the experts have to train until they are right often enough?

    python benchmarks/time_to_target.py [--level 60] [--every 20] [--arms meml_grpo,grpo,trl] [--threads N]
                                        [--json] [--out benchmarks/results/time_to_target.json]

Needs manyminds[bench]. MEML-GRPO (preset tuned) and GRPO over all experts in manyminds, and GRPO over all experts in
TRL, each in a process of its own and one after the other: all from the shipped checkpoint that `manyminds demo` begins
with, with the demo's questions, learning rate and schedule. Every few updates the greedy accuracy on validation
questions is measured, by the same code in all arms and with the clocks stopped; the target is its mean over the three
expert prompts. An arm ends at the target, or when it has sampled as many tokens as the demo allows: then it did not
reach the target, and what is told of it is a lower bound. One seed; a curve moves by one or two points by chance.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell
from vs_trl.launch import PATH, environment
from vs_trl.target import POINT
from vs_trl.workloads import recipe

from manyminds.checkpoint import versions
from manyminds.machine import machine

ARMS = {
    "meml_grpo": {"side": "manyminds", "method": "meml_grpo"},
    "grpo": {"side": "manyminds", "method": "grpo"},
    "trl": {"side": "trl", "method": "grpo"},
}
TITLES = {"meml_grpo": "MEML-GRPO, manyminds", "grpo": "GRPO, manyminds", "trl": "GRPO, TRL"}


def run(spec: dict[str, Any], place: Path, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The arm's curve and what it ended with. Raises RuntimeError, with what the child said last, if it failed."""
    out, log = place / "arm.json", place / "arm.log"
    out.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(PATH), os.environ.get("PYTHONPATH", "")]))
    with log.open("w", encoding="utf-8") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "vs_trl.target", json.dumps(spec), str(out)],
            env={**os.environ, "PYTHONPATH": path, **environment(spec["threads"], malloc=True)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with child:
            for line in child.stdout or ():
                if line.startswith(POINT):
                    tell(json.loads(line.removeprefix(POINT)))
    if child.returncode or not out.exists():
        last = "\n".join(log.read_text(encoding="utf-8").strip().splitlines()[-12:])
        raise RuntimeError(f"{spec['side']}, {spec['method']}: the run failed ({child.returncode})\n{last}")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def against(arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """TRL's seconds, tokens and updates over each other arm's, where that arm reached the target.

    If TRL did not, each is a lower bound.
    """
    other = arms.get("trl")
    figures = ("seconds", "sampled_tokens", "updates")
    return {
        name: {"lower_bound": not other["reached"], **{key: other[key] / arm[key] for key in figures}}
        for name, arm in arms.items()
        if other and name != "trl" and arm["reached"] and arm["updates"]
    }


def show(found: dict[str, Any], text: Console) -> None:
    """A line per arm, and its curve."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("arm", "target", "seconds", "tokens", "updates", "TRL's seconds"):
        table.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    for name, arm in found["arms"].items():
        ratio = found["trl_over"].get(name)
        least = "at least " if ratio and ratio["lower_bound"] else ""
        table.add_row(
            TITLES[name],
            "reached" if arm["reached"] else f"missed: {100 * arm['mean']:.1f} %",
            f"{arm['seconds']:.1f}",
            f"{arm['sampled_tokens']:,}",
            str(arm["updates"]),
            f"{least}{ratio['seconds']:.1f} times" if ratio else "",
        )
    text.print(f"Target: {found['level']:g} % right on {found['questions']} validation questions, mean of the experts.")
    text.print(table)
    for name, arm in found["arms"].items():
        curve = ", ".join(f"{point['updates']}: {100 * point['mean']:.1f}" for point in arm["curve"])
        text.print(f"{TITLES[name]}, % by updates: {curve}", highlight=False, soft_wrap=True)


def main(
    level: Annotated[float, typer.Option(min=0, max=100, help="The target, in %.")] = 60.0,
    every: Annotated[int, typer.Option(min=1, help="Updates from one evaluation to the next.")] = 20,
    arms: Annotated[str, typer.Option(help="Which, by commas.")] = ",".join(ARMS),
    questions: Annotated[int, typer.Option(min=1, help="Validation questions of an evaluation.")] = 300,
    sampled_tokens: Annotated[int | None, typer.Option(min=1, help="The budget; default: the demo's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The schedule's length; default: the demo's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of an arm.")] = os.cpu_count() or 1,
    precision: Annotated[str, typer.Option(help="Of manyminds: float32 or mixed.")] = "float32",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How long, and for how many sampled tokens, do the experts have to train until they are right often enough?"""
    names = arms.split(",")
    if unknown := sorted({*names} - {*ARMS}):
        raise typer.BadParameter(f"there is no arm '{unknown[0]}'; known are {', '.join(ARMS)}")
    if "trl" in names and find_spec("trl") is None:
        raise typer.BadParameter("TRL is not installed; install manyminds[bench], or leave the arm trl out")
    its, began = recipe(), time.perf_counter()
    common = {
        "level": level / 100,
        "every": every,
        "questions": questions,
        "sampled_tokens": sampled_tokens or its.sampled_tokens,
        "steps": steps or its.steps,
        "threads": threads,
        "precision": precision,
    }

    def note(name: str, point: dict[str, Any]) -> None:
        words = f"{TITLES[name]}: {point['updates']} updates, {point['seconds']:.1f} s, {100 * point['mean']:.1f} %"
        tell(words)

    with tempfile.TemporaryDirectory() as place:
        done = {name: run({**ARMS[name], **common}, Path(place), partial(note, name)) for name in names}
    extra = {name: metadata.version(name) for name in ("trl", "accelerate", "datasets") if "trl" in names}
    found = {
        **common,
        "level": level,
        "trl_over": against(done),
        "command": f"python benchmarks/time_to_target.py --level {level:g} --every {every} --arms {arms} "
        f"--questions {questions} --threads {threads} --precision {precision}",
        "environment": environment(threads, malloc=True),
        "machine": machine(),
        "versions": versions() | extra,
        "wall_seconds": time.perf_counter() - began,
        "arms": done,
    }
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
