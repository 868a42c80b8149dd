"""How does the cost of a training step grow with questions, answers, experts, length and vocabulary?

    python benchmarks/scaling.py [--rounds 3] [--json] [--out benchmarks/results/scaling.json] [--plot scaling.png]

One factor at a time doubles around a base point: 4 questions, 8 answers of 64 tokens to each, one expert, 1,024 words,
a Llama of 1.1 million parameters. Sampling is timed apart, the rest of a step is its update, both by processor time on
one thread, the least of all rounds. Slopes are fitted on log-log axes: 1 is linear. Beside each stands that of the
least time which this machine would need (manyminds/limits.py): attention reads a longer cache for every token, so in
length it is above 1. Claimed: the step is linear in what it samples, no slope exceeds both 1 and its least by over 0.1;
and memory has no part that grows with vocabulary times length. For that the peak of one step is read in fresh processes
at both ends of either: if an update held its logits, their corner would stand out by `logits_mebibytes`. Takes three
minutes on one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from fresh import MIB, called, needs_linux, peak
from one_step import HALVES, Point, Station
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds.checkpoint import versions
from manyminds.limits import Limits, measure, roofline_seconds
from manyminds.machine import machine
from manyminds.policy.fitting import TOKENS_ON_CPU
from manyminds.report.drawing import WIDTH, canvas

BASE = Point()
FACTORS: dict[str, tuple[int, ...]] = {
    "questions": (1, 2, 4, 8, 16),
    "answers": (2, 4, 8, 16, 32),
    "experts": (1, 2, 4, 8),
    "length": (16, 32, 64, 128, 256),
    "vocabulary": (1024, 2048, 4096, 8192, 16384),
}
STEEPER = 0.1
"""How much steeper than linear, and than the least, a cost may grow."""
FLAT = 0.25
"""The share of the logits of a micro-batch by which the corner of vocabulary and length may stand out."""
INK, MUTED, RULE, PAGE = "#1d1d1f", "#6b6b70", "#e4e2dc", "#fdfcf9"
COLOURS = ("#0072b2", "#c96a00", "#9b4f96", "#2a9ec4", "#7a6a00")
"""The report's, as its style sheet has them by day."""
Tell = Callable[[str], None]
Seconds = Mapping[Point, Mapping[str, float]]


def points(base: Point, factors: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], Point]:
    """A point for each value of each factor."""
    return {(name, value): replace(base, **{name: value}) for name, values in factors.items() for value in values}


def timed(its: Sequence[Point], rounds: int, limits: Limits, tell: Tell) -> tuple[Seconds, Seconds]:
    """Of each point's halves the shortest in all rounds, and the least by the limits; a round is a step of each."""
    stations = {point: Station(point) for point in its}
    taken = []
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        taken.append({point: station.step() for point, station in stations.items()})
    shortest = {point: {half: min(one[point][half] for one in taken) for half in HALVES} for point in stations}
    work = {point: station.needed() for point, station in stations.items()}
    least = {point: {half: roofline_seconds(its[half], limits) for half in HALVES} for point, its in work.items()}
    return shortest, least


