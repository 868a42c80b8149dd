"""What the runs come to: ratios pair by pair, their medians, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from statistics import median
from typing import Any

from rich.table import Table

from manyminds.checkpoint import versions
from manyminds.machine import machine

Runs = Sequence[Mapping[str, Any]]


def paired(runs: Runs, workload: str, over: str, under: str, figure: str = "seconds_per_step") -> dict[str, Any] | None:
    """TRL's time over ours in every pair that has both, with median, lowest and highest; None if no pair has."""
    taken = {(run["pair"], run["variant"]): run[figure] for run in runs if run["workload"] == workload}
    pairs = sorted({pair for pair, _ in taken})
    ratios = [taken[p, over] / taken[p, under] for p in pairs if (p, over) in taken and (p, under) in taken]
    if not ratios:
        return None
    return {"median": median(ratios), "low": min(ratios), "high": max(ratios), "pairs": ratios, "over": over}


def medians(runs: Runs, workload: str, figure: str = "seconds_per_step") -> dict[str, float]:
    """A figure's median over pairs by variant."""
    its = [run for run in runs if run["workload"] == workload]
    variants = dict.fromkeys(run["variant"] for run in its)
    return {name: median(run[figure] for run in its if run["variant"] == name) for name in variants}


def gathered(runs: Runs, workloads: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object: ratios first, then everything they were made of.

    Raises AssertionError if the sides of a workload were asked different prompts.
    """
    for name in workloads:
        assert len({run["prompt_ids_sha256"] for run in runs if run["workload"] == name}) == 1, "unequal prompts"
    compared: dict[str, dict[str, Any]] = {}
    for figure, suffix in (("seconds_per_step", ""), ("cpu_seconds_per_step", "_cpu")):
        for key, ours in (("ratios", "manyminds float32"), ("ratios_mixed", "manyminds mixed")):
            its = {}
            for name, one in workloads.items():
                trl = "trl float32" if key == "ratios" else f"trl {one['trl_best']}"
                its[name] = paired(runs, name, trl, ours, figure)
            compared[key + suffix] = {name: found for name, found in its.items() if found}
    return {
        **{key: {name: one["median"] for name, one in its.items()} for key, its in compared.items()},
        "spread": compared,
        "seconds_per_step": {name: medians(runs, name) for name in workloads},
        "sampled_tokens_per_step": {name: medians(runs, name, "sampled_tokens_per_step") for name in workloads},
        "peak_mebibytes": {name: medians(runs, name, "peak_mebibytes") for name in workloads},
        **head,
        "machine": machine(),
        "versions": versions() | {name: metadata.version(name) for name in ("trl", "accelerate", "datasets")},
        "workloads": dict(workloads),
        "settings": {f"{run['workload']}, {run['variant']}": run["settings"] for run in runs},
        "runs": [{key: value for key, value in run.items() if key != "settings"} for run in runs],
    }


def table(found: Mapping[str, Any]) -> Table:
    """A line per workload and variant: seconds, tokens a second, memory, and TRL's time over ours."""
    made = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("workload", "variant", "s/step", "tokens/s", "peak MiB", "TRL / ours", "range over pairs"):
        made.add_column(column, justify="left" if column in ("workload", "variant") else "right")
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
