"""`select`: worked answers for a warm-up, chosen among a model's own by how much they explore."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from manyminds.commands.analysing import grid, number
from manyminds.commands.checking import plain
from manyminds.commands.console import AsJson, consoles, print_json, tell, told
from manyminds.records import PLAIN

OF_THE_PLAIN_PROMPT = (
    f"the answers under the plain prompt are filed as '{PLAIN}', which no expert may be named, so the recipe says whom "
    f"they teach; an expert without a system message has the plain prompt: experts: [{{name: self, teacher: {PLAIN}}}]"
)


class By(StrEnum):
    """Which of several right answers is taken."""

    first = "first"
    entropy = "entropy"
    branching = "branching"


@told()
def select(
    samples: Annotated[
        str, typer.Argument(metavar="SAMPLES", help="A file of answers that analyse wrote.", show_default=False)
    ],
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="The file to write, which is not there yet.", show_default=False)
    ],
    by: Annotated[
        By, typer.Option(help="Which right answer to a question is taken: the first, or the highest.")
    ] = By.first,
    keep: Annotated[
        float, typer.Option(help="Share of each expert's questions that is kept, the highest; by first: at random.")
    ] = 1.0,
    wrong: Annotated[float, typer.Option(help="Share of wrong answers among all; the paper has 0.05.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="What is drawn at random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Choose a model's own answers to be taught to it (rejection fine-tuning).

    Takes one right answer to each question under each prompt: the first, that of the highest entropy, or that of the
    highest branching factor; keeps a share of the questions by the same measure; and mixes in a share of wrong ones.

    \b
    Example:
      manyminds analyse runs/mine/warmup --set warmup --questions 1000 --samples 32
      manyminds select runs/mine/warmup/analysis/warmup/warmup.jsonl chosen.jsonl --by branching --keep 0.5 --wrong 0.05

    Writes OUT, for `task.experts_file`. Wrong answers are marked, and a warm-up learns them only with
    warmup.only_correct=false.
    """
    from manyminds.analysis.selecting import choose, read_samples, write_traces

    chosen = choose(read_samples(Path(samples)), by.value, keep=keep, wrong=wrong, seed=seed)
    count = write_traces(chosen, Path(out))
    if any(row["expert"] == PLAIN for row in (*chosen.right, *chosen.wrong)):
        tell([OF_THE_PLAIN_PROMPT])
    rows = [counted(name, its) for name, its in (("right, all", chosen.available), ("right, chosen", chosen.right))]
    rows += [counted("wrong, chosen", chosen.wrong)] if chosen.wrong else []
    share = len(chosen.wrong) / count
    if as_json:
        print_json({"out": out, "prompts": chosen.prompts, "rows": count, "wrong": share, "answers": rows})
        return
    text, _ = consoles(as_json)
    table = grid("answers", "count", "entropy", "branching", words=1)
    for row in rows:
        table.add_row(row["answers"], f"{row['count']:,}", number(row["entropy"], 3), number(row["branching"], 2))
    text.print(table)
    plain(
        text,
        f"{out}: worked answers for {count:,} of {chosen.prompts:,} pairs of question and expert, {100 * share:.1f} % "
        "of them wrong; a recipe names the file as task.experts_file.",
    )
    if chosen.wrong:
        plain(text, "The warm-up leaves out what is wrong, unless warmup.only_correct=false.")


def counted(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many answers these are, and the means over answers of what they are chosen by."""
    means = {key: fmean(row[key] for row in rows) if rows else None for key in ("entropy", "branching")}
    return {"answers": name, "count": len(rows), **means}
