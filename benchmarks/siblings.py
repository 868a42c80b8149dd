"""Which of the methods does what where rewards are sparse? Prints the tables of docs/siblings.md and draws its picture.

    manyminds compare recipes/siblings_tuning.yaml          # two learning rates a method, one seed
    manyminds compare recipes/siblings_arithmetic.yaml      # every method, five other seeds
    python benchmarks/siblings.py [--out benchmarks/results/siblings.png]

Reads benchmarks/results/siblings.json and tuning/siblings.json. Differences are paired over seeds, their intervals
Student's t; p is corrected by Holm's method over all differences of the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from picture import INK, MUTED, accuracies, panel
from tables import difference, percent, probability

RESULTS = Path(__file__).parent / "results" / "siblings.json"
TUNING = RESULTS.parent / "tuning" / "siblings.json"
ARMS = {
    "mef": "before (warm-up)",
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "rloo": "RLOO",
    "reinforce": "REINFORCE, batch z-score",
    "reinforce_pp": "REINFORCE++, group baseline",
    "best_of_group": "best of group",
    "rs_grpo": "RS-GRPO",
    "dapo": "DAPO",
    "gspo": "GSPO",
    "cispo": "CISPO",
    "rl_plus": "RL-PLUS",
    "luffy": "LUFFY",
    "ampo": "AMPO",
    "rft": "RFT on the plain prompt",
    "rlpr": "RLPR",
    "darl": "DARL",
    "grpo_curiosity": "GRPO + curiosity",
    "grpo_curious_if_right": "GRPO + curiosity, right answers alone",
    "grpo_ppl": "GRPO + perplexity shaping",
    "grpo_position": "GRPO + position shaping",
    "meml_grpo": "**MEML-GRPO, tuned**",
    "meml_rs_grpo": "MEML-GRPO + RS-GRPO",
    "meml_rl_plus": "MEML-GRPO + RL-PLUS",
}
ACCURACY = {
    "plain": "plain",
    "best": "best",
    "mean": "mean",
    "worst": "weakest",
    "pass_at_1": "pass@1",
    "pass_at_8": "pass@8",
    "pass_at_32": "pass@32",
    "all_wrong": "all-wrong groups",
}
COSTS = {
    "step": "updates",
    "sampled_tokens": "sampled tokens",
    "trained_tokens": "trained tokens",
    "traces_used": "traces used",
    "teacher_tokens": "teacher tokens",
    "wall_seconds": "wall seconds",
}
PICTURED = {"mean": "mean over expert prompts", "plain": "plain prompt", "pass_at_32": "pass@32"}


def ordered(arms: Mapping[str, Any]) -> list[str]:
    """The arms that were run: what all start from, then by mean accuracy, best first."""
    known = [arm for arm in ARMS if arm in arms and arm != "mef"]
    return ["mef", *sorted(known, key=lambda arm: -arms[arm]["metrics"]["mean"]["mean"])]


def accuracy_table(found: Mapping[str, Any]) -> str:
    """Every arm's accuracy on test questions, in %, and its entropy."""
    arms = found["levels"]["main"]["arms"]
    lines = [
        f"| % | seeds | {' | '.join(ACCURACY.values())} | entropy, nats |",
        "|---|---|" + "---|" * (len(ACCURACY) + 1),
    ]
    for arm in ordered(arms):
        metrics = arms[arm]["metrics"]
        cells = [percent(metrics[name]) for name in ACCURACY]
        seeds = len(arms[arm]["seeds"])
        lines.append(f"| {ARMS[arm]} | {seeds} | {' | '.join(cells)} | {metrics['entropy']['mean']:.3f} |")
    return "\n".join(lines)


