"""`check` and `eval`: what a recipe says and what a model can do, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manyminds.commands.console import AsJson, Overrides, RecipePath, Trust, consoles, print_json, tell, told
from manyminds.errors import UserError

if TYPE_CHECKING:
    from manyminds.preview import Preview


@told()
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    rescue: Annotated[
        bool, typer.Option("--rescue", help="Also ask the model some questions: would several experts help?")
    ] = False,
    questions: Annotated[int, typer.Option(min=4, help="With --rescue: how many training questions to ask.")] = 40,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="With --rescue: the model to ask, a Hugging Face folder.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See that a recipe means what you think it means, and whether several experts would help.

    Shows one prompt per expert as text and token ids, gives the rewards the gold answer (which must score 1) and tricks
    (which must score 0: nothing, nonsense, another number, many answers with the gold one among them, the question
    itself, a very long response), and says which layer of the method says what and what rewards are added from. Reads
    no weights and needs no GPU. Rewards that ask a model are asked on one question.

    With --rescue the model that training would start from is loaded and answers a sample of the training questions:
    how many stay all wrong under the best single prompt, and how many under several with as many answers in all. A
    verifier that asks a model judges every one of these answers; how many they are is said before.

    \b
    Example:
      manyminds check recipes/demo.yaml
      manyminds check recipes/demo.yaml --rescue --questions 100

    Writes no file, except the `cache` that a judge names. Exits with 2 if the verifier is wrong, or any reward
    fails, on any question that was tried.
    """
    from manyminds.commands.rescuing import ask_for_rescue, show_rescue, tell_of_calls
    from manyminds.config import load_recipe
    from manyminds.preview import judged, preview

    if model is not None and not rescue:
        raise UserError("--model: `check` reads a model only to ask it; give --rescue too")
    loaded = load_recipe(recipe, overrides or ())
    seen = preview(loaded)
    shown, problems = judged(seen)
    text, place = consoles(as_json)
    asking = rescue and not problems  # a verifier that is wrong would be asked in vain
    if asking:
        tell_of_calls(seen, questions)
    found, estimate = ask_for_rescue(loaded, model, questions, place) if asking else (None, None)
    if as_json:
        more = {"rescue": estimate} if rescue else {}
        print_json({"ok": not problems, **described(seen), "judged": shown, "problems": problems, **more})
    else:
        show_prompts(text, seen)
        show_method(text, seen)
        show_rewards(text, seen)
        show_judged(text, seen, shown)
    if problems:
        what = "the rewards are" if len(seen.rewards) > 1 else "the verifier is"
        raise UserError(f"{recipe}: {what} wrong {len(problems)} times, first: {problems[0]}")
    if found is not None and estimate is not None and not as_json:
        show_rescue(text, found, estimate)
    if not as_json:
        plain(text, f"\nAll is well{heeding(len(seen.notes), found is not None and not found.sample.right.any())}.")


def heeding(notes: int, nothing_right: bool) -> str:
    """What `All is well` is to be taken with: so many notes on the data and prompts, and a model that knows nothing."""
    said = {0: [], 1: ["what the note above says"]}.get(notes, [f"what {notes} notes above say"])
    said += ["the model, which cannot do these questions yet"] if nothing_right else []
    return f", but for {' and for '.join(said)}" if said else ""


@told()
def evaluate(
    place: Annotated[
        str, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe, or the folder of a run.", show_default=False)
    ],
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="The model: a Hugging Face folder.", show_default=False)
    ] = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Measure what a model can do under every prompt.

    Asks all test questions of the recipe under the plain prompt and every expert's, greedily and several times:
    accuracy with intervals over questions, vote, oracle, pass@k, shares of groups without a signal. The model is the
    one that --model names, else the newest checkpoint of the run folder, else the recipe's own.

    \b
    Example:
      manyminds eval runs/demo/meml_grpo
      manyminds eval recipes/demo.yaml --model path/to/model

    Writes no file, except the `cache` that a judge names; --json prints the metrics.
    """
    from manyminds.config import load_recipe
    from manyminds.evaluate import on_test
    from manyminds.loading import load
    from manyminds.report.terminal import final_table

    folder = Path(place) if Path(place).is_dir() else None
    if folder and not (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder}: is not the folder of a run (it has no recipe.yaml); give one, or a recipe's path")
    recipe = load_recipe(folder / "recipe.yaml" if folder else place)
    if trust and not folder:
        raise UserError("--trust-remote-code is for the folder of a run; a recipe says trust_remote_code: true")
    chosen = model or (newest(folder) if folder else recipe.model)
    text, bars = consoles(as_json)
    # A run's folder may be somebody else's, so its recipe is no permission to execute what it brings.
    loaded = load(recipe, chosen, trust=trust if folder else None)
    tell(loaded.notes)
    with bars.status("asking the validation and test questions") if bars.is_terminal else Quiet():
        _, found = on_test(loaded, 0)
    tell(loaded.judge.notes)  # why a model that judges gave no score: such answers count as not right
    if as_json:
        keys = ("split", "questions", "experts", "best_expert", "metrics")
        print_json({"model": str(chosen), **{key: found[key] for key in keys}})
        return
    text.print(per_prompt(found["metrics"], *(f"experts/{name}" for name in found["experts"])))
    text.print(final_table({Path(chosen).name or str(chosen): {"metrics": found["metrics"]}}))


class Quiet:
    """Where a spinner would be, without a terminal."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def newest(folder: Path) -> str:
    """The model of a run's newest whole checkpoint. Raises UserError if there is none."""
    from manyminds import checkpoint

    return str(checkpoint.newest_model(folder, "name a model folder with --model"))


