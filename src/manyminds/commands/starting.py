"""`init`: a first recipe from four answers, asked for on the terminal or given as options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from manyminds.commands.checking import heading, plain
from manyminds.commands.console import consoles, told
from manyminds.durable import explaining
from manyminds.errors import UserError

if TYPE_CHECKING:
    from manyminds.drafting import Data

T = TypeVar("T")


@told()
def init(
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="A Hugging Face folder or hub id.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="Questions with their answers.", show_default=False)
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help='"suggest", a file with a prompt a line, or a prompt (repeat).', show_default=False
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="30 min, 2M tokens or 200 steps.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the recipe goes.")] = Path("recipe.yaml"),
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: suggested prompts and 100 steps if not given.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over the file that is there.")] = False,
) -> None:
    """Write a first recipe: your model, your questions, experts, a budget.

    Asks for what is not given. Looks at the data (columns, gold answers) and the model (context, chat template), draws
    answers for a few seconds where the budget needs the speed, and writes a commented recipe that `check` accepts.

    \b
    Example:
      manyminds init
      manyminds init --model path/to/model --data mine.jsonl --prompts suggest --budget "30 min" --yes

    Writes to FILE (recipe.yaml), and nothing else. What is there is kept unless --force is given.
    """
    if out.exists() and not force:
        raise UserError(f"{out}: is there already; choose another file with --out, or write over it with --force")
    from manyminds.drafting import draft, read_budget, read_data, read_prompts

    def of_prompts(questions: Data) -> Callable[[str], dict[str, str]]:
        return lambda answer: read_prompts(answer.split("|"), questions)

    where = answered(model, "Model (a folder or hub id)", None, yes, a_model)
    questions = answered(data, "Questions (a file with question and answer, a row each)", None, yes, read_data)
    if prompts is None:
        asking = 'Prompts ("suggest", a file with one a line, or prompts between |)'
        experts = answered(None, asking, "suggest", yes, of_prompts(questions))
    else:
        experts = read_prompts(prompts, questions)
    spend = answered(budget, "Budget (such as 30 min, 2M tokens, 200 steps)", "100 steps", yes, read_budget)
    text, _ = consoles(False)
    found = draft(where, questions, experts, spend, out.stem)
    heading(text, str(out))
    plain(text, found.text)
    for line in found.assumed:
        plain(text, line)
    if not yes and not typer.confirm(f"Write this to {out}?", default=True):
        plain(text, "Nothing was written.")
        return
    with explaining(f"cannot write {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(found.text, encoding="utf-8")
    for line in next_commands(out):
        plain(text, line)


def a_model(given: str) -> str:
    """The model, once its configuration and tokenizer were read. Raises UserError."""
    from manyminds.loading import outline

    outline(given, 0)
    return given


def answered(given: str | None, question: str, default: str | None, yes: bool, read: Callable[[str], T]) -> T:
    """What the option says, else what is typed: asked again after a mistake. With `yes` the default."""
    if given is not None:
        return read(given)
    if yes:
        if default is None:
            raise UserError(f"with --yes nothing is asked, and this has no default: {question}; give it as an option")
        return read(default)
    while True:
        try:
            return read(str(typer.prompt(question, default=default)).strip())
        except UserError as error:
            typer.echo(f"  {error}", err=True)


def next_commands(out: Path) -> tuple[str, ...]:
    """What to type next."""
    commands = (
        (f"manyminds check {out} --rescue", "do answers score as they should, and will several experts help?"),
        (f"manyminds train {out} --dry-run", "what it costs in tokens and memory"),
        (f"manyminds train {out}", "reinforcement learning from the model as it is: no traces are needed"),
    )
    width = max(len(command) for command, _ in commands)
    return (
        f"Written: {out}. Next:",
        *(f"  {command:<{width}}  {what}" for command, what in commands),
        "If some answers are right but few, teach the experts first: have the model write answers to learn from",
        f"(`manyminds collect {out} --out experts.jsonl`), then add task.experts_file and `warmup`. If hardly any is,",
        "it has nothing to teach itself: name a better model in `collect.teacher`, see docs/collect.md.",
    )
