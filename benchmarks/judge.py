"""How many short numeric answers does the judge check in a second?

    python benchmarks/judge.py [--answers 5000] [--repeats 3] [--json] [--out benchmarks/results/judge.json]

Three ways: a built-in verifier, which is trusted and runs in the judge's own process; a user's function in worker
processes, one call an answer; the same as TRL has them, one call for all. No two answers are alike, so that nothing is
remembered. Claimed: at least 500 checks a second on two cores, by each way. The rate is that of the fastest repeat;
where other work is going on (see "load") the others show how much that costs. Workers are started before.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds import __version__
from manyminds.machine import machine
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge, Reward, reward
from manyminds.sections import JudgeConfig
from manyminds.tasks.jsonl import after_marker

GOAL = 500.0
"""Checks a second."""
SEED = 0
LIBRARIES = ("pebble", "loky", "cloudpickle")


def users_own(response: str, answer: str, extract: Callable[[str], str | None]) -> float:
    """What a user would write: a function of one answer."""
    found = extract(response)
    return float(found is not None and float(found) == float(answer))


def users_own_trl(completions: list[str], answer: list[str], **kwargs: Any) -> list[float]:
    """The same for TRL's trainer."""
    return [float(float(c.rpartition("####")[2]) == float(a)) for c, a in zip(completions, answer, strict=True)]


WAYS: dict[str, str | Reward] = {
    "number_answer, in this process": "number_answer",
    "a function of one answer, in workers": reward(users_own),
    "a function of TRL's, in a worker": reward(users_own_trl),
}


def answers(count: int, rng: random.Random) -> list[Rollout]:
    """Short worked answers to additions, half of them right, no two alike."""
    found = []
    for place in range(count):
        a, b = rng.randrange(10**6), rng.randrange(10**6)
        given = a + b if rng.random() < 0.5 else a + b + 1
        question = Question(f"q{place}", f"What is {a} + {b}?", str(a + b))
        found.append(Rollout(Prompt(question, "concise"), (), (), f"{a} + {b} = {given}, which makes\n#### {given}.0"))
    return found


def measured(count: int, repeats: int, workers: int) -> dict[str, Any]:
    """Checks a second by each way."""
    rng, ways = random.Random(SEED), {}
    for name, entry in WAYS.items():
        tell(name)
        with Judge([entry], after_marker("####"), config=JudgeConfig(workers=workers)) as judge:
            began = time.perf_counter()
            judge(answers(1, rng))
            first = time.perf_counter() - began
            seconds = [timed(judge, answers(count, rng)) for _ in range(repeats)]
            share = judge.metrics[f"rewards/{judge.rewards[0].name}/mean"]
        rates = [count / one for one in seconds]
        ways[name] = {
            "checks_per_second": max(rates),
            "repeats": rates,
            "first_check_seconds": first,
            "right": share,
            "enough": max(rates) >= GOAL,
        }
    versions = {"python": sys.version.split()[0], "manyminds": __version__, **{its: version(its) for its in LIBRARIES}}
    return {
        "machine": machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "versions": versions,
        "seed": SEED,
        "answers": count,
        "workers": workers,
        "goal": GOAL,
        "ways": ways,
    }


def timed(judge: Judge, drawn: Sequence[Rollout]) -> float:
    """Seconds to judge these answers."""
    began = time.perf_counter()
    judge(drawn)
    return time.perf_counter() - began


def show(found: dict[str, Any], text: Console) -> None:
    """A line a way."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("way", "checks/s", "slowest repeat", "first check s"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, one in found["ways"].items():
        numbers = (f"{one['checks_per_second']:,.0f}", f"{min(one['repeats']):,.0f}")
        table.add_row(name, *numbers, f"{one['first_check_seconds']:.2f}")
    text.print(table)


def main(
    count: Annotated[int, typer.Option("--answers", min=1, help="Of each repeat.")] = 5000,
    repeats: Annotated[int, typer.Option(min=1, help="Of each way.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    found = measured(count, repeats, workers)
    give(found, lambda text: show(found, text), as_json=as_json, out=out)
    if not all(one["enough"] for one in found["ways"].values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
