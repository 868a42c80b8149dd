"""`analyse`: how much models explore, and what training did to that, as tables."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manyminds.commands.checking import heading, plain
from manyminds.commands.console import AsJson, Trust, bars, consoles, print_json, tell, told

if TYPE_CHECKING:
    from manyminds.report.exploration import Exploration


class Set(StrEnum):
    """The sets of a task's questions."""

    warmup = "warmup"
    train = "train"
    validation = "validation"
    test = "test"


@told()
def analyse(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Folders of runs; RUN@best, RUN@200, RUN@start for other checkpoints."),
    ],
    split: Annotated[Set, typer.Option("--set", help="Which questions are asked.")] = Set.test,
    questions: Annotated[int, typer.Option(min=1, help="The first so many of them.")] = 100,
    samples: Annotated[int, typer.Option(min=2, help="Answers to each question under each prompt.")] = 16,
    expert: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this expert, or plain; may be repeated.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other answers.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where to write, else into the last run's folder.", show_default=False),
    ] = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Measure how much models explore, and what training did to that.

    Every model answers the same questions several times under every expert's prompt: pass@k, the questions that it
    never gets right and how they move from model to model, entropy, perplexity and branching factor of right and wrong
    answers, and where a run turns from its rising stage into its plateau. Two runs beside each other, or a run's start
    beside its end, say what training did.

    \b
    Example:
      manyminds analyse runs/demo/warmup runs/demo/meml_grpo
      manyminds analyse runs/mine/grpo@start runs/mine/grpo@100 runs/mine/grpo

    \b
    Writes to analysis/SET in the last run's folder (`manyminds report` shows it):
      analysis.json   all that is shown, with intervals and the questions' ids
      NAME.jsonl      every answer of a model: text, verdict, entropy, perplexity, branching (`manyminds select`)
    """
    from manyminds.analysis.analyse import analyse as run
    from manyminds.analysis.asking import Plan
    from manyminds.report.exploration import explored

    text, place = consoles(as_json)
    plan = Plan(split.value, questions, samples, tuple(expert or ()), seed)
    with bars(place) as progress:
        tasks: dict[str, Any] = {}

        def watch(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=of, note="questions")
            progress.update(tasks[name], completed=done)

        folder = None if out is None else Path(out)
        found = run(runs, plan, out=folder, trust=trust, watch=watch, note=say_once())
    if as_json:
        print_json({**found.data, "file": str(found.path)})
        return
    show(text, explored(found.data))
    plain(text, f"\n{found.path}: all of this with intervals; every answer is in the files beside it.")


def say_once() -> Callable[[str], None]:
    """Says each sentence once, on standard error: models of one task have the same notes."""
    said: set[str] = set()

    def say(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            tell([sentence])

    return say


def show(text: Console, found: Exploration) -> None:
    """All tables of an analysis."""
    several = len(found.prompts) > 1
    asked = f"{found.questions} {found.split} questions, {found.samples} answers under each prompt"
    heading(text, f"pass@k in %: {asked}")
    text.print(pass_table(found))
    plain(text, f"95 % intervals over questions reach {100 * found.reach:.0f} points to either side at most.")
    for sentence in found.doubts():
        plain(text, sentence)
    if several:
        plain(text, "mean: over the prompts; together: k answers drawn from those under all prompts.")
    heading(text, f"Questions without a right answer in {found.k} (U_{found.k})")
    text.print(unsolvable_table(found))
    if len(found.models) > 1:
        plain(text, "In brackets what comes and goes where the same model is asked again: chance.")
    else:
        plain(text, f"Again: what another {found.k} answers of the same model solve and lose, which is chance.")
    if several:
        plain(
            text, f"together: under no prompt, {found.k} answers under each, which are {found.k * len(found.prompts)}."
        )
    under = ", under all prompts" if several else ""
    heading(text, f"Uncertainty of the answers{under}, at temperature {found.temperature:g}")
    text.print(uncertainty_table(found))
    plain(text, "Entropy (nats) and branching: means over tokens; perplexity: over answers.")
    heading(text, "Stages")
    for sentence in found.sentences():
        plain(text, sentence)


def grid(*columns: str, words: int) -> Table:
    """A table without lines whose first columns, so many, hold words and the others numbers; long names take two lines,
    where there is no room."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(
            Text(name), justify="left" if i < words else "right", no_wrap=i >= words or i == 0, overflow="fold"
        )
    return table


def pass_table(found: Exploration) -> Table:
    """pass@k of every model under every prompt, prompt by prompt."""
    table = grid("prompt", "model", *(f"pass@{k}" for k in found.points), words=2)
    for name in found.curves:
        for i, model in enumerate(found.models):
            cells = (f"{100 * model.curves[name][k].value:.1f}" for k in found.points)
            table.add_row(Text("" if i else name), Text(model.name), *cells)
    return table


def unsolvable_table(found: Exploration) -> Table:
    """How many questions are unsolved, and between two models how many are solved or lost; beside it mere chance."""
    if len(found.models) == 1:
        table = grid("prompt", "model", "unsolved", "solved again", "lost again", words=2)
        for move, _ in found.moved():
            counts = (move.before, len(move.solved), len(move.lost))
            table.add_row(Text(move.prompt), Text(move.origin), *map(str, counts))
        return table
    table = grid("prompt", "from → to", "before", "after", "both", "solved", "lost", words=2)
    for move, chance in found.moved():
        gone = ((move.solved, chance.solved), (move.lost, chance.lost))
        table.add_row(
            Text(move.prompt),
            Text(f"{move.origin} → {move.target}"),
            *map(str, (move.before, move.after, move.both)),
            *(Text.assemble(str(len(its)), (f" ({len(again)})", "dim")) for its, again in gone),
        )
    return table


def uncertainty_table(found: Exploration) -> Table:
    """Entropy, perplexity and branching of all, right and wrong answers, model by model, over all prompts."""
    table = grid("answers", "model", "count", "tokens", "entropy", "perplexity", "branching", words=2)
    for which in ("all", "right", "wrong"):
        for i, model in enumerate(found.models):
            its = model.uncertainty[found.over_all][which]
            table.add_row(
                "" if i else which,
                Text(model.name),
                f"{its.answers:,}",
                number(its.length, 1),
                number(its.entropy, 3),
                number(its.perplexity, 2),
                number(its.branching, 2),
            )
    return table


def number(value: float | None, digits: int) -> str:
    """A mean, or a dash where there is nothing to take it of."""
    return "–" if value is None else f"{value:.{digits}f}"
