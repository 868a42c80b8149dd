"""Do experts that teach without becoming one take one prompt beyond what all of them could?

    python benchmarks/beyond.py [beyond_harder] [--workers 2] [--seeds N ...] [--level LEVEL ...] [--only ARM ...]
    python benchmarks/beyond.py --tables    # runs nothing; writes the tables of docs/beyond.md, and draws its picture

Runs recipes/beyond.yaml; or what is named: beyond_screening, on which everything was chosen, beyond_harder, four digits
in place of three, or beyond_experts, from one to six. Every cell is written as it ends; started again, only what is
missing is run. The arms of the ablation are not run again: levels, seeds, questions and budget are the same, and that
both start from the same weights is checked. A test holds docs/beyond.md to what --tables writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from ablation import tell
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from picture import ACCENT, INK, MUTED, cleared, panel
from tables import arms_table, difference, probability

from manyminds.compare import compare
from manyminds.errors import UserError
from manyminds.statistics import holm, paired
from manyminds.summary import of_arm

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "beyond.md"
OURS = "tutored"
ARMS = {
    "mef": "before RL (warm-up)",
    "grpo_all_experts": "GRPO, all experts",
    "grpo_plain": "GRPO on the plain prompt",
    "rs_plain": "RS-GRPO on the plain prompt",
    "rft_plain": "RFT on the plain prompt",
    "meml_published": "MEML-GRPO, published",
    "meml_tuned": "MEML-GRPO, tuned",
    "ampo_plain": "AMPO on the plain prompt",
    "mef_longer": "longer warm-up",
    "tutors_alone": "**tutors alone, without traces**",
    OURS: "**tutored RS-GRPO**",
}
RECIPES = ("beyond", "beyond_screening", "beyond_harder", "beyond_experts")
LEVELS = {"weak": "weak", "demo": "middle", "strong": "strong", "harder": "four digits"}
Cells = Mapping[tuple[str, str, int], Mapping[str, Any]]
"""(level, arm, seed) -> cell"""


def together(*found: Mapping[str, Any]) -> Cells:
    """The cells of several comparisons. Raises UserError if two arms of a seed did not start from the same weights."""
    cells: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    starts: dict[tuple[str, int], str] = {}
    for cell in (cell for one in found for cell in one["cells"]):
        place = (cell["level"], cell["seed"])
        start = cell["weights"] if cell["arm"] == "mef" else cell.get("started_from", {}).get("weights")
        if start is not None and starts.setdefault(place, start) != start:
            raise UserError(f"{cell['arm']} of seed {place[1]} at level '{place[0]}' started from other weights")
        cells[cell["level"], cell["arm"], cell["seed"]] = cell
    return cells


def seeds_of(cells: Cells, level: str, arm: str) -> list[int]:
    return sorted(seed for its, name, seed in cells if (its, name) == (level, arm))


def value(cells: Cells, level: str, arm: str, seed: int, outcome: str) -> float:
    """A metric on test questions, in percent."""
    return 100 * float(cells[level, arm, seed]["metrics"][outcome]["value"])


def gap(cells: Cells, level: str, plus: tuple[str, str], minus: tuple[str, str]) -> dict[str, Any] | None:
    """The difference of two (arm, outcome) in points, paired over the seeds that have both; None without a seed."""
    seeds = sorted({*seeds_of(cells, level, plus[0])} & {*seeds_of(cells, level, minus[0])})
    if not seeds:
        return None
    gaps = [value(cells, level, plus[0], s, plus[1]) - value(cells, level, minus[0], s, minus[1]) for s in seeds]
    return {**paired(gaps), "seeds": len(seeds), "least": min(gaps)}


def accuracy_table(cells: Cells, level: str) -> str:
    """Every arm's test accuracy by outcome, mean and deviation over seeds."""
    by_arm = {arm: {seed: cells[level, arm, seed] for seed in seeds_of(cells, level, arm)} for arm in ARMS}
    return arms_table({"arms": {arm: of_arm(its) for arm, its in by_arm.items() if its}}, ARMS)


