"""What the benchmark scripts share: notes on the way, and a result as one JSON object, a file or text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Out = Annotated[Path | None, typer.Option(help="Write the JSON there too.")]


def tell(words: str) -> None:
    """A line beside the result, which standard output is kept for."""
    Console(stderr=True).print(words, style="dim", highlight=False, soft_wrap=True)


def give(
    found: Mapping[str, Any], show: Callable[[Console], None] | None, *, as_json: bool = False, out: Path | None = None
) -> None:
    """The result to `out`, if there is one, and to standard output: as JSON, or as `show` prints it."""
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(found))
    elif show is not None:
        show(Console())
