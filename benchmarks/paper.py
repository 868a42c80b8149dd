"""The MEML-GRPO paper's comparison, from one recipe: multi-expert fine-tuning, then GRPO and MEML-GRPO from there.

    python benchmarks/paper.py recipes/paper/RECIPE.yaml [KEY=VALUE ...] [--seeds 0,1,2] [--arms grpo,meml_grpo]
                               [--json] [--out RESULT.json]

Every arm asks the same questions in the same order, with as many answers each; all start from their seed's warm-up. The
result (by default benchmarks/results/paper/NAME.json) says what was measured, with which versions, on what machine;
standard output has the line for the table of docs/results.md. Started again, it goes on where it was interrupted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from telling import AsJson, Out, give, tell

from manyminds.checkpoint import versions
from manyminds.config import Recipe, dump, load_recipe
from manyminds.errors import UserError
from manyminds.loading import load_questions
from manyminds.machine import machine
from manyminds.result import Result
from manyminds.run import train
from manyminds.warmup import warmup

RESULTS = Path(__file__).parent / "results" / "paper"
ARMS = ("grpo", "meml_grpo")
WARMUP = "mef"
SHARED = ("questions_per_step", "answers_per_prompt", "experts", "rounds")
"""What a baseline has in common with the recipe's own method."""


def recipe_of(path: Path, overrides: Sequence[str], seed: int, arm: str) -> Recipe:
    """The recipe with this seed and method, in a folder of its own. Raises UserError."""
    recipe = load_recipe(path, [*overrides, f"seed={seed}"])
    named = [*overrides, f"seed={seed}", f"name={recipe.name}-seed{seed}"]
    if arm == recipe.method.name:
        return load_recipe(path, named)
    shared = {key: value for key, value in dump(recipe)["method"].items() if key in SHARED}
    return load_recipe(path, [*named, f"method={json.dumps({'name': arm, **shared})}"])


def run(path: Path, overrides: Sequence[str], seeds: Sequence[int], arms: Sequence[str]) -> dict[str, Any]:
    """All arms on all seeds, one after the other, and everything that a reader needs to judge them."""
    recipes = {(seed, arm): recipe_of(path, overrides, seed, arm) for seed in seeds for arm in arms}
    first = recipes[seeds[0], arms[-1]]
    if first.warmup is None:
        raise UserError(f"{path}: has no `warmup` section; all arms start from one")
    task, _, resolved = load_questions(first)
    started, cells = time.perf_counter(), []
    for seed in seeds:
        tell(f"seed {seed}: warm-up")
        cells.append(cell(warmup(recipes[seed, arms[0]], resume=True, watch=watch), seed, WARMUP))
        for arm in arms:
            tell(f"seed {seed}: {arm}")
            cells.append(cell(train(recipes[seed, arm], resume=True, watch=watch), seed, arm))
    settings = {key: value for key, value in dump(resolved).items() if key not in ("output", "name", "seed", "arm")}
    return {
        "question": "Does MEML-GRPO do better than GRPO from the same multi-expert fine-tuning?",
        "recipe": first.name.rpartition("-seed")[0],
        "settings": settings,
        "methods": {arm: dump(recipes[seeds[0], arm].method) for arm in arms},
        "questions": {name: len(its) for name, its in task.splits.items()},
        "epochs": epochs(resolved, task.splits),
        "licence": task.licence,
        "notes": list(task.notes),
        "seeds": list(seeds),
        "cells": cells,
        "seconds": time.perf_counter() - started,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions() | installed("peft", "datasets", "tokenizers"),
        "machine": machine() | accelerator(),
    }