def comparisons(cells: Cells, level: str) -> dict[str, dict[str, Any]]:
    """What the goal speaks of, by its title: the student against every arm, and against the oracle before training."""
    rows = {f"plain: ours − {title}": gap(cells, level, (OURS, "plain"), (arm, "plain")) for arm, title in ARMS.items()}
    rows.pop(f"plain: ours − {ARMS[OURS]}")
    rows["plain after − oracle before"] = gap(cells, level, (OURS, "plain"), ("mef", "oracle"))
    rows["oracle after − oracle before"] = gap(cells, level, (OURS, "oracle"), ("mef", "oracle"))
    return {name: one for name, one in rows.items() if one is not None}


def difference_table(cells: Cells, level: str) -> str:
    """Paired differences with Student's interval, Holm's p over the table, and the seed that gains least."""
    rows = comparisons(cells, level)
    corrected = holm([one["p"] for one in rows.values()])
    lines = ["| points | [95 % over seeds] | seeds | least seed | p (Holm) |", "|---|---|---|---|---|"]
    for (name, one), p in zip(rows.items(), corrected, strict=True):
        lines.append(f"| {name} | {difference(one)} | {one['seeds']} | {one['least']:+.1f} | {probability(p)} |")
    return "\n".join(lines)


def curve(cells: Cells, level: str, arm: str, tokens: Sequence[float]) -> list[float]:
    """Accuracy of the plain prompt on validation, in percent, mean over seeds, when so many tokens were sampled.

    Between two evaluations it is interpolated; after the last it stays.
    """
    seeds = seeds_of(cells, level, arm)
    points = [cells[level, arm, seed]["validation"] for seed in seeds]
    xs, ys = ([[point[name] for point in its] for its in points] for name in ("num_tokens", "plain"))
    return [100 * fmean(float(np.interp(at, x, y)) for x, y in zip(xs, ys, strict=True)) for at in tokens]


def tokens_to(cells: Cells, level: str, arm: str, target: float, most: float) -> float | None:
    """The least share of `most` sampled tokens at which the arm's curve has reached the target; None if it has not."""
    shares = [i / 200 for i in range(201)]
    reached = curve(cells, level, arm, [most * share for share in shares])
    return next((share for share, accuracy in zip(shares, reached, strict=True) if accuracy >= target), None)


def speed_table(cells: Cells) -> str:
    """How many of MEML-GRPO's tokens each arm needs for the plain accuracy that MEML-GRPO ends with."""
    lines = [f"| tokens to MEML-GRPO's end | {' | '.join(LEVELS.values())} |", "|---|" + "---|" * len(LEVELS)]
    for arm in ("grpo_plain", "rs_plain", "ampo_plain", "tutors_alone", OURS):
        shown = []
        for level in LEVELS:
            seeds = sorted({*seeds_of(cells, level, "meml_tuned")} & {*seeds_of(cells, level, arm)})
            if not seeds:
                shown.append("–")
                continue
            most = fmean(cells[level, "meml_tuned", s]["sampled_tokens"] for s in seeds)
            both = {key: cell for key, cell in cells.items() if key[2] in seeds}
            (target,) = curve(both, level, "meml_tuned", [most])
            share = tokens_to(both, level, arm, target, most)
            shown.append("not reached" if share is None else f"{100 * share:.0f} %")
        lines.append(f"| {ARMS[arm]} | {' | '.join(shown)} |")
    return "\n".join(lines)


def seconds_table(cells: Cells, level: str) -> str:
    """The plain prompt on validation when each arm has trained as many seconds as MEML-GRPO did in all, seed by seed.

    An arm that ended before stays where it was. Only where all of a seed's cells ran on one machine at one time.
    """
    lines = [
        "| arm | seeds | seconds in all, MEML-GRPO's = 1 | plain after MEML-GRPO's seconds, % |",
        "|---|---|---|---|",
    ]
    for arm in ("grpo_plain", "ampo_plain", "meml_tuned", "tutors_alone", OURS):
        if not (seeds := sorted({*seeds_of(cells, level, "meml_tuned")} & {*seeds_of(cells, level, arm)})):
            continue
        ends = [cells[level, "meml_tuned", s]["seconds"] for s in seeds]
        took = [cells[level, arm, s]["seconds"] for s in seeds]
        points = [cells[level, arm, s]["validation"] for s in seeds]
        reached = [
            float(np.interp(end, [p["seconds"] for p in its], [p["plain"] for p in its]))
            for end, its in zip(ends, points, strict=True)
        ]
        ratio = fmean(one / end for one, end in zip(took, ends, strict=True))
        lines.append(f"| {ARMS[arm]} | {len(seeds)} | {ratio:.2f} | {100 * fmean(reached):.1f} |")
    return "\n".join(lines)


