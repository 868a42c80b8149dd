"""Does a small model from scratch learn to read real word problems, and what does each kind of RL add to that?

    python benchmarks/realtext.py DATA [--seeds 0,1,2] [--json] [--out FILE] [--plot FILE.png]

DATA holds the folders `multiarith` and `svamp`, each with `train.jsonl` and `dev.jsonl` (realtext_data.py says with
which columns). Real and generated questions are written for `recipes/word_problems.yaml`, with a model of random
weights; then the whole of it runs: multi-expert fine-tuning on three styles, and from there GRPO over all experts and
MEML-GRPO, which end when they have sampled as many tokens. Tested on the real questions of both `dev` files, of which
nothing was trained on or chosen by. Everything lies in `--work`; a script that was interrupted goes on there.

A seed is the order of questions and all draws of reinforcement learning; with `--warmups N` seed s starts from warm-up
s mod N, each with weights and an order of its own. Intervals are over questions, differences paired over seeds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import realtext_data
import torch
import typer
import word_model
from realtext_data import SETS, Sizes, Split
from realtext_page import GROUPS as TITLES
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell
from transformers.utils import logging

from manyminds import train, warmup
from manyminds.checkpoint import versions
from manyminds.config import Recipe, dump, load_recipe
from manyminds.evaluate import intervals
from manyminds.machine import machine
from manyminds.records import PLAIN
from manyminds.report.drawing import canvas
from manyminds.result import Result
from manyminds.statistics import paired

RECIPE = Path(__file__).parents[1] / "recipes" / "word_problems.yaml"
ARMS = {"grpo": "GRPO on all experts", "meml_grpo": "MEML-GRPO"}
SIZES = Sizes()
GROUPS = (*SETS, "both")
COLOURS = {"before": "#6b6b70", "grpo": "#0072b2", "meml_grpo": "#c96a00"}


def files(split: Split, work: Path, number: int, sizes: Mapping[str, int]) -> tuple[list[str], int]:
    """The overrides that name the task's files and the model of a warm-up, all written; and the model's parameters."""
    task = realtext_data.write(split, work / "data")
    texts = [problem.text for problem in (*split.warmup, *split.train) if problem.id == problem.template]
    systems = [expert.system or "" for expert in load_recipe(RECIPE).experts or ()]
    model = work / "data" / f"model-{number}"
    logging.disable_progress_bar()
    parameters = word_model.create(model, word_model.tokenizer(texts, systems), number, **sizes)
    return [*(f"task.{key}={path}" for key, path in task.items()), f"model={model}"], parameters


def recipe(work: Path, number: int, seed: int, arm: str, overrides: Sequence[str]) -> Recipe:
    """One run: this arm and seed, from the warm-up of this number."""
    method = [] if arm == "meml_grpo" else ["method={name: grpo, questions_per_step: 12, answers_per_prompt: 8}"]
    own = [f"name=warmup-{number}", f"output={work}", f"seed={seed}", f"arm={arm}-{seed}"]
    return load_recipe(RECIPE, [*overrides, *method, *own])


def measured(folder: Path, templates: Mapping[str, str]) -> dict[str, Any]:
    """Test accuracies of a finished run: per data set under each prompt, and by where the template was seen before."""
    found = json.loads((folder / "evaluation" / "after.json").read_text(encoding="utf-8"))
    experts, answers = found["experts"], found["answers"]
    accuracy = {}
    for group in GROUPS:
        its = [answer for answer in answers if group == "both" or answer["id"].startswith(group)]
        accuracy[group] = intervals(values(its, experts), [])
    seen = {}
    for where in ("warmup", "train", "new"):
        its = [answer for answer in answers if templates[answer["id"]] == where]
        seen[where] = {"questions": len(its)} | (intervals(values(its, experts), [])["mean"] if its else {})
    rest = {key: one for key, one in found["metrics"].items() if key == "oracle" or key.startswith("pass")}
    return {"best_expert": found["best_expert"], "accuracy": accuracy, "by_template": seen, "metrics": rest}


def values(answers: Sequence[Mapping[str, Any]], experts: Sequence[str]) -> dict[str, Any]:
    """Per question: right or wrong under each prompt, and the mean over the experts."""
    right = {name: np.array([float(a["greedy"][name]["correct"]) for a in answers]) for name in (PLAIN, *experts)}
    return {**right, "mean": np.stack([right[name] for name in experts]).mean(0)}


def curve(folder: Path) -> list[dict[str, float]]:
    """Mean accuracy of the experts on validation questions, with the tokens drawn until then."""
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {"step": one["step"], "num_tokens": one["num_tokens"], "mean": round(one["metrics"]["mean"]["value"], 4)}
        for one in lines
    ]


def cell(its: Result, templates: Mapping[str, str]) -> dict[str, Any]:
    """What a finished run came to."""
    return {"step": its.step, **its.costs, "validation": curve(its.folder), **measured(its.folder, templates)}


def differences(cells: Mapping[str, Mapping[str, Any]], before: Mapping[str, Any]) -> dict[str, Any]:
    """Mean accuracy of the experts, in points, paired over seeds: each arm against its warm-up, and the arms."""

    def mean(one: Mapping[str, Any], group: str) -> float:
        return 100 * float(one["accuracy"][group]["mean"]["value"])

    found: dict[str, Any] = {}
    for group in GROUPS:
        its = {arm: {seed: mean(one, group) for seed, one in runs.items()} for arm, runs in cells.items()}
        start = {seed: mean(before[one["warmup"]], group) for runs in cells.values() for seed, one in runs.items()}
        found[group] = {
            f"{arm} - before": paired([v - start[s] for s, v in of.items()]) for arm, of in its.items() if of
        }
        both = [seed for seed in its["meml_grpo"] if seed in its["grpo"]]
        if both:
            gaps = [its["meml_grpo"][seed] - its["grpo"][seed] for seed in both]
            found[group]["meml_grpo - grpo"] = paired(gaps)
    return found


def draw(found: Mapping[str, Any], place: Path) -> None:
    """A panel per data set: the experts' mean accuracy before, and after each arm, seed by seed; and the guesses."""
    figure, panels = canvas(1, len(SETS), height=380, width=860)
    figure.set_facecolor("#fdfcf9")
    ink, rule = "#1d1d1f", "#e4e2dc"
    for axes, group in zip(panels[0], SETS, strict=True):
        axes.set_facecolor("#fdfcf9")
        questions = found["baselines"][group]["questions"]
        axes.set_title(f"{TITLES[group]}, {questions} real questions", loc="left", color=ink, fontsize=13, pad=10)
        for column, arm in enumerate(ARMS):
            for seed, one in found["cells"][arm].items():
                ends = [found["before"][one["warmup"]], one]
                its = [100 * end["accuracy"][group]["mean"]["value"] for end in ends]
                at = [2.6 * column, 2.6 * column + 1]
                axes.plot(at, its, color=COLOURS[arm], marker="o", linewidth=1.6, alpha=0.85)
                axes.annotate(seed, (at[1] + 0.09, its[1]), color=COLOURS[arm], fontsize=9, va="center")
        for name, dashes in (("majority_equation", (0, (5, 3))), ("majority_answer", (0, (1, 2)))):
            level = 100 * found["baselines"][group][name]
            axes.axhline(level, color=COLOURS["before"], linestyle=dashes, linewidth=1.3)
            label = name.replace("majority_", "always the commonest ")
            axes.annotate(label, (3.75, level + 0.8), color=COLOURS["before"], fontsize=9, ha="right")
        axes.set_xticks([0, 1, 2.6, 3.6], ["before", "GRPO", "before", "MEML-GRPO"])
        axes.tick_params(labelcolor=ink)
        axes.grid(True, axis="y", color=rule)
        axes.set_xlim(-0.3, 4)
        axes.set_ylim(bottom=0)
    panels[0][0].set_ylabel("right under the expert prompts, mean, in %", color=ink)
    figure.savefig(place, dpi=130)


