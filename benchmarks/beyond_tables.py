"""The tables of docs/beyond.md, of cells, which benchmarks/beyond.py runs and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from tables import arms_table, difference, probability

from manyminds.errors import UserError
from manyminds.statistics import holm, paired
from manyminds.summary import of_arm

OURS = "tutored"
WITH_REPLAY = "tutored_replayed"
ADAPTIVE = "tutored_adaptive"
ARMS = {
    "mef": "before RL (warm-up)",
    "grpo_all_experts": "GRPO, all experts",
    "grpo_plain": "GRPO on the plain prompt",
    "rs_plain": "RS-GRPO on the plain prompt",
    "rft_plain": "RFT on the plain prompt",
    "meml_published": "MEML-GRPO, published",
    "meml_tuned": "MEML-GRPO, tuned",
    "ampo_plain": "AMPO on the plain prompt",
    "ampo_adaptive": "AMPO with adaptive sampling",
    "mef_longer": "longer warm-up",
    ADAPTIVE: "**tutored, replay, adaptive sampling**",
    WITH_REPLAY: "**tutored RS-GRPO with replay**",
    "tutors_alone": "**tutors alone, without traces**",
    OURS: "**tutored RS-GRPO**",
}
LEVELS = {
    "weak": "weak warm-up",
    "demo": "middle warm-up",
    "middle": "middle warm-up, fresh seeds",
    "strong": "strong warm-up",
    "harder": "four digits",
}
FINALIST = {level: ADAPTIVE if level == "middle" else OURS for level in LEVELS}
"""Which arm a level is about."""
TIMED = [arm for arm in ARMS if arm not in ("mef", "grpo_all_experts", "rft_plain", "meml_published", "mef_longer")]
"""Whose way is measured, in tokens and in seconds."""
EXPERTS = {
    "one": "one",
    "two": "two, a teacher each",
    "three": "three, a teacher each",
    "six": "six, two to a teacher",
    "three_of_one_teacher": "three, all of one teacher",
}
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


def beside_ours(cells: Cells) -> Cells:
    """What was run on a level and seed on which ours was: every number is then over the same seeds."""
    ours = {(level, seed) for level, arm, seed in cells if arm == FINALIST[level]}
    return {key: cell for key, cell in cells.items() if (key[0], key[2]) in ours}


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
    ours = FINALIST[level]
    rows = {
        f"plain: ours − {title}": gap(cells, level, (ours, "plain"), (arm, "plain"))
        for arm, title in ARMS.items()
        if arm != ours
    }
    rows["plain after − oracle before"] = gap(cells, level, (ours, "plain"), ("mef", "oracle"))
    rows["oracle after − oracle before"] = gap(cells, level, (ours, "oracle"), ("mef", "oracle"))
    return {name: one for name, one in rows.items() if one is not None}


def difference_table(cells: Cells, level: str) -> str:
    """Paired differences with Student's interval, Holm's p over the table, and the seed that gains least."""
    rows = comparisons(cells, level)
    corrected = holm([one["p"] for one in rows.values()])
    lines = ["| points | [95 % over seeds] | seeds | least seed | p (Holm) |", "|---|---|---|---|---|"]
    for (name, one), p in zip(rows.items(), corrected, strict=True):
        lines.append(f"| {name} | {difference(one)} | {one['seeds']} | {one['least']:+.1f} | {probability(p)} |")
    return "\n".join(lines)


def replay_table(cells: Cells, levels: Sequence[str] = ("strong", "harder")) -> str:
    """What replay adds to ours, and ours with it against every arm, by level and over the seeds of all of them."""
    lines = [
        f"| plain: with replay − | {' | '.join(LEVELS[level] for level in levels)} | together | least seed |",
        "|---|" + "---|" * (len(levels) + 2),
    ]
    against = {(OURS, "plain"): "without", ("mef", "oracle"): "oracle before"}
    against |= {(arm, "plain"): title for arm, title in ARMS.items() if arm not in (OURS, "mef", WITH_REPLAY)}
    for minus, title in against.items():
        each = [gap(cells, level, (WITH_REPLAY, "plain"), minus) for level in levels]
        there = [one for one in each if one]
        if not there:
            continue
        gaps = [
            value(cells, level, WITH_REPLAY, s, "plain") - value(cells, level, minus[0], s, minus[1])
            for level in levels
            for s in sorted({*seeds_of(cells, level, WITH_REPLAY)} & {*seeds_of(cells, level, minus[0])})
        ]
        both = difference(paired(gaps)) if len(there) == len(levels) else "–"
        shown = [difference(one) if one else "–" for one in each]
        lines.append(f"| {title} | {' | '.join(shown)} | {both} | {min(gaps):+.1f} |")
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
    for arm in (arm for arm in TIMED if arm != "meml_tuned"):
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
            few = len(seeds) < len(seeds_of(cells, level, "meml_tuned"))
            note = f" (of {len(seeds)} seed{'s' * (len(seeds) > 1)})" * few
            shown.append(("not reached" if share is None else f"{100 * share:.0f} %") + note)
        lines.append(f"| {ARMS[arm]} | {' | '.join(shown)} |")
    return "\n".join(lines)


def seconds_table(cells: Cells, level: str, arms: Sequence[str] = TIMED) -> str:
    """The plain prompt on validation when each arm has trained as many seconds as MEML-GRPO did in all, seed by seed.

    An arm that ended before stays where it was. Only where all of a seed's cells ran on one machine at one time.
    """
    head = "| arm | seconds in all, MEML-GRPO's = 1 | plain after MEML-GRPO's seconds, % | seed by seed |"
    lines = [head, "|---|---|---|---|"]
    for arm in arms:
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
        shown = ", ".join(f"{100 * one:.1f}" for one in reached)
        lines.append(f"| {ARMS[arm]} | {ratio:.2f} | {100 * fmean(reached):.1f} | {shown} |")
    return "\n".join(lines)


def family_table(cells: Cells, level: str) -> str:
    """Accuracy by family before and after: what the student gained, and what any prompt could do and can."""
    ours = FINALIST[level]
    seeds = seeds_of(cells, level, ours)
    lines = [
        f"| %, {len(seeds)} seeds | plain before | plain after | any before | any after |",
        "|---|---|---|---|---|",
    ]
    for family in cells[level, ours, seeds[0]]["families"]:
        shown = [
            f"{100 * fmean(cells[level, arm, s]['families'][family][name] for s in seeds):.1f}"
            for name in ("plain", "any")
            for arm in ("mef", ours)
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


def experts_table(found: Mapping[str, Any]) -> str:
    """What comes of so many experts: before training on validation questions, after it the plain prompt on test."""
    cells = {(cell["level"], cell["arm"], cell["seed"]): cell for cell in found["cells"]}  # each had its own warm-up
    places = sorted({(level, seed) for level, _, seed in cells})
    head = (
        f"| % | plain before | any of them before | {' | '.join(f'plain after, seed {s}' for _, s in places)} | mean |"
    )
    lines = [head, "|---|---|---|---|" + "---|" * len(places)]
    for arm, title in EXPERTS.items():
        its = [cells[level, arm, seed] for level, seed in places]
        before = [100 * fmean(cell["validation"][0][name] for cell in its) for name in ("plain", "oracle")]
        after = [value(cells, level, arm, seed, "plain") for level, seed in places]
        lines.append(f"| {title} | {' | '.join(f'{one:.1f}' for one in (*before, *after, fmean(after)))} |")
    return "\n".join(lines)


def updates_table(found: Mapping[str, Any], updates: Sequence[int] = (240, 480, 960)) -> str:
    """The plain prompt on validation questions after so many updates, mean over seeds, and on test in the end.

    A run that has ended by its tokens stays where it ended.
    """
    cells = together(found)
    lines = [
        f"| plain, % | seeds | {' | '.join(f'{n} updates' for n in updates)} | in the end, test | seed by seed |",
        "|---|---|---|---|" + "---|" * len(updates),
    ]
    for arm in (arm for arm in ARMS if arm != "mef"):
        its = [cell for (_, name, _), cell in sorted(cells.items()) if name == arm]
        if not its:
            continue
        curves = [([p["step"] for p in c["validation"]], [p["plain"] for p in c["validation"]]) for c in its]
        reached = [100 * fmean(float(np.interp(n, *curve)) for curve in curves) for n in updates]
        ends = [100 * float(cell["metrics"]["plain"]["value"]) for cell in its]
        shown = [f"{one:.1f}" for one in (*reached, fmean(ends))]
        lines.append(f"| {ARMS[arm]} | {len(its)} | {' | '.join(shown)} | {', '.join(f'{one:.1f}' for one in ends)} |")
    return "\n".join(lines)


def pass_table(analyses: Mapping[str, Mapping[str, Any]]) -> str:
    """pass@k of the plain prompt, from sampled answers: of every model that `manyminds analyse` asked, by seed."""
    ks = ("1", "8", "32")
    titles = [f"pass@{k}, seed {seed}" for seed in analyses for k in ks]
    lines = [f"| % | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
    found = {
        (model["name"], seed, k): 100 * model["pass_at"]["plain"][k]["value"]
        for seed, analysis in analyses.items()
        for model in analysis["models"]
        for k in ks
    }
    names = {"warmup": ARMS["mef"], **ARMS}
    for name in (name for name in names if any(one == name for one, _, _ in found)):
        shown = [f"{found[name, s, k]:.1f}" if (name, s, k) in found else "" for s in analyses for k in ks]
        lines.append(f"| {names[name]} | {' | '.join(shown)} |")
    return "\n".join(lines)
