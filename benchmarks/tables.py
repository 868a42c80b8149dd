"""What do the ablation's results look like as tables? Prints the Markdown that README.md shows.

    python benchmarks/tables.py [--level demo]

Reads benchmarks/results/ablation.json, and for the parts of the method ablation_parts.json. A test holds
README.md to what this prints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "ablation.json"
PARTS_RESULTS = RESULTS.with_name("ablation_parts.json")
COLUMNS = {
    "plain": "plain",
    "mean": "mean",
    "worst": "weakest",
    "best": "best",
    "vote": "vote",
    "oracle": "oracle",
    "all_wrong": "all-wrong groups",
    "pass_at_8": "pass@8",
    "pooled_pass_at_24": "pooled pass@24",
}
ARMS = {
    "mef": "before RL (warm-up)",
    "grpo_all_experts": "GRPO, all experts",
    "meml_tuned": "**MEML-GRPO, tuned**",
    "meml_published": "**MEML-GRPO, published**",
    "grpo_plain": "control: GRPO on the plain prompt",
    "rft_plain": "control: RFT on the plain prompt",
    "mef_longer": "control: longer warm-up",
}
PARTS = {
    "mef": "before RL (warm-up)",
    "grpo_all_experts": "GRPO, all experts",
    "hsft": "tuned, buffer only",
    "iml": "tuned, mutual learning only",
    "meml_tuned": "**MEML-GRPO, tuned**",
    "hsft_truth": "tuned, buffer only, ground-truth solutions",
    "hsft_x4": "tuned, buffer only, λ₂ = 2, B = 32",
    "grpo_best_expert": "control: GRPO on the best prompt",
    "one_prompt_x24": "control: best prompt, 24 answers",
    "single_sft_grpo": "control: one expert all the way",
}


def percent(one: Mapping[str, float]) -> str:
    """A share as "81.5 ± 3.4": mean and standard deviation over seeds, in percent."""
    spread = "" if one.get("sd") is None else f" ± {100 * one['sd']:.1f}"
    return f"{100 * one['mean']:.1f}{spread}"


def arms_table(level: Mapping[str, Any], arms: Mapping[str, str] = ARMS) -> str:
    """Test accuracy by outcome of every arm that was run, under its title."""
    lines = [f"| % | seeds | {' | '.join(COLUMNS.values())} |", "|---|---|" + "---|" * len(COLUMNS)]
    for arm, title in arms.items():
        if arm in level["arms"]:
            found = level["arms"][arm]
            cells = [percent(found["metrics"][name]) for name in COLUMNS]
            lines.append(f"| {title} | {len(found['seeds'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def levels_table(levels: Mapping[str, Any]) -> str:
    """The primary difference and the controls from each warm-up, the weakest first: a row a comparison."""
    known = sorted(levels, key=lambda name: levels[name]["arms"]["mef"]["metrics"]["mean"]["mean"])
    lines = [f"| | {' | '.join(f'{name} warm-up' for name in known)} |", "|---|" + "---|" * len(known)]
    for outcome, arm in (
        ("mean", "mef"),
        ("mean", "grpo_all_experts"),
        ("mean", "meml_tuned"),
        ("plain", "meml_tuned"),
        ("plain", "grpo_plain"),
        ("plain", "mef_longer"),
    ):
        cells = [levels[name]["arms"][arm] for name in known]
        shown = [f"{percent(cell['metrics'][outcome])} ({len(cell['seeds'])} seeds)" for cell in cells]
        lines.append(f"| {outcome}: {ARMS[arm]} | {' | '.join(shown)} |")
    for place, name in enumerate(row_title(one, False) for one in rows_of(levels[known[0]])):
        each = [rows_of(levels[level])[place] for level in known]
        shown = [f"{difference(one)} ({one['seeds']} seeds)" for one in each]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def rows_of(level: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The primary difference and the controls."""
    return [level["primary"], *level["controls"]]


def difference(one: Mapping[str, Any]) -> str:
    """A paired difference in points with its 95 % interval over seeds."""
    if one["difference"] is None:
        return "not measured"
    interval = "" if one["low"] is None else f" [{one['low']:+.1f}, {one['high']:+.1f}]"
    return f"{one['difference']:+.1f}{interval}"


def differences_table(found: Mapping[str, Any], rows: Sequence[str] = ("primary", "secondary", "controls")) -> str:
    """The named differences: the primary one, the secondary ones and the controls, with Holm's p."""
    lines = ["| outcome | difference, points [95 % over seeds] | seeds | p | p (Holm) |", "|---|---|---|---|---|"]
    for one in [o for row in rows for o in ([found[row]] if row == "primary" else found[row])]:
        first = row_title(one, one is found["primary"])
        numbers = [probability(one.get(key)) for key in ("p", "p_holm")]
        lines.append(f"| {first} | {difference(one)} | {one['seeds']} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def probability(p: float | None) -> str:
    """Three digits; what would read as 0 is "< 0.001"."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def row_title(one: Mapping[str, Any], primary: bool) -> str:
    """What the row compares."""
    arms = f"{one['arm']} − {one['against']}"
    return f"**{one['outcome']}: {arms} (primary)**" if primary else f"{one['outcome']}: {arms}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="demo")
    results, parts = (json.loads(path.read_text(encoding="utf-8"))["levels"] for path in (RESULTS, PARTS_RESULTS))
    level = results[parser.parse_args().level]
    print(arms_table(level), differences_table(level), levels_table(results), sep="\n\n", end="\n\n")
    print(arms_table(parts["demo"], PARTS), differences_table(parts["demo"], ("primary", "controls")), sep="\n\n")


if __name__ == "__main__":
    main()