def show(found: Mapping[str, Any], text: Console) -> None:
    """Guesses, before and after, per data set; differences over seeds."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("accuracy in %", *(TITLES[group] for group in GROUPS)):
        table.add_column(column, no_wrap=True)
    for name in ("majority_answer", "majority_equation"):
        table.add_row(name, *(f"{100 * found['baselines'][group][name]:.1f}" for group in GROUPS))
    lines = {f"before, warm-up {number}": one for number, one in found["before"].items()}
    for arm, title in ARMS.items():
        lines |= {f"{title}, seed {seed}": one for seed, one in found["cells"][arm].items()}
    for name, one in lines.items():
        its = [one["accuracy"][group]["mean"] for group in GROUPS]
        row = (f"{100 * i['value']:.1f} [{100 * i['low']:.0f}, {100 * i['high']:.0f}]" for i in its)
        table.add_row(name, *row)
    text.print(table)
    for group, pairs in found["differences"].items():
        for name, one in pairs.items():
            between = "" if one["low"] is None else f" [{one['low']:+.1f}, {one['high']:+.1f}]"
            text.print(f"{TITLES[group]}: {name} {one['difference']:+.1f} points{between}", highlight=False)


def main(
    data: Annotated[Path, typer.Argument(help="The folder with multiarith/ and svamp/.")],
    seeds: Annotated[str, typer.Option(help="Of reinforcement learning, by commas.")] = "0,1,2",
    warmups: Annotated[int, typer.Option(min=1, help="How many warm-ups the seeds are spread over.")] = 3,
    work: Annotated[Path, typer.Option(help="Where data, models and runs lie.")] = Path("runs/realtext"),
    threads: Annotated[int, typer.Option(min=1)] = 1,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure there, a PNG.")] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Does a small model from scratch learn to read real word problems, and what does each kind of RL add to that?"""
    command = f"python benchmarks/realtext.py DATA --seeds {seeds} --warmups {warmups} --threads {threads}"
    found = measure(data, [int(seed) for seed in seeds.split(",")], warmups, work, threads, command, out)
    if plot is not None:
        draw(found, plot)
    give(found, partial(show, found), as_json=as_json, out=out)


