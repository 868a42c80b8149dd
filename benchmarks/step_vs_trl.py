"""How long does one GRPO step take in TRL's GRPOTrainer and in manyminds, for exactly the same job?

    python benchmarks/step_vs_trl.py [--workloads warm,worst,m25] [--pairs 5] [--threads N] [--precision both]
                                     [--json] [--out benchmarks/results/step_vs_trl.json] [--tune]

Needs manyminds[bench]. Each side is a process of its own: the same model folder, tokenizer, prompts, answers per
prompt, lengths, threads, learning rate and AdamW, temperature 1, no KL, one optimiser step per batch. After their first
two steps the sides take turns, now one first and now the other; one waits while the other works, so that what else the
machine does falls on both. A ratio is TRL's time over ours within a pair of turns, and the median over pairs counts.
For `ratios` both sides compute in float32; for `ratios_mixed` ours is mixed (linear layers in bfloat16) and TRL's the
faster of float32 and its own bf16. What each side must have done is asserted in its process, and here that both were
asked the same.

Use a machine that does nothing else: where two threads share a core with another program, a step may take ten times as
long. `load` in the JSON says how many processes ran when a run began.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from telling import AsJson, Out, give, tell
from vs_trl.launch import Side, Variant, environment, figures
from vs_trl.results import compared, context, table
from vs_trl.workloads import WORKLOADS, Workload, describe, model_folder, tiny

ROWS = (0, 32, 16)
"""TRL's micro-batches that --tune tries, in answers; 0 is all at once."""


class Precision(StrEnum):
    """What is timed of manyminds."""

    float32 = "float32"
    mixed = "mixed"
    both = "both"


def variants(workload: Workload, precision: Precision) -> list[Variant]:
    """What runs in a pair, in this order: ours in each precision, and before it the TRL it is compared with."""
    ours = [name for name in ("float32", "mixed") if precision in (name, Precision.both)]
    compared = {name: workload.trl_best if name == "mixed" else name for name in ours}
    made: list[Variant] = []
    for name in ours:
        trl = Variant("trl", compared[name], workload.trl_rows[compared[name]])
        made += [*([] if trl in made else [trl]), Variant("manyminds", name)]
    return made


def tuning(workload: Workload) -> Iterator[Variant]:
    """TRL alone, in all that may make it faster on a CPU."""
    for precision in ("float32", "mixed"):
        for rows in ROWS:
            if rows < workload.completions and not workload.completions % (rows or 1):
                yield Variant("trl", precision, rows)
    best = workload.trl_rows["float32"]
    yield Variant("trl", "float32", best, {"cache_implementation": "static"})
    yield Variant("trl", "float32", best, {"attn_implementation": "eager"})
    yield Variant("trl", "float32", best, malloc=False)


def chosen(names: list[str] | None, small: bool) -> list[Workload]:
    """The workloads of these names, which may be joined by commas; all without any."""
    wanted = [name for one in names or WORKLOADS for name in one.replace(",", " ").split()]
    for name in wanted:
        if name not in WORKLOADS:
            raise typer.BadParameter(f"there is no workload '{name}'; known are {', '.join(WORKLOADS)}")
    return [tiny(WORKLOADS[name]) if small else WORKLOADS[name] for name in wanted]


def measure(workload: Workload, variants: Sequence[Variant], threads: int) -> list[dict[str, Any]]:
    """The figures of all variants in all pairs. Each runs while the others wait, in this order or, every other pair, in
    reverse."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder, sides, loads = model_folder(workload, Path(place)), [], []
        for variant in variants:
            sides.append(Side(workload, variant, folder, threads))
            stack.callback(sides[-1].close)
        for pair in range(workload.pairs):
            loads.append(os.getloadavg()[0])
            for side in sides if pair % 2 == 0 else reversed(sides):
                began = time.perf_counter()
                side.step()
                tell(f"{pair + 1}: {side.name}: {time.perf_counter() - began:.2f} s for {workload.timed} steps")
        found = [side.finish() for side in sides]  # none ends, which takes time, while another is timed
        return [
            {"load": load, **figures(workload, side.variant, raw, pair)}
            for pair, load in enumerate(loads)
            for side, raw in zip(sides, found, strict=True)
        ]


def main(
    workloads: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(WORKLOADS)}; several by commas or repeated; default all.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="How often the sides run in turn.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads of either side.")] = os.cpu_count() or 1,
    precision: Annotated[Precision, typer.Option(help="What is timed of manyminds.")] = Precision.both,
    as_json: AsJson = False,
    out: Out = None,
    tune: Annotated[bool, typer.Option("--tune", help="Time TRL alone, under all settings that may suit it.")] = False,
    small: Annotated[bool, typer.Option("--tiny", help="Jobs of no size, to try the script.")] = False,
) -> None:
    """How long does one GRPO step take in TRL's GRPOTrainer and in manyminds, for exactly the same job?"""
    if find_spec("trl") is None:
        raise typer.BadParameter("TRL is not installed; install manyminds[bench]")
    began = time.perf_counter()
    its, runs = [replace(workload, pairs=pairs) for workload in chosen(workloads, small)], []
    for workload in its:
        which = list(tuning(workload)) if tune else variants(workload, precision)
        runs += measure(workload, which, threads)
    head = {
        "command": f"python benchmarks/step_vs_trl.py --workloads {','.join(w.name for w in its)} --pairs {pairs} "
        f"--threads {threads} --precision {precision}{' --tune' if tune else ''}{' --tiny' if small else ''}",
        "threads": threads,
        "environment": environment(threads, malloc=True),
        "wall_seconds": time.perf_counter() - began,
        "workloads": {workload.name: describe(workload) for workload in its},
    }
    found = {**compared(runs, [] if tune else its), **head, **context(), "runs": runs}
    give(found, None if tune else lambda text: text.print(table(found)), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
