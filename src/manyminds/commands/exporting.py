"""`export`: the end of a run as a model that others can load."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from manyminds.commands.checking import plain
from manyminds.commands.console import AsJson, Trust, consoles, print_json, told


class Weights(StrEnum):
    """How the weights are written."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@told()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder that is not there yet.", show_default=False)],
    expert: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Put this expert's system message into the chat template.", show_default=False
        ),
    ] = None,
    dtype: Annotated[Weights, typer.Option(help="How the weights are written.")] = Weights.float32,
    best: Annotated[
        bool,
        typer.Option("--best", help="The checkpoint that was best on validation questions."),
    ] = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's model as a plain Hugging Face folder.

    Takes the newest whole checkpoint (with --best the best one, which checkpoint.keep_best keeps), merges low-rank
    adapters, loads what it wrote with transformers alone and compares the logits. The model card, README.md, is made
    from the run: method, prompts, data and licence, seed, intervals.

    \b
    Example:
      manyminds export runs/demo/meml_grpo my-model
      manyminds export runs/demo/meml_grpo my-model --expert structured --dtype bfloat16

    Writes to OUT.
    """
    from manyminds.export import export as write

    made = write(run, out, expert=expert, dtype=dtype.value, best=best, trust=trust)
    if as_json:
        print_json({"folder": str(made.folder), "difference": made.difference, "expert": expert, "dtype": dtype.value})
        return
    text, _ = consoles(as_json)
    plain(
        text, f"{made.folder}: written, loaded again by transformers; logits within {made.difference:.1e} of the run's."
    )