def measure(
    data: Path,
    seeds: Sequence[int],
    warmups: int,
    work: Path,
    threads: int,
    command: str,
    out: Path | None = None,
    *,
    sizes: Sizes = SIZES,
    model: Mapping[str, int] | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything that is to be measured; after each run what there is so far goes to `out`."""
    torch.set_num_threads(threads)
    began, split = time.perf_counter(), realtext_data.divide(data, sizes, 0)
    templates = realtext_data.templates(split)
    found: dict[str, Any] = {
        "command": command,
        "machine": machine(),
        "versions": versions(),
        "threads": threads,
        "sets": realtext_data.facts(split),
        "baselines": realtext_data.baselines(split, data),
        "before": {},
        "cells": {arm: {} for arm in ARMS},
    }
    for seed in seeds:
        number = seed % warmups
        named, found["parameters"] = files(split, work, number, model or {})
        shared = [*overrides, *named]
        first = recipe(work, number, number, "meml_grpo", shared)
        found["recipe"] = plain(dump(first), work)
        if str(number) not in found["before"]:
            done = Result.read(first.warmup_folder)
            its = done or warmup(first, resume=True, watch=partial(note, f"warm-up {number}"))
            found["before"][str(number)] = cell(its, templates)
        for arm in ARMS:
            its = train(
                recipe(work, number, seed, arm, shared), resume=True, watch=partial(note, f"{arm}, seed {seed}")
            )
            found["cells"][arm][str(seed)] = {"warmup": str(number), **cell(its, templates)}
            found["differences"] = differences(found["cells"], found["before"])
            found["wall_seconds"] = time.perf_counter() - began
            give(found, None, out=out)
    return found


def plain(recipe: dict[str, Any], work: Path) -> dict[str, Any]:
    """The recipe without the place where it was run."""
    text = json.dumps(recipe).replace(f"{work}/", "WORK/").replace(str(work), "WORK")
    its: dict[str, Any] = json.loads(text)
    return its


def note(name: str, what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
    """A line for each evaluation."""
    if what == "evaluation":
        its = {key: round(100 * one["value"], 1) for key, one in data["metrics"].items() if "styles" not in key}
        tell(f"{name}: step {step} of {steps}, validation in %: {its}")


if __name__ == "__main__":
    typer.run(main)
