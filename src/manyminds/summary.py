"""What the cells of a comparison say together: per level every arm's mean, and paired differences over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manyminds.cell import CURVE
from manyminds.comparison import Comparison, Pair
from manyminds.errors import UserError
from manyminds.statistics import holm, mean_sd, paired

COSTS = ("seconds", "wall_seconds", "sampled_tokens", "trained_tokens", "traces_used", "teacher_tokens", "step")
SLACK = 1.01  # arms that end by sampled tokens end within one step of each other, not at the same token
Record = Mapping[str, Any]
BySeed = Mapping[str, Mapping[int, Record]]
"""arm -> seed -> cell"""


def summarise(comparison: Comparison, records: Sequence[Record]) -> dict[str, Any]:
    """{"primary", "secondary", "controls", "levels"}; the first three are those of the first level.

    Accuracies of arms are shares (0 to 1), differences are percentage points. All outcomes but the primary one are
    corrected together (Holm); what no seed can say yet is None.
    """
    levels = {level: of_level(comparison, by_seed(records, level)) for level in comparison.levels}
    first = next(iter(levels.values()))
    return {name: first[name] for name in ("primary", "secondary", "controls")} | {"levels": levels}


def by_seed(records: Sequence[Record], level: str) -> dict[str, dict[int, Record]]:
    """The level's cells by arm and seed."""
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        if record["level"] == level:
            found.setdefault(record["arm"], {})[record["seed"]] = record
    return found


def of_level(comparison: Comparison, cells: BySeed) -> dict[str, Any]:
    """One level: arms, differences at the end, and the same at equal sampled tokens and at equal seconds."""
    primary = comparison.primary
    asked = [Pair(outcome=name, arm=primary.arm, against=primary.against) for name in comparison.secondary]
    others = [difference(pair, cells) for pair in (*asked, *comparison.controls)]
    for one, p in zip(others, holm([one["p"] for one in others]), strict=True):
        one["p_holm"] = p
    return {
        "primary": difference(primary, cells),
        "secondary": others[: len(asked)],
        "controls": others[len(asked) :],
        "arms": {arm: of_arm(its) for arm, its in cells.items()},
        "equal_tokens": at_equal(primary, cells, "num_tokens"),
        "equal_seconds": at_equal(primary, cells, "seconds"),
    }


def of_arm(cells: Mapping[int, Record]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every metric on test questions, and of every cost."""
    records = list(cells.values())
    names = [name for name in records[0]["metrics"] if all(name in record["metrics"] for record in records)]
    costs = [name for name in COSTS if all(name in record for record in records)]
    return {
        "seeds": sorted(cells),
        "metrics": {name: mean_sd([outcome(name, record) for record in records]) for name in ("spread", *names)},
        "costs": {name: mean_sd([record[name] for record in records]) for name in costs},
    }


def outcome(name: str, record: Record) -> float:
    """A metric on test questions; `spread` is the best prompt (chosen on validation) minus the worst."""
    metrics = record["metrics"]
    if name == "spread":
        return float(metrics["best"]["value"] - metrics["worst"]["value"])
    if name not in metrics:
        raise UserError(f"'{name}' was not measured in arm '{record['arm']}'; measured are {', '.join(metrics)}")
    return float(metrics[name]["value"])


def difference(pair: Pair, cells: BySeed, read: Callable[[str, Record], float] = outcome) -> dict[str, Any]:
    """The pair's difference over the seeds that have both arms, in percentage points."""
    seeds = sorted({*cells.get(pair.arm, ())} & {*cells.get(pair.against, ())})
    gaps = [
        100 * (read(pair.outcome, cells[pair.arm][seed]) - read(pair.outcome, cells[pair.against][seed]))
        for seed in seeds
    ]
    nothing: dict[str, Any] = dict.fromkeys(("difference", "low", "high", "p"))
    nothing |= {"note": "no seed has both arms", "differences": []}
    found = paired(gaps) if gaps else nothing
    return {**pair.model_dump(), **found, "seeds": len(seeds), "seed_numbers": seeds}


def at_equal(primary: Pair, cells: BySeed, spent: str) -> dict[str, Any]:
    """Arms at the budget of the one that spent least: each one's last validation at or before it, seed by seed.

    `spent` is "num_tokens" (sampled) or "seconds" (of training). Arms that sample nothing, the warm-ups, stand aside.
    The table's budget is the least of all arms of a seed, the primary outcome's that of its two.
    """
    trained = {arm: its for arm, its in cells.items() if all(record["sampled_tokens"] for record in its.values())}

    def budget(arms: Sequence[str], seed: int) -> float:
        return min(float(trained[arm][seed]["validation"][-1][spent]) for arm in arms if seed in trained[arm])

    seeds = sorted({seed for its in trained.values() for seed in its})
    budgets = {seed: budget(list(trained), seed) for seed in seeds}
    table = {}
    for arm, its in trained.items():
        points = [reached(record, spent, budgets[seed]) for seed, record in its.items()]
        table[arm] = {name: mean_sd([float(point[name]) for point in points]) for name in CURVE}
    both = [arm for arm in (primary.arm, primary.against) if arm in trained]

    def read(name: str, record: Record) -> float:
        return float(reached(record, spent, budget(both, record["seed"]))[name])

    known = primary.outcome in CURVE
    return {
        "split": "validation",
        "budget": {str(seed): value for seed, value in budgets.items()},
        "arms": table,
        "primary": difference(primary, trained, read) if known else None,
    }


def reached(record: Record, spent: str, budget: float) -> Mapping[str, Any]:
    """The last point of the validation curve that cost no more than `budget`, give or take one percent."""
    points: list[Mapping[str, Any]] = [point for point in record["validation"] if point[spent] <= budget * SLACK]
    return points[-1]
