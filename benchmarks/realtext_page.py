"""What do the results on real word problems look like as tables? Prints the Markdown that docs/realtext.md shows.

    python benchmarks/realtext_page.py

Reads benchmarks/results/realtext.json. A test holds the page to what this prints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

RESULTS = Path(__file__).parent / "results" / "realtext.json"
GROUPS = {"multiarith": "MultiArith", "svamp": "SVAMP", "both": "both"}
ARMS = {"before": "before RL", "grpo": "GRPO on all experts", "meml_grpo": "MEML-GRPO"}
GUESSES = {"majority_answer": "guess: the commonest answer", "majority_equation": "guess: the commonest equation"}
TEMPLATES = {"warmup": "seen in the warm-up", "train": "seen in RL", "new": "never seen"}
Cells = Mapping[str, Mapping[str, Any]]


def cells(found: Mapping[str, Any]) -> dict[str, Cells]:
    """By arm and seed, what a seed starts from among them."""
    ends: dict[str, Cells] = found["cells"]
    starts = {seed: found["before"][one["warmup"]] for its in ends.values() for seed, one in its.items()}
    return {"before": starts, **ends}


def percent(share: float) -> str:
    """12.3"""
    return f"{100 * share:.1f}"


def within(one: Mapping[str, float]) -> str:
    """12.3 [4, 21]"""
    return f"{percent(one['value'])} [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def by_seed(found: Mapping[str, Any]) -> str:
    """The experts' mean accuracy of every run per data set, under what guesses get."""
    rows = [[title, "–", *(percent(found["baselines"][g][key]) for g in GROUPS)] for key, title in GUESSES.items()]
    for arm, its in cells(found).items():
        for seed, one in its.items():
            rows.append([ARMS[arm], seed, *(within(one["accuracy"][group]["mean"]) for group in GROUPS)])
    sizes = [f"{title} ({found['baselines'][group]['questions']})" for group, title in GROUPS.items()]
    return table(["mean over the expert prompts, %", "seed", *sizes], rows)


def averaged(found: Mapping[str, Any], head: str, columns: Mapping[str, Callable[[Any], float]]) -> str:
    """A row per arm: means over seeds of what `columns` read from a run."""
    rows = [
        [ARMS[arm], *(percent(fmean(map(read, its.values()))) for read in columns.values())]
        for arm, its in cells(found).items()
    ]
    return table([head, *columns], rows)


def prompts(found: Mapping[str, Any]) -> str:
    """Accuracy on both data sets under each prompt, and what one of several answers reaches."""
    names = next(iter(found["before"].values()))["accuracy"]["both"]
    columns: dict[str, Callable[[Any], float]] = {
        name: lambda one, name=name: one["accuracy"]["both"][name]["value"] for name in names
    }
    wanted = list(next(iter(found["before"].values()))["metrics"])
    columns |= {
        name.replace("pass_at_", "pass@"): lambda one, name=name: one["metrics"][name]["value"]
        for name in wanted
        if not name.startswith("pooled")
    }
    return averaged(found, "both data sets, %", columns)


def templates(found: Mapping[str, Any]) -> str:
    """The experts' mean accuracy by where a question's template was seen."""
    first = next(iter(found["before"].values()))["by_template"]
    columns: dict[str, Callable[[Any], float]] = {
        f"{title} ({first[key]['questions']})": lambda one, key=key: one["by_template"][key]["value"]
        for key, title in TEMPLATES.items()
        if first[key]["questions"]
    }
    return averaged(found, "by the question's template, %", columns)


def costs(found: Mapping[str, Any]) -> str:
    """Updates, tokens and seconds of training, means over seeds."""
    rows = []
    for arm, its in cells(found).items():
        ones = list(its.values())
        its_mean = {
            key: fmean(one[key] for one in ones) for key in ("step", "sampled_tokens", "trained_tokens", "seconds")
        }
        title = "warm-up" if arm == "before" else ARMS[arm]
        rows.append([title, *(f"{value:,.0f}" for value in its_mean.values())])
    return table(["mean over seeds", "updates", "sampled tokens", "trained tokens", "seconds"], rows)


def gains(found: Mapping[str, Any]) -> str:
    """Differences over seeds, in points."""
    rows = []
    for group, title in GROUPS.items():
        for name, one in found["differences"][group].items():
            between = "–" if one["low"] is None else f"[{one['low']:+.1f}, {one['high']:+.1f}]"
            each = " / ".join(f"{value:+.1f}" for value in one["differences"])
            rows.append([title, name.replace("_grpo", "-GRPO").replace("meml", "MEML").replace("grpo", "GRPO")])
            rows[-1] += [f"{one['difference']:+.1f}", between, each]
    return table(["questions", "points", "mean", "95 % over seeds", "seed by seed"], rows)


def markdown(found: Mapping[str, Any]) -> str:
    """All tables."""
    return "\n\n".join(make(found) for make in (by_seed, gains, prompts, templates, costs))


if __name__ == "__main__":
    print(markdown(json.loads(RESULTS.read_text(encoding="utf-8"))))
