"""`collect`: worked answers from teachers, verified, as the file from which experts are taught."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from manyminds.commands.checking import heading, plain
from manyminds.commands.console import AsJson, Bar, DryRun, Overrides, RecipePath, consoles, print_json, told
from manyminds.durable import to_json

if TYPE_CHECKING:
    from manyminds.experts.collecting import Collected, Plan

MISSING = 3
"""The exit code where answers are missing."""
SHOWN = 8
"""Unanswered questions that are listed; --json lists all."""


@told("every answer that came is kept, and the same command asks for the others")
def collect(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The file to write, else the recipe's task.experts_file.", show_default=False
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have teachers write worked answers under each expert's prompt, and verify them.

    The recipe's `collect` section says how many and by whom: chat models behind OpenAI-compatible addresses, models
    that run here, or (if it says nothing) the recipe's own model. Every answer is judged by the recipe's reward. No
    answer is asked for twice: after an interruption, or with a larger `collect.n`, only what is missing is.

    \b
    Example:
      manyminds collect my.yaml --dry-run
      manyminds collect my.yaml collect.n=8

    \b
    Writes to the recipe's task.experts_file (here experts.jsonl), which `manyminds warmup` reads:
      experts.answers.jsonl    every answer as it comes; only grows
      experts.jsonl            the answers with their verdicts, written at the end

    Exits with 3 if some answers are missing at the end; the same command asks for them again.
    """
    from manyminds.config import load_recipe
    from manyminds.experts.collecting import collect as run
    from manyminds.experts.collecting import plan

    loaded = load_recipe(recipe, overrides or ())
    text, place = consoles(as_json)
    if dry_run:
        show(plan(loaded, out), text, as_json)
        return
    with Asked("collecting", place) as bar:
        found = run(loaded, out, watch=bar)
    if as_json:
        print_json({**asdict(found), "out": str(found.out)})
    else:
        text.print(table(found))
        if len(found.experts) > 1:
            heading(text, "Of the questions that one never gets right, those that another never does")
            text.print(overlap(found))
        sum_up(found, text)
        again = shlex.join([str(recipe), *(overrides or ())])
        if out is None and all(one.covered for one in found.experts):
            plain(text, f"Next: `manyminds warmup {again}`.")
    if found.unanswered:
        raise typer.Exit(MISSING)


class Asked(Bar):
    """The bar of answers that came, with their tokens."""

    def says(self, step: int, steps: int, data: Mapping[str, Any]) -> str:
        missing = f", {data['unanswered']:,} unanswered" if data["unanswered"] else ""
        return f"{data['tokens']:,} tokens{missing}"


def show(its: Plan, text: Console, as_json: bool) -> None:
    """A --dry-run: what would be asked of whom, and one question as each is asked it."""
    missing = Counter(want.writer.expert for want in its.missing)
    wanted = Counter(want.writer.expert for want in its.wanted)
    if as_json:
        asked = {
            w.expert: {"model": w.model, "wanted": wanted[w.expert], "missing": missing[w.expert]} for w in its.writers
        }
        print_json({"out": str(its.out), **its.drawn, "experts": asked, "notes": list(its.task.notes)})
        return
    for note in its.task.notes:
        plain(text, f"note: {note}")
    first = its.wanted[0].question
    heading(text, f"Question {first.id} as every teacher is asked it")
    for want in its.wanted:
        if want.question.id == first.id and want.sample == 0:
            plain(text, f"  {want.writer.expert}, {want.writer.model}: {to_json(want.messages())}")
    heading(text, "Answers to be asked for")
    for writer in its.writers:
        place = f"at {writer.teacher.url}" if writer.teacher.url else "here"
        plain(
            text,
            f"  {missing[writer.expert]:,} of {wanted[writer.expert]:,}  {writer.expert}, by {writer.model} {place}",
        )
    settings = ", ".join(f"{key} {value}" for key, value in its.drawn.items())
    plain(text, f"\nEach with {settings}. Nothing was asked or written. The answers would go to {its.out}.")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def table(found: Collected) -> Table:
    """Coverage, accuracy and cost of every expert, and what all of them cover together."""
    shown = Table(header_style="bold", box=None, pad_edge=False)
    questions, experts = found.experts[0].questions, found.experts
    shown.add_column("expert", no_wrap=True)
    columns = {
        "model": [short(one.model) for one in experts],
        f"covered of {questions:,}": [f"{one.covered:,} ({percent(one.covered / questions)})" for one in experts],
        "answers": [f"{one.answers:,}" for one in experts],
        "right": [percent(one.accuracy) for one in experts],
        "left out": [f"{one.left_out:,}" for one in experts],
        "tokens in + out": [f"{one.prompt_tokens:,} + {one.completion_tokens:,}" for one in experts],
        "missing": [f"{sum(one.unanswered.values()):,}" for one in experts],
    }
    kept = {name: its for name, its in columns.items() if name not in ("left out", "missing") or {*its} != {"0"}}
    if len({one.model for one in experts}) == 1:
        del kept["model"]
        shown.title, shown.title_justify, shown.title_style = f"All by {short(experts[0].model)}", "left", ""
    for name in kept:
        left = name == "model"
        shown.add_column(name, justify="left" if left else "right", no_wrap=" of " in name or " + " in name)
    for one, cells in zip(experts, zip(*kept.values(), strict=True), strict=True):
        shown.add_row(one.expert, *cells)
    if len(experts) > 1:
        shown.add_row(
            "oracle", *([""] if "model" in kept else []), f"{found.oracle:,} ({percent(found.oracle / questions)})"
        )
    return shown


def short(model: str) -> str:
    """A model's name, of a long path the end."""
    return model if len(model) <= 40 else f"…{model[-39:]}"


def overlap(found: Collected) -> Table:
    """Who fails where another fails."""
    names = [one.expert for one in found.experts]
    shown = Table(header_style="bold", box=None, pad_edge=False)
    shown.add_column("fails", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right")
    for a in names:
        shown.add_row(a, *("" if a == b else percent(found.together[a][b]) for b in names))
    return shown


def sum_up(found: Collected, text: Console) -> None:
    """What is missing and why, and what there is."""
    if found.unanswered:
        causes = Counter(cause for _, _, cause in found.unanswered)
        listed = ", ".join(f"{n:,} {cause}" for cause, n in causes.most_common())
        plain(
            text, f"\n{len(found.unanswered):,} answers are missing ({listed}); the same command asks for them again."
        )
        for sentence in found.said.values():
            plain(text, f"  {sentence}")
        rows = Counter(found.unanswered)
        for (question, expert, cause), n in list(rows.items())[:SHOWN]:
            plain(text, f"  {n} to {question} by {expert}: {cause}")
        if len(rows) > SHOWN:
            plain(text, f"  … and to {len(rows) - SHOWN:,} more; --json lists all")
    plain(text, "")
    for one in found.experts:
        if not one.covered:
            plain(text, f"No answer of '{one.expert}' is right: a warm-up has nothing to teach it.")
    right = sum(one.right for one in found.experts)
    there = f"{found.out} has {found.rows:,} worked answers, {right:,} of them right"
    plain(text, f"{there}; {found.asked:,} were asked for in {found.seconds:.0f} s.")
