"""One cell of a comparison: `python -m manyminds.cell recipe.yaml stage` runs it, `gather` reads what it came to."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from manyminds.config import Recipe, dump, load_recipe
from manyminds.durable import read_jsonl, sha256
from manyminds.errors import Interrupted, UserError

CURVE = ("plain", "mean", "worst", "best", "vote", "oracle")
SAMPLED = ("reward", "groups/mixed", "groups/all_right", "groups/all_wrong", "groups/pooled_all_wrong")
SAMPLED_IF_THERE = ("mutual/pairs", "hard_buffer/size", "groups/refused")
EVERY = 10


def gather(recipe: Recipe, stage: str) -> dict[str, Any]:
    """The finished cell without its answers: metrics, costs, validation curve, training curve."""
    folder = recipe.warmup_folder if stage == "warmup" else recipe.folder
    result = _json(folder / "result.json")
    test = _json(folder / "evaluation" / "after.json")
    lines = read_jsonl(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    evaluations = read_jsonl(folder / "evaluations.jsonl")
    metrics = {name: one for name, one in result["metrics"].items() if not name.startswith("styles/")}
    found = {
        "step": result["step"],
        "best_expert": test["best_expert"],
        "test_questions": test["questions"],
        **{name: result[name] for name in ("sampled_tokens", "trained_tokens", "seconds")},
        "traces_used": traces_used(recipe, stage, lines),
        **({} if stage == "warmup" else {"teacher_tokens": used(lines, "tokens")}),
        "weights": weights(folder),
        "metrics": metrics,
        "styles": styles(result["metrics"]),
        "families": families(test["answers"]),
        "validation": validation(evaluations, lines),
        "training": training(lines),
        "versions": _json(folder / "versions.json"),
        "recipe": dump(recipe),
    }
    if recipe.warmup and stage != "warmup":
        before = _json(recipe.warmup_folder / "result.json")
        costs = {name: before[name] for name in ("step", "trained_tokens", "seconds")}
        found["started_from"] = {**costs, "weights": weights(recipe.warmup_folder)}
    return found


def weights(folder: Path) -> str | None:
    """The SHA-256 of the newest checkpoint's model weights; None without a checkpoint."""
    files = sorted(folder.glob("checkpoints/step-*/model/model.safetensors"))
    return sha256(files[-1]) if files else None


def traces_used(recipe: Recipe, stage: str, lines: Sequence[Mapping[str, Any]]) -> int:
    """How many worked answers, not the policy's own, were used: rows of the warm-up, and what `used` counts."""
    if stage == "warmup":
        return len(lines) * recipe.warmup.rows_per_step if recipe.warmup else 0
    return used(lines, "rows")


def used(lines: Sequence[Mapping[str, Any]], what: str) -> int:
    """The rows, or tokens, of worked answers that steps used, whichever way they came in: a spent buffer, groups,
    or lessons.

    Once a step, however many updates it has; a trace in a group that is all right counts, although it has no credit.
    """
    return int(sum(line.get(f"{way}/{what}", 0) for line in lines for way in ("hard_buffer", "traces", "tutoring")))


def validation(evaluations: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy on validation while training, with the tokens sampled and the seconds trained until then."""
    seconds, spent = {0: 0.0}, 0.0
    for line in lines:
        spent += line["step_time"]
        seconds[line["step"]] = spent
    curve: dict[int, dict[str, Any]] = {}
    for one in evaluations:
        step = int(one["step"])
        curve.setdefault(  # the first at a step; the final one over all validation questions comes after it
            step,
            {
                "step": step,
                "num_tokens": one["num_tokens"],
                "seconds": round(seconds.get(step, 0.0), 2),
                **{name: round(one["metrics"][name]["value"], 4) for name in CURVE},
                "styles": styles(one["metrics"]),
            },
        )
    return [curve[step] for step in sorted(curve)]


def training(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Training metrics as means over ten steps each; `step` is the last of the ten."""
    series: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(lines), EVERY):
        ten = lines[start : start + EVERY]
        names = [name for name in (*SAMPLED, *SAMPLED_IF_THERE) if all(name in line for line in ten)]
        for name in names or [name for name in ten[0] if name.startswith("loss/")]:
            series[name].append(round(fmean(line[name] for line in ten), 4))
        series["step"].append(ten[-1]["step"])
    return dict(series)


def styles(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Which share of greedy answers used which style, by prompt."""
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for name, one in metrics.items():
        if name.startswith("styles/"):
            _, prompt, style = name.split("/", 2)
            shares[prompt][style] = round(one["value"], 4)
    return dict(shares)


def families(answers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Greedy accuracy under every prompt, and of any of them ("any"), by family of question where there are such."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for answer in answers:
        if "family" in answer:
            right = {name: float(one["correct"]) for name, one in answer["greedy"].items()}
            rows[answer["family"]].append({**right, "any": max(right.values())})
    return {
        family: {name: round(fmean(row[name] for row in its), 4) for name in its[0]}
        for family, its in sorted(rows.items())
    }


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def run(recipe: Recipe, stage: str) -> None:
    """Run the stage; what was begun before is continued from its newest checkpoint."""
    from manyminds.run import train
    from manyminds.warmup import warmup

    parent = os.getppid()

    def watch(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if os.getppid() != parent:  # whoever compares is gone: nobody would take the result
            raise SystemExit("the comparison that started this cell has ended")

    alone = stage == "both" and not (recipe.warmup_folder / "result.json").exists()
    if stage == "warmup" or alone:
        warmup(recipe, resume=True, watch=watch)
    if stage != "warmup":
        train(recipe, resume=True, watch=watch)


def main(arguments: Sequence[str]) -> int:
    """0, 2 for a user's mistake, whose sentence is the last line of standard error, 128 + a signal that ended it."""
    recipe, stage = arguments
    try:
        run(load_recipe(recipe), stage)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Interrupted as error:
        return error.code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