def per_prompt(metrics: dict[str, Any], *names: str) -> Table:
    """Greedy accuracy under each of these prompts, with its interval over questions; else all, vote, oracle."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column("prompt", no_wrap=True)
    table.add_column("accuracy in %", justify="right")
    experts = [key for key in metrics if key.startswith("experts/")]
    for name in names or ("plain", *experts, "vote", "oracle"):
        one = metrics[name]
        span = f" [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"
        value = Text.assemble(f"{100 * one['value']:.1f}", (span, "dim"))
        table.add_row(name.removeprefix("experts/"), value)
    return table


def described(seen: Preview) -> dict[str, Any]:
    """Prompts, method, rewards and notes as JSON holds them."""
    prompts = {name: {"text": seen.texts[name], "ids": list(ids)} for name, ids in seen.prompts.items()}
    rewards = [{"name": r.name, "weight": r.weight, "gate": r.gate, "normalise": r.normalise} for r in seen.rewards]
    return {
        "question": seen.question.id,
        "prompts": prompts,
        "method": seen.says,
        "rewards": rewards,
        "notes": list(seen.notes),
    }


def show_prompts(text: Console, seen: Preview) -> None:
    """One question under every prompt, as text and as token ids."""
    heading(text, f"Question {seen.question.id} under every prompt")
    for name, ids in seen.prompts.items():
        plain(text, f"  {name} ({len(ids)} tokens): {seen.texts[name]!r}\n      {shortened(ids)}")
    for note in seen.notes:
        plain(text, f"  note: {note}")


def shortened(ids: Sequence[int], most: int = 32) -> str:
    """The ids, the middle left out of a long prompt."""
    if len(ids) <= most:
        return " ".join(map(str, ids))
    half = most // 2
    return f"{' '.join(map(str, ids[:half]))} … {' '.join(map(str, ids[-half:]))}"


def show_method(text: Console, seen: Preview) -> None:
    """Which layer of the method says what."""
    heading(text, "Who says what in the method")
    width = max(map(len, seen.says))
    plain(text, "\n".join(f"  {what:<{width}}  {who}" for what, who in seen.says.items()))


def show_rewards(text: Console, seen: Preview) -> None:
    """What an answer's reward is added from."""
    heading(text, "The rewards, the verifier first")
    width = max(len(reward.name) for reward in seen.rewards)
    plain(text, "\n".join(f"  {reward.name:<{width}}  {reward.describe()}" for reward in seen.rewards))


def show_judged(text: Console, seen: Preview, shown: Sequence[dict[str, Any]]) -> None:
    """What the rewards give some texts as answers to the question; of several also what each gives."""
    from manyminds.preview import tempting

    several = len(seen.rewards) > 1
    heading(
        text, "The rewards on this question" if several else f"The verifier, {seen.rewards[0].name}, on this question"
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    for one in shown:
        parts = (f"{name} {value_of(name, one)}" for name in one["parts"])
        words = Text(" ".join(one["text"].split()), overflow="ellipsis", no_wrap=True)
        grid.add_row(f"  {one['reward']:g}", one["what"], words, *([", ".join(parts)] if several else []))
    text.print(grid)
    for sentence in tempting(seen, shown):
        plain(text, f"  note: {sentence}")


def value_of(name: str, one: dict[str, Any]) -> str:
    """What a reward gave a text: a number; that its gate was shut, so that it counts as 0; or that it has no value."""
    if name in one["shut"]:
        return "– (gate shut)"
    return "–" if one["parts"][name] is None else f"{one['parts'][name]:g}"


def heading(text: Console, words: str) -> None:
    """A line that begins a part of the output."""
    text.print()
    text.print(Text(words, style="bold"))


def plain(text: Console, words: str) -> None:
    """Text as it is: no markup, no colours, no wrapping."""
    text.print(words, markup=False, highlight=False, soft_wrap=True)
