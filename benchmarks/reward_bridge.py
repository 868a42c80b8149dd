"""Does a policy learn answers from a small generative verifier, or the verifier's errors? Reward Bridge at toy scale.

    python benchmarks/reward_bridge.py [--seeds 3] [--steps 150] [--json] [--out benchmarks/results/reward_bridge.json]

Makes the judge of examples/tiny_judge.py in a folder that goes again, and runs recipes/reward_bridge_arithmetic.yaml
from the shipped model with soft and with binary rewards. What the judge said of every answer of training is in the
runs' judgments.jsonl; a rule that knows how references were spelled says which of them are right. Shares are over the
first and the last five steps. One thread; about a minute a run, and one for the judge.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give

from manyminds import yaml_text
from manyminds.checkpoint import versions
from manyminds.config import Recipe, parse
from manyminds.durable import read_jsonl
from manyminds.machine import machine
from manyminds.run import train

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "reward_bridge_arithmetic.yaml"
MODES = ("soft", "binary")
SHOWN = ("right_by_rule", "wrong_called_right")
ENDS = 5
"""Steps at each end over which shares are taken."""


def recipe(judge: Path, mode: str, seed: int, steps: int, output: Path) -> Recipe:
    """The recipe with this judge and mode; what it says otherwise stands."""
    data, _ = yaml_text.read(RECIPE, "a recipe")
    verifier, oracle = data["rewards"]
    return parse(
        {
            **data,
            "model": str(ROOT / data["model"]),
            "task": {**data["task"], "questions": str(judge / "questions.jsonl")},
            "rewards": [{**verifier, "model": str(judge), "mode": mode}, oracle],
            "arm": f"{mode}{seed}",
            "seed": seed,
            "steps": steps,
            "output": str(output),
        }
    )


def shares(pairs: Sequence[tuple[bool, bool]], rewards: Sequence[float]) -> dict[str, float]:
    """Of (the rule says right, the judge says right): both shares, that of wrong answers which the judge calls right,
    Cohen's kappa of the two, and the mean reward. A share of nothing is 0."""
    rule, judge = (fmean(pair[side] for pair in pairs) for side in (0, 1))
    wrong = [said for right, said in pairs if not right]
    agreed, chance = fmean(right == said for right, said in pairs), rule * judge + (1 - rule) * (1 - judge)
    return {
        "right_by_rule": rule,
        "right_by_judge": judge,
        "wrong_called_right": fmean(wrong) if wrong else 0.0,
        "kappa": (agreed - chance) / (1 - chance) if chance < 1 else 0.0,
        "reward": fmean(rewards),
    }


def of_steps(rows: Sequence[Mapping[str, Any]], steps: range, oracle: Any) -> dict[str, float]:
    """The shares over the judgments of these steps."""
    some = [row for row in rows if row["step"] in steps]
    return shares(
        [(oracle(row["last_line"], row["reference"]), row["value"] > 0.5) for row in some],
        [row["value"] for row in some],
    )


def measured(judge: Path, mode: str, seed: int, steps: int, output: Path, oracle: Any) -> dict[str, Any]:
    """One run: its shares at both ends, and the seconds it took."""
    its, began = recipe(judge, mode, seed, steps, output), time.perf_counter()
    train(its)
    rows = read_jsonl(its.folder / "judgments.jsonl")
    ends = {"first": range(1, ENDS + 1), "last": range(steps - ENDS + 1, steps + 1)}
    found = {name: of_steps(rows, where, oracle) for name, where in ends.items()}
    return {"mode": mode, "seed": seed, **found, "seconds": time.perf_counter() - began}


def sentence(found: Mapping[str, Any]) -> str:
    """What docs/papers.md says of it: means over the runs of both modes."""

    def moved(mode: str, name: str) -> str:
        runs = [run for run in found["runs"] if run["mode"] == mode]
        return " to ".join(f"{100 * fmean(run[end][name] for run in runs):.1f}" for end in ("first", "last"))

    right, fooled = (", ".join(f"{moved(mode, name)} % ({mode})" for mode in MODES) for name in SHOWN)
    return (
        f"The judge says what its rule says on {100 * found['judge']['accuracy']:.1f} % of 1,000 new prompts. From the "
        f"first five steps to the last five, answers that the rule calls right: {right}; wrong ones that the judge "
        f"calls right: {fooled}."
    )


def show(found: Mapping[str, Any], text: Console) -> None:
    """A run a line."""
    text.print(f"the judge says what the rule says on {100 * found['judge']['accuracy']:.1f} % of 1,000 new prompts")
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("mode", "seed", "by rule, %", "by judge, %", "fooled, %", "kappa", "reward", "s"):
        table.add_column(column, justify="right", overflow="fold")
    for run in found["runs"]:
        both = [(run["first"][name], run["last"][name]) for name in run["first"]]
        cells = [f"{100 * a:.1f} to {100 * b:.1f}" for a, b in both[:3]] + [f"{a:.2f} to {b:.2f}" for a, b in both[3:]]
        table.add_row(run["mode"], str(run["seed"]), *cells, f"{run['seconds']:.0f}")
    text.print(table)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each mode.")] = 3,
    steps: Annotated[int, typer.Option(min=2 * ENDS, help="Updates of each run.")] = 150,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Does a policy learn answers from a small generative verifier, or the verifier's errors?"""
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))  # where the recipe finds its rule
    tiny_judge = runpy.run_path(str(ROOT / "examples" / "tiny_judge.py"))
    with tempfile.TemporaryDirectory() as name:
        judge, began = Path(name) / "judge", time.perf_counter()
        accuracy = tiny_judge["taught"](judge)
        seconds = time.perf_counter() - began
        lines = [json.dumps(row) + "\n" for row in tiny_judge["questions"]()]
        (judge / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
        each = [(mode, seed) for mode in MODES for seed in range(seeds)]
        runs = [measured(judge, mode, seed, steps, Path(name), tiny_judge["oracle"]) for mode, seed in each]
    found = {
        "command": f"python benchmarks/reward_bridge.py --seeds {seeds} --steps {steps}",
        "machine": machine(),
        "versions": versions(),
        "judge": {"accuracy": accuracy, "seconds": seconds},
        "runs": runs,
    }
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
