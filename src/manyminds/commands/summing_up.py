"""`compare`, `report`, `methods` and `demo`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from manyminds.commands.checking import plain
from manyminds.commands.console import AsJson, DryRun, bars, consoles, print_json, told

SHOWN = ("plain", "mean", "worst", "best", "vote", "oracle")


@told("the same command goes on with the cells that are missing")
def compare(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A comparison: a YAML file.", show_default=False)],
    workers: Annotated[int, typer.Option(min=1, help="Processes at a time, one thread each.")] = 2,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ARM", help="Only this arm; may be repeated.", show_default=False)
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods over several seeds.

    Every arm is run on every seed from one and the same warm-up of that seed, each in a process of its own. A cell (an
    arm on a seed) is written as it ends and is never run again, so the same command goes on where it was stopped.

    \b
    Example:
      manyminds compare recipes/ablation_arithmetic.yaml --workers 2

    \b
    Writes to the comparison's `results` folder:
      LEVEL/ARM-seedN.json   one cell: metrics, curves, costs, the recipe it ran
    and beside it, whenever a cell ends:
      RESULTS.json           means over seeds, paired differences with intervals, every cell
    """
    from manyminds.comparison import load_comparison, plan

    comparison, base = load_comparison(Path(recipe))
    cells = plan(comparison, base)
    text, place = consoles(as_json)
    if dry_run:
        there = {cell.key for cell in cells if (Path(recipe).parent / comparison.results / cell.file).exists()}
        rows = [{"level": c.level, "arm": c.arm, "seed": c.seed, "done": c.key in there} for c in cells]
        if as_json:
            print_json({"cells": rows})
        else:
            show_cells(text, rows)
        return
    from manyminds.compare import compare as run

    with bars(place) as progress:
        found = run(recipe, workers=workers, only=only or (), watch=Cells(progress))
    if as_json:
        print_json(found)
    else:
        show_comparison(text, found)
    if found["failed"]:
        first = found["failed"][0]
        typer.echo(f"error: {len(found['failed'])} cells failed, first '{first['arm']}': {first['error']}", err=True)
        raise typer.Exit(1)


class Cells:
    """Watches a comparison: a bar over its cells, and a line for each that ends."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task: TaskID | None = None

    def __call__(self, what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if self.task is None:
            self.task = self.progress.add_task("cells", total=steps, note="")
        name = f"{data['level']}/{data['arm']} seed {data['seed']}"
        self.progress.update(self.task, completed=step, total=steps, note=f"{name} {data['state']}")
        if data["state"] != "started" and not self.progress.disable:
            more = data.get("error") or (f"{100 * data['outcome']:.1f} %" if "outcome" in data else "")
            self.progress.console.print(f"{name}: {data['state']} {more}", markup=False, highlight=False)


def show_cells(text: Console, rows: list[dict[str, Any]]) -> None:
    """What would be run, an arm a line."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("level", "arm", "seeds to run", "seeds done"):
        table.add_column(column)
    for level, arm in dict.fromkeys((row["level"], row["arm"]) for row in rows):
        its = [row for row in rows if (row["level"], row["arm"]) == (level, arm)]
        sets = [" ".join(str(row["seed"]) for row in its if row["done"] is done) or "–" for done in (False, True)]
        table.add_row(level, arm, *sets)
    text.print(table)
    plain(text, "Nothing was written.")


def show_comparison(text: Console, found: Mapping[str, Any]) -> None:
    """Every arm's mean over seeds on the first level, and the outcome that was named in advance."""
    level, its = next(iter(found["levels"].items()))
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("arm", "seeds", *SHOWN):
        table.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    for arm, one in its["arms"].items():
        cells = (average(one["metrics"].get(name)) for name in SHOWN)
        table.add_row(arm, str(len(one["seeds"])), *cells)
    plain(text, f"Level {level}: accuracy in %, mean over seeds")
    text.print(table)
    plain(text, over_seeds(found["primary"]))


def average(one: Mapping[str, Any] | None) -> str:
    """A mean over seeds, in %."""
    return "–" if one is None or one["mean"] is None else f"{100 * one['mean']:.1f}"


def over_seeds(primary: Mapping[str, Any]) -> str:
    """The primary outcome as a sentence."""
    what = f"{primary['outcome']}: {primary['arm']} minus {primary['against']}"
    if primary["difference"] is None:
        return f"{what}: no seed has both arms yet."
    span = "" if primary["low"] is None else f" [{primary['low']:+.1f}, {primary['high']:+.1f}]"
    return f"{what} is {primary['difference']:+.1f} points{span} over {primary['seeds']} seeds."


@told()
def report(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="A run folder, or a folder of run folders.", show_default=False)
    ],
) -> None:
    """Write the report of a run, or of runs side by side.

    One HTML page that needs no network: accuracy of every prompt over training, groups without a signal, who taught
    whom, what was rescued and what was forgotten, and answers side by side.

    \b
    Example:
      manyminds report runs/demo

    Writes FOLDER/report.html and prints its path.
    """
    from manyminds.report import build
    from manyminds.shipped import ablation_beside

    print(build(Path(folder), ablation=ablation_beside(Path(folder))))


@told()
def methods(as_json: AsJson = False) -> None:
    """List the methods that a recipe can name.

    \b
    Example:
      manyminds methods --json

    Writes no file. A method of your own is named as module:Name.
    """
    from manyminds.methods import METHODS, find

    found = [(name, find(name)) for name in METHODS]
    rows = [{"name": n, "paper": m.paper, "arxiv": m.arxiv, "summary": m.summary} for n, m in found]
    if as_json:
        print(json.dumps({"methods": rows}, ensure_ascii=False))
        return
    for row in rows:
        cited = f" (arXiv {row['arxiv']})" if row["arxiv"] else ""
        print(f"{row['name']}\n    {row['summary']}\n    {row['paper']}{cited}")


@told(
    "what was written stays in its folder: `manyminds warmup`, then `manyminds train`, with a .yaml file that is there "
    "and `--resume auto` go on with it, and `manyminds demo` starts anew"
)
def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Start from a shipped model; fewer updates.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is random but the questions.")] = 0,
    output: Annotated[str, typer.Option(metavar="FOLDER", help="Where the demo's folder is made.")] = "runs",
    as_json: AsJson = False,
) -> None:
    """See three experts in one small model learn from one another.

    A model from scratch learns three ways to do three-digit arithmetic, each under the prompt of an expert who is good
    at something else. Then three methods train it from that checkpoint: GRPO over all experts; MEML-GRPO, where the
    best expert's right answers teach the worst, with as many sampled tokens; and tutored RS-GRPO, where one prompt is
    taught where it is stuck, with half of them. Minutes on two cores, no GPU.
    With --quick it starts from a shipped model and shows the early phase only, in about a minute.

    \b
    Example:
      manyminds demo --quick
      manyminds demo

    \b
    Writes to runs/demo/ (runs/demo-2/ if that is there, and so on):
      warmup/, grpo_all_experts/, meml_grpo/, tutored_rs_grpo/   a run folder each
      grpo_all_experts.yaml and so on                            their recipes, to run again
      report.html                                                what happened
    """
    from manyminds.demo import demo as run

    text, place = consoles(as_json)
    found = run(output=output, seed=seed, quick=quick, text=text, place=place)
    if as_json:
        print_json(found)
