"""Does credit that seeks risk leave a local optimum that the mean reward is caught in? The bandit of the RS-GRPO paper.

    python benchmarks/rs_grpo_bandit.py [--updates 25000] [--seeds 10] [--json]
        [--out benchmarks/results/rs_grpo_bandit.json] [--plot benchmarks/results/rs_grpo_bandit.png]

A hundred arms, whose reward is .1 and two hills: .5 high around arm 75, .9 around arm 40. The policy, a softmax over
the arms, starts on the lower hill: a Gaussian of deviation 5 around arm 75 over a floor of a tenth of its height.
An update draws 16 arms from it, credits them by the library's `rs_grpo` (beta 0 is the mean reward), and takes one step
of learning rate .1 up the policy gradient. The setting is that of the authors' `codes/bandit.py` (arXiv 2509.24261).
Claimed: with beta 0 and 2 every seed ends on the lower hill, with beta 4 and 8 on the higher one, at its top or beside
it. All betas and seeds run side by side, on one thread; takes about half a minute.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give
from torch import Tensor

from manyminds.checkpoint import versions
from manyminds.machine import machine
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.records import Progress
from manyminds.report.drawing import WIDTH, canvas

ARMS, DRAWN, RATE, SPREAD = 100, 16, 0.1, 5.0
START, BEST = 75, 40
BETAS, SEEDS, UPDATES, POINTS = (0.0, 2.0, 4.0, 8.0), 10, 25_000, 100
DUE = {0.0: START, 2.0: START, 4.0: BEST, 8.0: BEST}
"""The claim: on which hill each beta ends."""
NEAR = 5
"""So many arms around its top are a hill."""
INK, MUTED, RULE, PAGE = "#1d1d1f", "#6b6b70", "#e4e2dc", "#fdfcf9"
COLOURS = ("#6b6b70", "#0072b2", "#c96a00", "#9b4f96")
"""The report's, as its style sheet has them by day."""


def hill(middle: int) -> Tensor:
    """A Gaussian of height 1 over the arms."""
    return torch.exp(-((torch.arange(ARMS, dtype=torch.float64) - middle) ** 2) / (2 * SPREAD**2))


def rewards() -> Tensor:
    """What each arm pays."""
    return 0.1 + 0.9 * hill(BEST) + 0.5 * hill(START)


def start() -> Tensor:
    """The logits of the first policy."""
    return (hill(START) + 0.1).log()


def bandit(betas: Sequence[float], seeds: int, updates: int, points: int) -> tuple[list[int], Tensor, Tensor]:
    """Updates after which one looks; the expected reward there, [betas, seeds, points]; the likeliest arm at last."""
    methods = [RSGRPO(beta=beta) for beta in betas]
    now, pays, logits = Progress(1, 0.0), rewards(), start().repeat(len(betas) * seeds, 1)
    generator = torch.Generator().manual_seed(0)
    when = sorted({max(round(updates * (i + 1) / points), 1) for i in range(points)})
    told = []
    for update in range(1, updates + 1):
        policy = logits.softmax(-1)
        drawn = torch.multinomial(policy, DRAWN, replacement=True, generator=generator)
        groups = pays[drawn].unflatten(0, (len(betas), seeds))
        credit = torch.cat([method.advantage(its, now) for method, its in zip(methods, groups, strict=True)])
        # d/d logits of sum A log softmax: an arm's own credit, less its probability times all the credit
        logits -= RATE / DRAWN * credit.sum(-1, keepdim=True) * policy
        logits.scatter_add_(-1, drawn, RATE / DRAWN * credit)
        if update == when[len(told)]:
            told.append((logits.softmax(-1) @ pays).unflatten(0, (len(betas), seeds)))
    return when, torch.stack(told, -1), logits.argmax(-1).unflatten(0, (len(betas), seeds))