def slope(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the straight line through the points on log-log axes."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def by_factor(its: Mapping[tuple[str, int], Point], taken: Seconds, least: Seconds) -> dict[str, Any]:
    """A row for each value of each factor, and the slopes of either half and of its least."""
    found: dict[str, Any] = {}
    for (name, value), point in its.items():
        row = {"value": value, "sampled_tokens": point.tokens, **taken[point]}
        row |= {f"least_{half}": least[point][half] for half in HALVES}
        row["cpu_seconds_per_token"] = sum(taken[point].values()) / point.tokens
        found.setdefault(name, {"rows": []})["rows"].append(row)
    for one in found.values():
        for name, key in (("slopes", "{}"), ("least_slopes", "least_{}")):
            values = [row["value"] for row in one["rows"]]
            one[name] = {half: slope(values, [row[key.format(half)] for row in one["rows"]]) for half in HALVES}
    return found


def steep(factors: Mapping[str, Any]) -> list[str]:
    """What grows faster than it must."""
    return [
        f"{half} in {name}"
        for name, its in factors.items()
        for half in HALVES
        if its["slopes"][half] > max(1.0, its["least_slopes"][half]) + STEEPER
    ]


def held(**sizes: int) -> dict[str, float]:
    """MiB of this process before and at most during one training step, and MiB of the weights."""
    torch.set_num_threads(1)
    station = Station(Point(**sizes))
    with peak() as found:
        station.step()
    weights = sum(p.numel() * p.element_size() for p in station.model.parameters()) / MIB
    # gradient and two moments; the weights themselves were held before
    return {**found, "weights": weights, "beyond_weights": found["peak"] - found["held"] - 3 * weights}


def memory(base: Point, words: Sequence[int], lengths: Sequence[int], tell: Tell) -> dict[str, Any]:
    """Peaks over vocabulary and over length, and by how much their corner stands out from what either adds alone."""
    ends = [(v, t) for v in (words[0], words[-1]) for t in (lengths[0], lengths[-1])]
    rows: dict[tuple[int, int], dict[str, float]] = {}
    for vocabulary, length in dict.fromkeys([*((v, base.length) for v in words), *ends]):
        tell(f"memory at {vocabulary:,} words and {length} tokens")
        its = called("scaling", "held", asdict(replace(base, vocabulary=vocabulary, length=length)))
        rows[vocabulary, length] = {"vocabulary": vocabulary, "length": length, **its}
    none, long, wide, corner = (rows[end]["beyond_weights"] for end in ends)
    extra, tokens = corner - long - wide + none, replace(base, length=lengths[-1]).tokens
    logits = min(TOKENS_ON_CPU, tokens) * words[-1] * 4 / MIB
    verdict = {"extra_mebibytes": extra, "logits_mebibytes": logits, "flat": extra <= FLAT * logits}
    return {"rows": list(rows.values()), **verdict}


def draw(factors: Mapping[str, Any], base: Point, place: Path) -> None:
    """Seconds of sampling and of the update against each factor, in multiples of the base point, on log-log axes."""
    figure, panels = canvas(1, len(HALVES), height=430, width=0.8 * WIDTH)
    figure.set_facecolor(PAGE)
    for axes, half in zip(panels[0], HALVES, strict=True):
        dressed(axes, half.capitalize())
        seconds = []
        for (name, its), colour in zip(factors.items(), COLOURS, strict=True):
            x, y = zip(*((row["value"] / getattr(base, name), row[half]) for row in its["rows"]), strict=True)
            label = f"{name} {its['slopes'][half]:.2f}"
            axes.plot(x, y, color=colour, marker="o", markersize=4.5, linewidth=1.8, label=label)
            seconds += [at for where, at in zip(x, y, strict=True) if where == 1]
        if seconds:
            line = [seconds[0] * end for end in (1 / 4, 4)]
            axes.plot([1 / 4, 4], line, color=MUTED, linestyle=(0, (2, 3)), linewidth=1.4, label="linear 1")
        axes.legend(frameon=False, labelcolor=INK, fontsize=11.5, title="slope", alignment="left")
    panels[0][0].set_ylabel("processor seconds of a step")
    figure.savefig(place, dpi=144)


def dressed(axes: Any, title: str) -> None:
    """The report's dress, in colours that stand outside its page."""
    axes.set_facecolor(PAGE)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_title(title, loc="left", color=INK, fontsize=13.5, fontweight="bold", pad=10)
    axes.set_xlabel("multiple of the base point")
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.tick_params(which="both", color=MUTED, labelcolor=MUTED)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.3g}")
    axes.grid(True, axis="y", color=RULE)
    axes.spines["bottom"].set_color(MUTED)


def show(found: Mapping[str, Any], text: Console) -> None:
    """The slopes of every factor, the memory of every point, and what of the claims holds."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("factor", "values", "sampling", "least", "update", "least", "CPU us/token"):
        table.add_column(column, justify="left" if column == "factor" else "right", no_wrap=True)
    for name, its in found["factors"].items():
        first, last = its["rows"][0], its["rows"][-1]
        slopes = [f"{its[which][half]:.2f}" for half in HALVES for which in ("slopes", "least_slopes")]
        rates = [f"{1e6 * row['cpu_seconds_per_token']:,.0f}" for row in (first, last)]
        table.add_row(name, f"{first['value']:,}-{last['value']:,}", *slopes, "-".join(rates))
    text.print(table, "")
    table = Table(header_style="bold", box=None, pad_edge=False)
    names = ("vocabulary", "length", "weights", "held", "peak", "beyond_weights")
    for column in ("words", "tokens", "weights, MiB", "held", "peak", "beyond weights"):
        table.add_column(column, justify="right")
    for row in found["memory"]["rows"]:
        table.add_row(*(f"{row[name]:,.0f}" for name in names))
    text.print(table, "")
    its = found["memory"]
    over = f"the corner stands out by {its['extra_mebibytes']:,.0f} MiB; logits would be {its['logits_mebibytes']:,.0f}"
    text.print(f"linear in sampled tokens: {'no: ' + ', '.join(found['steep']) if found['steep'] else 'yes'}")
    text.print(f"flat in vocabulary times length: {'yes' if its['flat'] else 'NO'}; {over}", soft_wrap=True)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Steps of every point; the fastest counts.")] = 3,
    as_json: AsJson = False,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure there, a PNG.")] = None,
) -> None:
    """How does the cost of a training step grow with questions, answers, experts, length and vocabulary?"""
    needs_linux()
    torch.set_num_threads(1)
    began, its, limits = time.perf_counter(), points(BASE, FACTORS), measure("cpu", "float32", 1)
    factors = by_factor(its, *timed(list(dict.fromkeys(its.values())), rounds, limits, tell))
    found = {
        "command": f"python benchmarks/scaling.py --rounds {rounds}",
        "machine": machine(),
        "versions": versions(),
        "threads": 1,
        "limits": asdict(limits),
        "base": asdict(BASE),
        "factors": factors,
        "steep": steep(factors),
        "memory": memory(BASE, FACTORS["vocabulary"], FACTORS["length"], tell),
        "wall_seconds": time.perf_counter() - began,
    }
    if plot is not None:
        draw(factors, BASE, plot)
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
