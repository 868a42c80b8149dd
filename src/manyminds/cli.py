"""The command line: `manyminds COMMAND`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from manyminds import __version__
from manyminds.commands import (
    analysing,
    checking,
    collecting,
    exporting,
    selecting,
    starting,
    summing_up,
    training,
    verifying,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def tell_version(wanted: bool) -> bool:
    """Print the version and leave, if that is wanted."""
    if wanted:
        print(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def manyminds(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=tell_version)
    ] = False,
) -> None:
    """Many experts in one language model that learn from one another.

    \b
    To begin:
      manyminds demo --quick                            about a minute, no GPU
      manyminds init                                    a first recipe for your model and your questions
      manyminds check recipes/demo.yaml                 what a recipe means
      manyminds collect my.yaml                         have experts write worked answers, and verify them
      manyminds warmup recipes/demo.yaml name=mine      stage 1: one model learns every expert's worked answers
      manyminds train recipes/demo.yaml name=mine       stage 2: the experts learn from one another
      manyminds report runs/mine                        a page that shows what happened
      manyminds export runs/mine/meml_grpo runs/model   the trained model as a plain Hugging Face folder
    """


app.command("demo")(summing_up.demo)
app.command("init")(starting.init)
app.command("check")(checking.check)
app.command("collect")(collecting.collect)
app.command("warmup")(training.warmup)
app.command("train")(training.train)
app.command("eval")(checking.evaluate)
app.command("compare")(summing_up.compare)
app.command("report")(summing_up.report)
app.command("analyse")(analysing.analyse)
app.command("select")(selecting.select)
app.command("export")(exporting.export)
app.command("verify")(verifying.verify)
app.command("methods")(summing_up.methods)


def main() -> int:
    """Run the command line; returns the exit code.

    0, 2 for a user's mistake, 3 if `collect` ended without some of the answers, 130 after Ctrl-C, 143 after a
    SIGTERM at which a run saved.
    """
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:  # before or after a command
        print("interrupted.", file=sys.stderr)
        return 130
    return 0
