"""`verify`: the answer checker on pairs of answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from manyminds.commands.checking import plain
from manyminds.commands.console import AsJson, consoles, print_json, told

SHOWN = 12
COUNTS = {
    "pairs": "pairs",
    "equal": "equal",
    "unreadable": "unread-\nable",
    "false_equal": "false\nequal",
    "false_different": "false\ndifferent",
}


@told()
def verify(
    pairs: Annotated[Path, typer.Option(metavar="FILE", help="Pairs: a file of JSON Lines.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Only what is boxed, after #### or in tags counts.")] = False,
    deadline: Annotated[float, typer.Option(min=0.1, max=86400, help="Seconds that sympy may take for a pair.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Check pairs of answers with the checker that the reward `math_answer` uses.

    Each line of FILE is an object with `gold` and `prediction`, an answer or a whole response, and if it is known
    `expected_equal`, `kind` and `tier`. Says how many are equal, and how far that agrees with `expected_equal`, in all
    and by tier and kind. A pair whose gold answer cannot be read counts as not equal.

    \b
    Example:
      manyminds verify --pairs pairs.jsonl
      manyminds verify --pairs pairs.jsonl --json

    Writes no file.
    """
    from manyminds.maths.pairs import read_pairs, verified

    found = verified(read_pairs(pairs), strict=strict, deadline=deadline)
    if as_json:
        print_json(found)
        return
    text, _ = consoles(as_json)
    show(text, found)


def show(text: Console, found: Mapping[str, Any]) -> None:
    """A line for each tier and kind, and the first pairs that were called what they are not."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("", *COUNTS.values(), "agree-\nment %"):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    lines = {value: one for name in ("tier", "kind") for value, one in found.get(name, {}).items()}
    for name, one in {"all": found, **lines}.items():
        share = "–" if one["agreement"] is None else f"{100 * one['agreement']:.1f}"
        table.add_row(name, *(f"{one[count]:,}" for count in COUNTS), share)
    text.print(table)
    plain(text, f"{found['seconds']:.1f} s; sympy was asked about {found['asked']}, and stopped at {found['killed']}.")
    for one in found["wrong"][:SHOWN]:
        due = "equal" if one["expected_equal"] else "not equal"
        texts = " | ".join(repr(one[name][-60:]) for name in ("gold", "prediction"))
        plain(text, f"line {one['line']}: {one['called']}, but {due}: {texts}")
    if len(found["wrong"]) > SHOWN:
        plain(text, f"… and {len(found['wrong']) - SHOWN} more; --json has all of them.")
