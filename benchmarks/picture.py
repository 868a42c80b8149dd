"""How far do the ablation's arms come, seed by seed? Draws what README.md shows.

    python benchmarks/picture.py [--out benchmarks/results/ablation.png]

Reads benchmarks/results/ablation.json. A dot is a seed, a tick the mean over an arm's seeds, a bar its 95 % interval
over seeds (Student's t; none for fewer than three seeds).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from tables import ARMS, RESULTS

OUTCOMES = {"mean": "mean over expert prompts", "plain": "plain prompt"}
LEVELS = ("weak", "demo", "strong")
INK, MUTED, RULE, ACCENT = "#222222", "#8a8f98", "#e4e6ea", "#b5482a"


def accuracies(cells: Sequence[Mapping[str, Any]], level: str, arm: str, outcome: str) -> list[float]:
    """Test accuracy in percent of every seed of an arm."""
    its = [cell["metrics"] for cell in cells if cell["level"] == level and cell["arm"] == arm]
    return [100 * metrics[outcome]["value"] for metrics in its]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean over seeds."""
    if len(values) < 3:
        return None
    low, high = stats.t.interval(0.95, len(values) - 1, loc=fmean(values), scale=stats.sem(values))
    return float(low), float(high)


def panel(
    axes: Axes,
    cells: Sequence[Mapping[str, Any]],
    level: str,
    outcome: str,
    arms: Mapping[str, str],
    accent: str = "meml",
) -> None:
    """One outcome at one level of the warm-up: an arm (by its title) a line, from the top.

    Arms whose names begin with `accent` stand out.
    """
    for place, arm in enumerate(arms):
        values = accuracies(cells, level, arm, outcome)
        if not values:
            continue
        colour = ACCENT if arm.startswith(accent) else INK
        if span := interval(values):
            axes.plot(span, [place, place], color=colour, linewidth=6, alpha=0.2, solid_capstyle="butt")
        axes.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.55, markeredgewidth=0)
        axes.plot([fmean(values)], [place], "|", color=colour, markersize=15, markeredgewidth=2)
    axes.set_yticks(range(len(arms)), [title.replace("*", "") for title in arms.values()])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    cleared(axes, "x")


def cleared(axes: Axes, grid: Literal["x", "both"]) -> None:
    """Nothing but a quiet grid around what is drawn."""
    axes.grid(True, axis=grid, color=RULE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)


def drawn(found: Mapping[str, Any]) -> Figure:
    """Levels across, outcomes down, for the levels and arms that were run."""
    cells = found["cells"]
    levels = [level for level in LEVELS if any(cell["level"] == level for cell in cells)]
    arms = {arm: title for arm, title in ARMS.items() if any(cell["arm"] == arm for cell in cells)}
    height = 0.9 + len(OUTCOMES) * (0.5 + 0.27 * len(arms))
    figure = Figure(figsize=(2.2 + 3.1 * len(levels), height), layout="constrained", dpi=150)
    grid = figure.subplots(len(OUTCOMES), len(levels), squeeze=False, sharey=True, sharex=True)
    for row, (outcome, title) in zip(grid, OUTCOMES.items(), strict=True):
        for axes, level in zip(row, levels, strict=True):
            panel(axes, cells, level, outcome, arms)
            start = fmean(accuracies(cells, level, "mef", "mean"))
            axes.set_title(f"{title}\nfrom a warm-up of {start:.0f} %", loc="left", fontsize=10, color=INK)
    for axes in grid[-1]:
        axes.set_xlabel("accuracy on 1,000 test questions, %", fontsize=9, color=MUTED)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS.with_suffix(".png"))
    out: Path = parser.parse_args().out
    drawn(json.loads(RESULTS.read_text(encoding="utf-8"))).savefig(out)
    print(out)


if __name__ == "__main__":
    main()
