"""Is a run that is killed again and again, and resumed each time, the same run?

    python benchmarks/kill_resume.py [--kills 50] [--seed 0] [--json] [--out benchmarks/results/kill_resume.json]

A small run on the embedded task, warm-up and MEML-GRPO with a hard-example buffer, is a process of its own that says
what it begins: a warm-up step, sampling, an update, the writing of a checkpoint, an evaluation. At the beginning of one
of them, picked by turns, and a random moment after it, it gets a `kill -9`; then it is resumed, and killed again.
When it has come to its end, all that it leaves behind, less the wall clock, is compared with the same run undisturbed:
weights, optimisers, memory, metrics, evaluations. Then another one is begun, until there were enough kills.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from telling import AsJson, Out, give, tell

from manyminds import checkpoint
from manyminds.checkpoint import versions
from manyminds.durable import read_jsonl, sha256, to_json
from manyminds.machine import machine

PHASES = ("warm-up", "sampling", "update", "checkpoint", "evaluation")
LONGEST = 0.3
"""Seconds between the beginning of a phase and the kill, at most: about what a phase takes here."""
WALL_CLOCK = {"step_time", "seconds", "time"}


def recipe(output: Path) -> dict[str, Any]:
    """A run of a few seconds: 12 steps of warm-up and 12 of training, saved and evaluated in the middle of both."""
    return {
        "name": "killed",
        "model": "tiny",
        "task": {"name": "arithmetic", "warmup": 40, "train": 7, "validation": 6, "test": 6},
        "warmup": {"steps": 12, "rows_per_step": 4, "plain_share": 0.25, "evaluate_every": 4, "decay_at": None},
        "method": {
            "name": "meml_grpo",
            "preset": "tuned",
            "questions_per_step": 2,
            "answers_per_prompt": 3,
            "hard_wrong": 1,
            "hard_capacity": 11,
            "hard_probability": 0.8,
        },
        "steps": 12,
        "sampling": {"max_tokens": 12},
        "optimizer": {"lr": 0.003},
        "evaluation": {"every": 3, "questions": 4, "samples": 2, "group": 2},
        "checkpoint": {"every": 2, "keep_best": True},
        "output": str(output),
    }


def child(place: Path) -> None:
    """The run itself, from where it stands; says on standard output what it begins."""
    from manyminds.config import parse
    from manyminds.policy.hf_policy import HFPolicy
    from manyminds.sampling.transformers_sampler import TransformersSampler

    warmup, run = (import_module(f"manyminds.{name}") for name in ("warmup", "run"))

    def saying(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def said(*args: Any, **kwargs: Any) -> Any:
            print(phase, flush=True)
            return function(*args, **kwargs)

        return said

    warmup.learn = saying("warm-up", warmup.learn)
    for module in (run, warmup):
        module.evaluate = saying("evaluation", module.evaluate)
        module.save = saying("checkpoint", module.save)
    HFPolicy.update = saying("update", HFPolicy.update)
    TransformersSampler.sample = saying("sampling", TransformersSampler.sample)
    its = parse(recipe(place))
    warmup.warmup(its, resume=True)
    run.train(its, resume=True)


def go_on(place: Path, phase: str | None, chance: random.Random) -> bool:
    """Resume the run, and kill it in this phase; whether it was killed, and did not come to its end before."""
    arguments = [sys.executable, __file__, "--child", str(place)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        wanted, seen = 1 + chance.randrange(6), 0
        for line in process.stdout:
            seen += line.strip() == phase
            if seen == wanted:
                time.sleep(chance.uniform(0, LONGEST))
                if process.poll() is None:
                    process.kill()
                    break
    if process.returncode not in (0, -9):
        raise SystemExit(f"the run in {place} failed with {process.returncode}; what it said is above")
    return process.returncode == -9


def remains(place: Path) -> dict[str, str]:
    """SHA-256 of all that the finished run leaves behind, by what it is; the wall clock is left out."""
    found = {}
    for folder in sorted((place / "killed").iterdir()):
        newest, skipped = checkpoint.latest(folder / "checkpoints")
        assert newest is not None, folder
        assert not skipped, skipped
        files = {file.relative_to(folder).as_posix(): sha256(file) for file in folder.rglob("*.safetensors")}
        rows = {name: read_jsonl(folder / name) for name in ("metrics.jsonl", "evaluations.jsonl")}
        texts = {name: json.loads((folder / name).read_text()) for name in ("result.json", "evaluation/after.json")}
        state = json.loads((newest / "state.json").read_text())
        state["recipe"].pop("output")
        for name, value in {**rows, **texts, "state.json": state}.items():
            files[name] = hashlib.sha256(to_json(timeless(value)).encode()).hexdigest()
        found |= {f"{folder.name}/{name}": digest for name, digest in files.items()}
    return found


def timeless(value: Any) -> Any:
    """The value without what a clock says."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in WALL_CLOCK}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def measured(kills: int, seed: int, place: Path) -> dict[str, Any]:
    """Kills until there were enough, each phase by turns, and what came of the runs."""
    chance, counts = random.Random(seed), Counter[str]()
    tell("the run undisturbed")
    go_on(place / "whole", None, chance)
    whole, runs = remains(place / "whole"), []
    while sum(counts.values()) < kills or not runs:
        its = place / f"run-{len(runs)}"
        here, going = Counter[str](), True
        while going:
            enough = sum(counts.values()) >= kills
            phase = None if enough else min(possible(its), key=lambda one: (counts[one], one))
            going = go_on(its, phase, chance)
            if going and phase:
                counts[phase] += 1
                here[phase] += 1
                tell(f"{sum(counts.values())} of {kills} kills, in {phase}")
        found = remains(its)
        different = sorted(name for name in {*whole, *found} if whole.get(name) != found.get(name))
        runs.append({"kills": dict(here), "different": different})
    return {
        "machine": machine(),
        "versions": versions(),
        "seed": seed,
        "kills": sum(counts.values()),
        "by_phase": {phase: counts[phase] for phase in PHASES},
        "runs": len(runs),
        "identical": all(not its["different"] for its in runs),
        "of_each_run": runs,
        "compared": sorted(whole),
    }


def possible(place: Path) -> tuple[str, ...]:
    """The phases that the run has still before it."""
    return PHASES[1:] if (place / "killed" / "warmup" / "result.json").exists() else PHASES


def show(found: dict[str, Any], text: Console) -> None:
    """What came of it, in two lines."""
    text.print(f"{found['kills']} kills ({', '.join(f'{n} in {phase}' for phase, n in found['by_phase'].items())})")
    text.print(f"{found['runs']} runs, {'all identical' if found['identical'] else 'NOT identical'} to the undisturbed")


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many, over all runs.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the moments.")] = 0,
    as_json: AsJson = False,
    out: Out = None,
    child_of: Annotated[Path | None, typer.Option("--child", hidden=True)] = None,
) -> None:
    """Is a run that is killed again and again, and resumed each time, the same run?"""
    if child_of is not None:
        child(child_of)
        return
    with tempfile.TemporaryDirectory() as place:
        found = measured(kills, seed, Path(place))
    give(found, partial(show, found), as_json=as_json, out=out)
    if not found["identical"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
