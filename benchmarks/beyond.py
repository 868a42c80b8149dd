"""Do experts that teach without becoming one take one prompt beyond what all of them could?

    python benchmarks/beyond.py [beyond_fresh] [--workers 2] [--seeds N ...] [--level LEVEL ...] [--only ARM ...]
    python benchmarks/beyond.py --tables    # runs nothing; writes the tables of docs/beyond.md, and draws its picture

Runs recipes/beyond.yaml; or what is named: beyond_screening, on which everything was chosen; beyond_fresh, the best of
it on ten seeds of its own; beyond_strong, from a better warm-up; beyond_harder, four digits in place of three;
beyond_longer, twice the tokens; beyond_experts, one to six experts. Every cell is written as it ends; started again,
only what is missing is run. The arms of the ablation are not run again: levels, seeds, questions and budget are the
same, and that both start from the same weights is checked.
A test holds docs/beyond.md to what --tables writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from ablation import tell
from beyond_tables import (
    ARMS,
    FINALIST,
    LEVELS,
    OURS,
    TIMED,
    WITH_REPLAY,
    Cells,
    accuracy_table,
    beside_ours,
    curve,
    difference_table,
    experts_table,
    family_table,
    pass_table,
    replay_table,
    screening_table,
    seconds_table,
    seeds_of,
    speed_table,
    together,
    updates_table,
    value,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from picture import ACCENT, INK, MUTED, cleared, panel

from manyminds.compare import compare
from manyminds.errors import UserError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "beyond.md"
COMPARED = ("ablation", "beyond", "beyond_fresh", "beyond_harder", "beyond_strong")
RECIPES = (*COMPARED[1:], "beyond_screening", "beyond_experts", "beyond_longer")


def drawn(cells: Cells) -> Figure:
    """A column per level: above the plain prompt on test questions, seed by seed; below its way there by tokens."""
    levels = [level for level in LEVELS if seeds_of(cells, level, FINALIST[level])]
    figure = Figure(figsize=(2.6 + 3.2 * len(levels), 6.6), layout="constrained", dpi=150)
    grid = figure.subplots(2, len(levels), squeeze=False, sharey="row")
    for level, above, below in zip(levels, *grid, strict=True):
        dots(above, cells, level)
        ways(below, cells, level)
    return figure


def dots(axes: Axes, cells: Cells, level: str) -> None:
    """Every arm's plain accuracy by seed with its mean and interval; dotted: the oracle before training."""
    run = {arm: title for arm, title in ARMS.items() if any(seeds_of(cells, its, arm) for its in LEVELS)}
    panel(axes, list(cells.values()), level, "plain", run, accent=OURS)
    oracle = fmean(value(cells, level, "mef", s, "oracle") for s in seeds_of(cells, level, "mef"))
    axes.axvline(oracle, color=INK, linewidth=0.8, linestyle=":")
    axes.set_title(LEVELS[level], loc="left", fontsize=10, color=INK)
    axes.set_xlabel("plain prompt on test, %; dotted: oracle before RL", fontsize=8, color=MUTED)


def ways(axes: Axes, cells: Cells, level: str) -> None:
    """Plain accuracy on validation against sampled tokens, mean over seeds."""
    styles = {
        FINALIST[level]: (ACCENT, "-"),
        "meml_tuned": (INK, "-"),
        "grpo_plain": (MUTED, "-"),
        "ampo_plain": (MUTED, "--"),
    }
    for arm, (colour, line) in styles.items():
        if seeds := seeds_of(cells, level, arm):
            most = min(cells[level, arm, s]["validation"][-1]["num_tokens"] for s in seeds)
            at = [most * i / 40 for i in range(41)]
            title = ARMS[arm].replace("*", "")
            axes.plot([t / 1e6 for t in at], curve(cells, level, arm, at), line, color=colour, label=title)
    axes.set_xlabel("sampled tokens, millions; plain prompt on validation, %", fontsize=8, color=MUTED)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    cleared(axes, "both")


def tables(cells: Cells) -> dict[str, str]:
    """The blocks of docs/beyond.md by the name of their marker; of `cells`, and of the comparisons that stand alone."""
    levels = [level for level in LEVELS if seeds_of(cells, level, FINALIST[level])]
    made: dict[str, Callable[[str], str]] = {
        "accuracy": lambda level: accuracy_table(cells, level),
        "differences": lambda level: difference_table(cells, level),
        "families": lambda level: family_table(cells, level),
    }
    on_one_day = [arm for arm in TIMED if arm != WITH_REPLAY]  # of four digits
    return {f"{name} {level}": make(level) for level in levels for name, make in made.items()} | {
        "replay": replay_table(cells),
        "speed": speed_table(cells),
        "seconds": seconds_table(cells, "harder", on_one_day),
        "seconds middle": seconds_table(cells, "middle"),
        "updates": updates_table(read("beyond_longer")),
        "experts": experts_table(read("beyond_experts")),
        "pass@k": pass_table(read("beyond_pass_at")["seeds"]),
        "screening": screening_table(read("beyond_screening")),
    }


def written(page: str, blocks: Mapping[str, str]) -> str:
    """The page with every block put between `<!-- its name -->` and the next `<!-- end -->`."""
    for name, block in blocks.items():
        mark = f"<!-- {name} -->\n"
        if mark in page:
            before, _, rest = page.partition(mark)
            page = f"{before}{mark}{block}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="?", choices=RECIPES, default=RECIPES[0])
    parser.add_argument("--workers", type=int, default=2, help="processes at a time, one thread each")
    parser.add_argument("--only", nargs="+", default=(), metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=(), metavar="SEED")
    parser.add_argument("--level", nargs="+", default=(), metavar="LEVEL")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    chosen = parser.parse_args()
    try:
        if not chosen.tables:
            recipe = ROOT / "recipes" / f"{chosen.which}.yaml"
            limits = {"only": chosen.only, "seeds": chosen.seeds, "levels": chosen.level}
            found = compare(recipe, workers=chosen.workers, watch=tell, **limits)
            return 1 if found["failed"] else 0
        cells = beside_ours(together(*map(read, COMPARED)))
        blocks = tables(cells)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    drawn(cells).savefig(RESULTS / "beyond.png")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), blocks), encoding="utf-8")
    return 0


def read(name: str) -> dict[str, Any]:
    """The summary of a comparison. Raises UserError before it was run."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise UserError(f"{file} is not there; run the comparison first")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
