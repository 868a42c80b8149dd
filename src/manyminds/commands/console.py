"""What all commands share: where text and progress go, what a user's mistake and Ctrl-C look like, bars with ETA."""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from manyminds.errors import Interrupted, UserError

P = ParamSpec("P")


class Resume(StrEnum):
    """What --resume can be."""

    auto = "auto"


RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe: a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="key=value",
        help="Changes to the recipe, such as steps=100 or method.clip_low=0.1.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Of a run's folder: execute code that comes with its model.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it costs; write nothing.")]
ResumeOption = Annotated[
    Resume | None,
    typer.Option("--resume", help="auto: go on from the newest whole checkpoint, if there is one.", show_default=False),
]


def tell(notes: Iterable[str]) -> None:
    """What the user should know, a sentence a line on standard error."""
    for note in notes:
        Console(stderr=True).print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def told(hint: str = "") -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A command whose user errors are one sentence and exit code 2; a signal at which a run saved, and Ctrl-C, are a
    sentence with `hint` and 128 + the signal's number."""

    def decorate(command: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                command(*args, **kwargs)
            except UserError as error:
                print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
                raise typer.Exit(2) from None
            except OSError as error:  # of whatever it is that an option or a recipe names
                if error.errno != errno.ENAMETOOLONG:
                    raise
                said = f"error: '{str(error.filename)[:60]}…' is too long to name a file; give another name"
                print(" ".join(said.split()), file=sys.stderr)
                raise typer.Exit(2) from None
            except Interrupted as error:
                print(f"{error}{f'; {hint}' if hint else ''}.", file=sys.stderr)
                raise typer.Exit(error.code) from None
            except KeyboardInterrupt:
                print(f"\ninterrupted{f'; {hint}' if hint else ''}.", file=sys.stderr)
                raise typer.Exit(130) from None

        return run

    return decorate


def consoles(as_json: bool) -> tuple[Console, Console]:
    """Where text goes and where bars go. Standard output is kept free for JSON; bars need a terminal.

    Where standard output is a terminal both are one console, so that bars make room for text.
    """
    text = Console(stderr=as_json)
    return text, text if text.is_terminal else Console(stderr=True)


def print_json(data: Mapping[str, Any]) -> None:
    """The data as one line of JSON."""
    print(json.dumps(data, ensure_ascii=False, allow_nan=False))


def bars(console: Console) -> Progress:
    """Progress bars with what is done and how long the rest will take; silent without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        refresh_per_second=4,  # the runs need the processor more than the bars do
        redirect_stdout=False,
        redirect_stderr=False,
    )


def accuracies(metrics: Mapping[str, Any]) -> str:
    """Greedy accuracy under every prompt, their vote and their oracle, in %: "plain 12, concise 40, …"."""
    names = ["plain", *(key for key in metrics if key.startswith("experts/")), "vote", "oracle"]
    found = [(name.removeprefix("experts/"), metrics[name]["value"]) for name in names if name in metrics]
    return ", ".join(f"{name} {100 * value:.0f}" for name, value in found)


class Bar:
    """Watches one run: a bar with the latest numbers, a line for every evaluation, and notes. Without a terminal there
    is no bar, and evaluations and notes go to standard error."""

    def __init__(self, title: str, console: Console) -> None:
        self.title, self.progress = title, bars(console)
        self.task: TaskID | None = None

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()

    def __call__(self, what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        """What a run tells as it goes."""
        if what == "note":
            self.note(data["text"])
            return
        if self.task is None:
            self.task = self.progress.add_task(self.title, total=steps, note="")
        if what == "step":
            self.progress.update(self.task, completed=step, total=steps, note=self.says(step, steps, data))
        elif what == "evaluation":
            self.line(f"step {step}: {data['split']} accuracy in %: {accuracies(data['metrics'])}")

    def says(self, step: int, steps: int, data: Mapping[str, Any]) -> str:
        """What stands behind the bar after this step."""
        return "testing" if step == steps else latest(data)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.line(f"note: {text}")

    def line(self, text: str) -> None:
        """A line above the bar, or on standard error."""
        if self.progress.disable:
            print(text, file=sys.stderr)
        else:
            self.progress.console.print(text, markup=False, highlight=False)


def latest(line: Mapping[str, Any]) -> str:
    """The number of a step that says how it goes: the reward, in a warm-up the loss per token."""
    if line.get("reward") is not None:
        return f"reward {line['reward']:.2f}"
    return f"loss {line['loss/trace']:.3f}" if line.get("loss/trace") is not None else ""
