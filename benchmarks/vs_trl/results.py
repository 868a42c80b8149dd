"""What the runs come to: ratios pair by pair, their medians, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from statistics import median
from typing import Any

from rich.table import Table

from manyminds.checkpoint import versions
from manyminds.machine import machine
from vs_trl.workloads import Workload

Runs = Sequence[Mapping[str, Any]]


def paired(runs: Runs, workload: str, over: str, under: str, figure: str) -> dict[str, Any] | None:
    """TRL's time over ours in every pair that has both, with median, lowest and highest; None if no pair has."""
    taken = {(run["pair"], run["variant"]): run[figure] for run in runs if run["workload"] == workload}
    pairs = sorted({pair for pair, _ in taken})
    ratios = [taken[p, over] / taken[p, under] for p in pairs if (p, over) in taken and (p, under) in taken]
    if not ratios:
        return None
    return {"median": median(ratios), "low": min(ratios), "high": max(ratios), "pairs": ratios, "over": over}


def medians(runs: Runs, workload: str, figure: str) -> dict[str, float]:
    """A figure's median over pairs by variant."""
    its = [run for run in runs if run["workload"] == workload]
    variants = dict.fromkeys(run["variant"] for run in its)
    return {name: median(run[figure] for run in its if run["variant"] == name) for name in variants}


def compared(runs: Runs, workloads: Sequence[Workload]) -> dict[str, Any]:
    """Ratios of these workloads, by wall and by processor time, and the medians they were made of.

    Raises AssertionError if the sides of a workload were asked different prompts.
    """
    names = [workload.name for workload in workloads]
    for name in names:
        assert len({run["prompt_ids_sha256"] for run in runs if run["workload"] == name}) == 1, "unequal prompts"
    spread: dict[str, dict[str, Any]] = {}
    for figure, suffix in (("seconds_per_step", ""), ("cpu_seconds_per_step", "_cpu")):
        for key, ours in (("ratios", "float32"), ("ratios_mixed", "mixed")):
            trl = {workload.name: ours if ours == "float32" else workload.trl_best for workload in workloads}
            its = {name: paired(runs, name, f"trl {trl[name]}", f"manyminds {ours}", figure) for name in names}
            spread[key + suffix] = {name: found for name, found in its.items() if found}
    figures = ("seconds_per_step", "cpu_seconds_per_step", "sampled_tokens_per_step", "peak_mebibytes")
    return {
        **{key: {name: one["median"] for name, one in its.items()} for key, its in spread.items()},
        "spread": spread,
        **{figure: {name: medians(runs, name, figure) for name in names} for figure in figures},
    }


def context() -> dict[str, Any]:
    """Machine and versions."""
    return {
        "machine": machine(),
        "versions": versions() | {name: metadata.version(name) for name in ("trl", "accelerate", "datasets")},
    }


def table(found: Mapping[str, Any]) -> Table:
    """A line per workload and variant: seconds, tokens a second, peak memory, TRL's time over ours with its range."""
    made = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("workload", "variant", "s/step", "tokens/s", "MiB", "TRL / ours", "range"):
        made.add_column(column, justify="left" if column in ("workload", "variant") else "right", no_wrap=True)
    spread = found["spread"]
    for name, seconds in found["seconds_per_step"].items():
        for variant, taken in seconds.items():
            rate = found["sampled_tokens_per_step"][name][variant] / taken
            key = {"manyminds float32": "ratios", "manyminds mixed": "ratios_mixed"}.get(variant)
            ratio = spread[key].get(name) if key else None
            cells = (f"{ratio['median']:.2f}", f"{ratio['low']:.2f} to {ratio['high']:.2f}") if ratio else ("", "")
            memory = f"{found['peak_mebibytes'][name][variant]:,.0f}"
            made.add_row(name, variant, f"{taken:.3f}", f"{rate:,.0f}", memory, *cells)
    return made
