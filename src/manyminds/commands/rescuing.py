"""`check --rescue`: will several experts help here? What a sample of questions says, as tables and a sentence."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from manyminds.commands.console import bars, tell
from manyminds.errors import UserError

if TYPE_CHECKING:
    from manyminds.config import Recipe
    from manyminds.preview import Preview
    from manyminds.rescue import Interval, Rescue

LIMITS = (
    "Intervals are over questions of this one sample. All of it is about the model as it is now and what a first step\n"
    "could learn from: not about how far training comes, and not about other models or other questions."
)


def tell_of_calls(seen: Preview, questions: int) -> None:
    """A note on standard error where the verifier asks a model: how many answers it will be asked about."""
    from manyminds.preview import asked
    from manyminds.records import PLAIN

    verifier, asks = seen.rewards[0], asked(seen)
    if not verifier.paid:  # other rewards are not asked here: what is right is the verifier's word alone
        return
    count = min(questions, len(seen.questions["train"]))
    prompts, draws = len({PLAIN, *(ask.prompt.expert for ask in asks)}), sum(ask.n for ask in asks)
    cost = (
        f"the reward '{verifier.name}' asks a model: it will judge {count * prompts * draws:,} answers ({count} "
        f"questions x {prompts} prompts x {draws} answers); --questions asks fewer"
    )
    tell((cost, *verifier.notes))


def ask_for_rescue(recipe: Recipe, model: str | None, questions: int, place: Console) -> tuple[Rescue, dict[str, Any]]:
    """The estimate, with the model that training would start from (or `model`); and its JSON. Raises UserError."""
    from manyminds.loading import load
    from manyminds.rescue import rescue, sentence
    from manyminds.run import starting_model

    try:
        chosen = model or starting_model(recipe)
    except UserError as error:
        raise UserError(f"{error}; to ask another model, name it with --model") from error
    with bars(place) as progress:
        task = progress.add_task("asking", total=questions, note="")
        loaded = load(recipe, chosen)
        began = time.perf_counter()
        found = rescue(loaded, questions, lambda done, of: progress.update(task, completed=done, total=of))
        seconds = time.perf_counter() - began
    tell(loaded.judge.notes)
    head = {
        "model": _relative(chosen),
        "questions": found.questions,
        "answers": found.sample.answers,
        "readable_answers": found.sample.read,
        "sampled_tokens": found.sample.tokens,
        "seconds": seconds,
        "verdict": found.verdict,
        "sentence": sentence(found),
    }
    data = {
        "draws_per_prompt": found.sample.draws,
        "asked": dict(found.sample.asked),
        "prompts": [asdict(one) for one in found.prompts],
        "best": found.best,
        "one": asdict(found.one),
        "many": asdict(found.many),
        "gain": asdict(found.gain),
        "oracle": asdict(found.oracle),
        "fails": dict(found.fails),
        "fails_together": found.together,
    }
    return found, {**head, **data}


def _relative(place: str | Path) -> str:
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(place)


def show_rescue(text: Console, found: Rescue, told: dict[str, Any]) -> None:
    """The tables and the sentence."""
    from manyminds.commands.checking import heading, plain

    sample = found.sample
    heading(text, f"Would several experts help? {found.questions} training questions, {sample.draws} answers a prompt")
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in ("%", "one answer right", f"all {sample.budget} wrong"):
        table.add_column(name, justify="left" if name == "%" else "right", no_wrap=True)
    for one in found.prompts:
        table.add_row(one.name, _percent(one.accuracy), _percent(one.all_wrong))
    table.add_row("best one, chosen on others", "", _percent(found.one))
    answers = " + ".join(str(n) for n in sample.asked.values())
    table.add_row(f"experts together, {answers}", "", _percent(found.many))
    table.add_row("oracle: one of each expert", _percent(found.oracle), "")
    text.print(table)
    heading(text, "Errors in common: of what the row fails, how much (in %) the column fails too")
    text.print(common(found))
    plain(
        text, "(in brackets: the same prompt asked again; the last row: what it would be if errors were independent)\n"
    )
    plain(text, told["sentence"])
    plain(text, LIMITS)
    plain(text, f"{told['answers']:,} answers, {told['sampled_tokens']:,} tokens in {told['seconds']:.0f} s.")


def common(found: Rescue) -> Table:
    """Whose errors go together; the row's own column is the same prompt asked again, the last line independence."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in found.sample.prompts:
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in found.together.items():
        cells = [_share(value) for value in row.values()]
        own = list(row).index(name)
        cells[own] = f"({cells[own]})"
        table.add_row(name, *cells)
    table.add_row("any question", *(_share(value) for value in found.fails.values()))
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def _percent(one: Interval) -> str:
    return f"{100 * one.value:.1f} [{100 * one.low:.0f}, {100 * one.high:.0f}]"