def by_beta(betas: Sequence[float], when: Sequence[int], told: Tensor, arms: Tensor) -> list[dict[str, Any]]:
    """A row for each beta: where its seeds end, what they expect there, and their way."""
    return [
        {
            "beta": beta,
            "reward": its[:, -1].mean().item(),
            "rewards": its[:, -1].tolist(),
            "arms": last.tolist(),
            "on_the_higher_hill": sum(abs(arm - BEST) <= NEAR for arm in last.tolist()),
            "after_updates": list(when),
            "mean_by_update": [round(value, 4) for value in its.mean(0).tolist()],
            "least_by_update": [round(value, 4) for value in its.amin(0).tolist()],
            "most_by_update": [round(value, 4) for value in its.amax(0).tolist()],
        }
        for beta, its, last in zip(betas, told, arms, strict=True)
    ]


def as_claimed(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every seed of every beta ends on the hill it is said to."""
    return all(abs(arm - DUE[row["beta"]]) <= NEAR for row in rows for arm in row["arms"])


def draw(rows: Sequence[Mapping[str, Any]], place: Path) -> None:
    """What the arms pay and where the policy starts; and the expected reward, the mean over seeds in their range."""
    figure, ((left, right),) = canvas(1, 2, height=400, width=0.9 * WIDTH)
    figure.set_facecolor(PAGE)
    dressed(left, "The arms", "arm")
    left.plot(rewards().tolist(), color=INK, linewidth=1.8, label="reward")
    first = start().softmax(-1)
    left.fill_between(range(ARMS), (first / first.max() * 0.3).tolist(), color=MUTED, alpha=0.25, linewidth=0)
    left.text(START, 0.05, "first policy", color=INK, fontsize=11.5, ha="center")
    dressed(right, "Expected reward", "updates")
    for row, colour in zip(rows, COLOURS, strict=False):
        band = (row["least_by_update"], row["most_by_update"])
        right.fill_between(row["after_updates"], *band, color=colour, alpha=0.2, linewidth=0)
        right.plot(
            row["after_updates"], row["mean_by_update"], color=colour, linewidth=1.8, label=f"beta {row['beta']:g}"
        )
    right.legend(frameon=False, labelcolor=INK, fontsize=11.5, loc="lower right")
    right.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    left.set_ylim(0, 1.05)
    figure.savefig(place, dpi=144)


def dressed(axes: Any, title: str, below: str) -> None:
    """The report's dress, in colours that stand outside its page."""
    axes.set_facecolor(PAGE)
    axes.set_title(title, loc="left", color=INK, fontsize=13.5, fontweight="bold", pad=10)
    axes.set_xlabel(below)
    axes.xaxis.label.set_color(MUTED)
    axes.tick_params(which="both", color=MUTED, labelcolor=MUTED)
    axes.grid(True, axis="y", color=RULE)
    axes.spines["bottom"].set_color(MUTED)


def show(found: Mapping[str, Any], text: Console) -> None:
    """Where each beta ends, and whether that is what is claimed."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("beta", "expected reward", "lowest", "highest", "arms", "higher hill"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found["rows"]:
        arms, its = sorted(set(row["arms"])), row["rewards"]
        near = f"{row['on_the_higher_hill']}/{len(its)}"
        numbers = (f"{value:.3f}" for value in (row["reward"], min(its), max(its)))
        table.add_row(f"{row['beta']:g}", *numbers, ", ".join(map(str, arms)), near)
    text.print(table, "")
    text.print(f"beta 0 and 2 are caught, 4 and 8 are not: {'yes' if found['as_claimed'] else 'NO'}")


def main(
    updates: Annotated[int, typer.Option(min=1, help="Updates of each policy.")] = UPDATES,
    seeds: Annotated[int, typer.Option(min=1, help="Policies of each beta.")] = SEEDS,
    as_json: AsJson = False,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure there, a PNG.")] = None,
) -> None:
    """Does credit that seeks risk leave a local optimum that the mean reward is caught in?"""
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows = by_beta(BETAS, *bandit(BETAS, seeds, updates, POINTS))
    found = {
        "command": f"python benchmarks/rs_grpo_bandit.py --updates {updates} --seeds {seeds}",
        "machine": machine(),
        "versions": versions(),
        "seeds": seeds,
        "updates": updates,
        "rows": rows,
        "as_claimed": as_claimed(rows),
        "wall_seconds": time.perf_counter() - began,
    }
    if plot is not None:
        draw(rows, plot)
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