def watch(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
    """Notes and evaluations are told, steps now and then."""
    if what == "note":
        tell(f"  note: {data['text']}")
    elif what == "evaluation":
        tell(f"  step {step} of {steps}: experts' mean on validation {100 * data['metrics']['mean']['value']:.1f} %")
    elif step % 10 == 0:
        tell(f"  step {step} of {steps}: {data['step_time']:.1f} s")


def cell(result: Result, seed: int, arm: str) -> dict[str, Any]:
    """One arm on one seed: its metrics on the test questions, and what it cost."""
    after = json.loads((result.folder / "evaluation" / "after.json").read_text(encoding="utf-8"))
    chosen = {"best_expert": after["best_expert"], "test_questions": after["questions"]}
    return {"seed": seed, "arm": arm, "step": result.step, **chosen, "costs": result.costs, "metrics": result.metrics}


def epochs(recipe: Recipe, splits: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """How often the settings go through the worked answers in the warm-up, and through the questions in training."""
    assert recipe.warmup is not None
    rows = sum(len(question.traces) for question in splits["warmup"])
    drawn = recipe.steps * recipe.method.questions_per_step
    return {
        WARMUP: recipe.warmup.steps * recipe.warmup.rows_per_step / max(1, rows),
        "train": drawn / len(splits["train"]),
    }


def installed(*names: str) -> dict[str, str]:
    """The versions of packages that may be there."""
    found = {name: metadata.version(name) for name in names if any(metadata.distributions(name=name))}
    return dict(found)


def accelerator() -> dict[str, Any]:
    """The GPU, if there is one; nothing that names this one."""
    import torch

    if not torch.cuda.is_available():
        return {"gpu": None}
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return {"gpu": torch.cuda.get_device_name(0), "gpu_gibibytes": round(memory, 1), "cuda": torch.version.cuda}


def line(found: Mapping[str, Any]) -> str:
    """The result as a line of the table in docs/results.md."""
    arms = [WARMUP, *found["methods"]]
    cells = {arm: [one for one in found["cells"] if one["arm"] == arm] for arm in arms}
    shown = [accuracy(cells[arm]) if arm in cells else "–" for arm in (WARMUP, *ARMS)]
    hours = sum(one["costs"]["seconds"] for one in found["cells"]) / 3600
    parts = [
        found["recipe"],
        found["machine"]["gpu"] or "no GPU",
        ", ".join(map(str, found["seeds"])),
        *shown,
        f"{hours:.2g}",
        found["date"],
    ]
    return f"| {' | '.join(parts)} |"


def accuracy(cells: Sequence[Mapping[str, Any]]) -> str:
    """`best / mean` in %, over seeds; with one seed the 95 % intervals over questions."""
    told = []
    for name in ("best", "mean"):
        value = 100 * fmean(one["metrics"][name]["value"] for one in cells)
        its = cells[0]["metrics"][name]
        span = f" [{100 * its['low']:.1f}, {100 * its['high']:.1f}]" if len(cells) == 1 else ""
        told.append(f"{value:.1f}{span}")
    return " / ".join(told)


def main(
    recipe: Annotated[Path, typer.Argument(help="A recipe with a warmup section.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As of manyminds train.", show_default=False)
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    arms: Annotated[str, typer.Option(help="Methods, separated by commas.")] = ",".join(ARMS),
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Warm-up, then every arm, on every seed; a result as JSON and as a line of a table."""
    try:
        found = run(recipe, overrides or (), [int(seed) for seed in seeds.split(",")], arms.split(","))
    except (UserError, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    place = out or RESULTS / f"{found['recipe']}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    give(found, lambda console: show(console, found, place), as_json=as_json, out=place)


def show(console: Console, found: Mapping[str, Any], place: Path) -> None:
    """The line, and what to do with it."""
    console.print(line(found), markup=False, highlight=False, soft_wrap=True)
    tell(
        f"{found['epochs'][WARMUP]:.2f} epochs of warm-up, {found['epochs']['train']:.2f} of training; all of it is in"
    )
    tell(f"{place}. Send that file, and the line above, as docs/results.md says.")


if __name__ == "__main__":
    typer.run(main)