def family_table(cells: Cells, level: str) -> str:
    """Accuracy by family before and after: what the student gained, and what any prompt could do and can."""
    seeds = seeds_of(cells, level, OURS)
    lines = [
        f"| %, {len(seeds)} seeds | plain before | plain after | any before | any after |",
        "|---|---|---|---|---|",
    ]
    for family in cells[level, OURS, seeds[0]]["families"]:
        shown = [
            f"{100 * fmean(cells[level, arm, s]['families'][family][name] for s in seeds):.1f}"
            for name in ("plain", "any")
            for arm in ("mef", OURS)
        ]
        lines.append(f"| {family} | {' | '.join(shown)} |")
    return "\n".join(lines)


def screening_table(found: Mapping[str, Any]) -> str:
    """Every arm of the screening, its plain prompt seed by seed, and the oracle before training."""
    cells = together(found)
    places = sorted({(level, seed) for level, _, seed in cells})
    lines = [
        f"| plain, % | {' | '.join(f'{level}, seed {seed}' for level, seed in places)} |",
        "|---|" + "---|" * len(places),
    ]
    for arm in dict.fromkeys(arm for _, arm, _ in cells):
        shown = [
            f"{value(cells, *(level, arm, seed), 'plain'):.1f}" if (level, arm, seed) in cells else ""
            for level, seed in places
        ]
        lines.append(f"| `{arm}` | {' | '.join(shown)} |")
    oracle = [f"{value(cells, level, 'mef', seed, 'oracle'):.1f}" for level, seed in places]
    return "\n".join([*lines, f"| oracle before RL | {' | '.join(oracle)} |"])


def drawn(cells: Cells) -> Figure:
    """A column per level: above the plain prompt on test questions, seed by seed; below its way there by tokens."""
    levels = [level for level in LEVELS if seeds_of(cells, level, OURS)]
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
    axes.set_title(f"plain prompt, {LEVELS[level]}", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("accuracy on test, %; dotted: oracle before RL", fontsize=9, color=MUTED)


def ways(axes: Axes, cells: Cells, level: str) -> None:
    """Plain accuracy on validation against sampled tokens, mean over seeds."""
    styles = {OURS: (ACCENT, "-"), "meml_tuned": (INK, "-"), "grpo_plain": (MUTED, "-"), "ampo_plain": (MUTED, "--")}
    for arm, (colour, line) in styles.items():
        if seeds := seeds_of(cells, level, arm):
            most = min(cells[level, arm, s]["validation"][-1]["num_tokens"] for s in seeds)
            at = [most * i / 40 for i in range(41)]
            title = ARMS[arm].replace("*", "")
            axes.plot([t / 1e6 for t in at], curve(cells, level, arm, at), line, color=colour, label=title)
    axes.set_xlabel("sampled tokens, millions; plain prompt on validation, %", fontsize=9, color=MUTED)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    cleared(axes, "both")


def tables(cells: Cells, screened: Mapping[str, Any]) -> dict[str, str]:
    """The blocks of docs/beyond.md by the name of their marker."""
    levels = [level for level in LEVELS if seeds_of(cells, level, OURS)]
    made: dict[str, Callable[[str], str]] = {
        "accuracy": lambda level: accuracy_table(cells, level),
        "differences": lambda level: difference_table(cells, level),
        "families": lambda level: family_table(cells, level),
    }
    return {f"{name} {level}": make(level) for level in levels for name, make in made.items()} | {
        "speed": speed_table(cells),
        "seconds": seconds_table(cells, "harder"),
        "screening": screening_table(screened),
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
        cells = together(read("ablation"), read("beyond"), read("beyond_harder"))
        screened = read("beyond_screening")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    drawn(cells).savefig(RESULTS / "beyond.png")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), tables(cells, screened)), encoding="utf-8")
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