def difference_table(found: Mapping[str, Any]) -> str:
    """The differences that the recipe asks for, paired over seeds."""
    level = found["levels"]["main"]
    lines = ["| outcome | arm | against | points [95 % over seeds] | p (Holm) |", "|---|---|---|---|---|"]
    for one in [level["primary"], *level["secondary"], *level["controls"]]:
        primary = " (primary, not corrected)" if one is level["primary"] else ""
        p = one.get("p") if one is level["primary"] else one.get("p_holm")
        arms = f"{ARMS[one['arm']].replace('*', '')} | {ARMS[one['against']].replace('*', '')}"
        lines.append(f"| {one['outcome']}{primary} | {arms} | {difference(one)} | {probability(p)} |")
    return "\n".join(lines)


SECTIONS = {
    **{arm: arm for arm in ARMS if arm not in ("mef", "grpo", "meml_rs_grpo", "meml_rl_plus", "grpo_curious_if_right")},
    "grpo_curiosity": "curiosity",
    "grpo_ppl": "ppl_shaping",
    "grpo_position": "position_shaping",
}
"""The section of docs/papers.md that says what was measured of an arm."""


def measured(found: Mapping[str, Any], arm: str) -> str:
    """What docs/papers.md says of the arm: accuracy at equal tokens, and how far from GRPO's."""
    level = found["levels"]["main"]
    pairs = [level["primary"], *level["controls"]]
    one = next(o for o in pairs if (o["outcome"], o["arm"], o["against"]) == ("mean", arm, "grpo"))
    here, there = (100 * level["arms"][name]["metrics"]["mean"]["mean"] for name in (arm, "grpo"))
    return (
        f"**What we measured** ([siblings.md](siblings.md)): {here:.1f} % mean over the experts where GRPO has "
        f"{there:.1f} %, {difference(one)} points over {one['seeds']} seeds."
    )


def cost_table(found: Mapping[str, Any]) -> str:
    """What every arm spent, means over seeds."""
    arms = found["levels"]["main"]["arms"]
    lines = [f"| | {' | '.join(COSTS.values())} |", "|---|" + "---|" * len(COSTS)]
    for arm in ordered(arms):
        costs = arms[arm]["costs"]
        cells = [f"{costs[name]['mean']:,.0f}" if name in costs else "–" for name in COSTS]
        lines.append(f"| {ARMS[arm]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tuning_table(tuned: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Mean accuracy of the tuning seed at every learning rate, and the rate that the comparison has."""
    rates = list(tuned["levels"])
    lines = [f"| % | {' | '.join(rates)} | chosen |", "|---|" + "---|" * (len(rates) + 1)]
    chosen = {cell["arm"]: cell["recipe"]["optimizer"]["lr"] for cell in found["cells"]}
    for arm, title in ARMS.items():
        if arm == "mef" or arm not in tuned["levels"][rates[0]]["arms"]:
            continue
        cells = [f"{100 * tuned['levels'][rate]['arms'][arm]['metrics']['mean']['mean']:.1f}" for rate in rates]
        lines.append(f"| {title} | {' | '.join(cells)} | {chosen[arm]:g} |")
    return "\n".join(lines)


def drawn(found: Mapping[str, Any]) -> Figure:
    """The outcomes side by side, the arms in the table's order; a dotted line at GRPO's mean."""
    cells = found["cells"]
    arms = {arm: ARMS[arm] for arm in ordered(found["levels"]["main"]["arms"])}
    figure = Figure(figsize=(2.6 + 3.1 * len(PICTURED), 0.9 + 0.29 * len(arms)), layout="constrained", dpi=150)
    for axes, (outcome, title) in zip(figure.subplots(1, len(PICTURED), sharey=True), PICTURED.items(), strict=True):
        panel(axes, cells, "main", outcome, arms)
        axes.axvline(fmean(accuracies(cells, "main", "grpo", outcome)), color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel("accuracy, %; dotted: GRPO", fontsize=9, color=MUTED)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS.with_suffix(".png"))
    out: Path = parser.parse_args().out
    found, tuned = (json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS, TUNING))
    drawn(found).savefig(out)
    print(accuracy_table(found), difference_table(found), cost_table(found), tuning_table(tuned, found), sep="\n\n")


if __name__ == "__main__":
    main()
