"""`check`, `eval` and every --dry-run: what a recipe says and what a model can do, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manyminds.commands.console import AsJson, Overrides, RecipePath, consoles, print_json, told
from manyminds.errors import UserError

if TYPE_CHECKING:
    from manyminds.config import Recipe
    from manyminds.preview import Preview

Stage = Literal["warmup", "train"]
MEANINGS = {
    "rollouts_per_step": "answers sampled in a step, at most",
    "sampled_tokens_per_step_at_most": "tokens sampled in a step, at most",
    "sampled_tokens_at_most": "tokens sampled in the whole run, at most",
    "rows_per_update": "rows in an update (a method may add rows of its own)",
    "tokens_per_row_at_most": "tokens in a row, at most",
    "traces": "worked answers to learn from",
    "parameters": "parameters",
    "trained": "of them are trained",
    "memory_bytes": "bytes of memory, at most (an estimate)",
}


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

    Shows one prompt per expert as text and token ids, gives the verifier the gold answer (which must score 1) and
    nonsense (which must score 0), and says which layer of the method says what and what rewards are added from. Reads
    no weights and needs no GPU. Rewards that ask a model are asked on one question.

    With --rescue the model that training would start from is loaded and answers a sample of the training questions:
    how many stay all wrong under the best single prompt, and how many under several with as many answers in all.

    \b
    Example:
      manyminds check recipes/demo.yaml
      manyminds check recipes/demo.yaml --rescue --questions 100

    Writes no file. Exits with 2 if the verifier is wrong, or any reward fails, on any question that was tried.
    """
    from manyminds.commands.rescuing import ask_for_rescue, show_rescue
    from manyminds.config import load_recipe
    from manyminds.preview import judged, preview

    if model is not None and not rescue:
        raise UserError("--model: `check` reads a model only to ask it; give --rescue too")
    loaded = load_recipe(recipe, overrides or ())
    seen = preview(loaded)
    shown, problems = judged(seen)
    text, place = consoles(as_json)
    asking = rescue and not problems  # a verifier that is wrong would be asked in vain
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
        count = len(seen.notes)
        heed = {0: "", 1: ", but for what the note above says"}.get(count, f", but for what {count} notes above say")
        plain(text, f"\nAll is well{heed}.")


@told()
def evaluate(
    place: Annotated[
        str, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe, or the folder of a run.", show_default=False)
    ],
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="The model: a Hugging Face folder.", show_default=False)
    ] = None,
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

    Writes no file; --json prints the metrics.
    """
    from manyminds.config import load_recipe
    from manyminds.evaluate import on_test
    from manyminds.loading import load
    from manyminds.report.terminal import final_table

    folder = Path(place) if Path(place).is_dir() else None
    if folder and not (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder}: is not the folder of a run (it has no recipe.yaml); give one, or a recipe's path")
    recipe = load_recipe(folder / "recipe.yaml" if folder else place)
    chosen = model or (newest(folder) if folder else recipe.model)
    text, bars = consoles(as_json)
    loaded = load(recipe, chosen)
    for note in loaded.notes:
        Console(stderr=True).print(f"note: {note}", markup=False, highlight=False)
    with bars.status("asking the validation and test questions") if bars.is_terminal else Quiet():
        _, found = on_test(loaded, 0)
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


def show_plan(recipe: Recipe, stage: Stage, as_json: bool) -> None:
    """A --dry-run: the resolved recipe, the prompts, the method, and what it costs at most. Raises UserError."""
    import yaml

    from manyminds import derivation
    from manyminds.config import dump
    from manyminds.preview import preview, training_cost, training_footprint, warmup_cost, warmup_footprint

    seen = preview(recipe)
    warming = stage == "warmup"
    cost = warmup_cost(seen) if warming else training_cost(seen)
    memory = warmup_footprint(seen) if warming else training_footprint(seen)
    derived = derivation.of_warmup(seen) if warming else derivation.of_training(seen)
    folder = recipe.warmup_folder if stage == "warmup" else recipe.folder
    text, _ = consoles(as_json)
    if as_json:
        parts = {"held": memory.held, **memory.phases}
        plan = {"estimate": cost, "memory": parts, "derivation": list(derived)}
        print_json({"folder": str(folder), "recipe": dump(seen.recipe), **described(seen), **plan})
        return
    heading(text, "The recipe, everything resolved")
    plain(text, yaml.safe_dump(dump(seen.recipe), sort_keys=False, allow_unicode=True))
    show_prompts(text, seen)
    show_method(text, seen)
    show_rewards(text, seen)
    heading(text, f"What {'the warm-up' if stage == 'warmup' else 'training'} costs")
    width = max(len(f"{value:,}") for value in cost.values())
    plain(text, "\n".join(f"  {value:>{width},}  {MEANINGS[key]}" for key, value in cost.items()))
    for line in derivation.of_memory(memory):
        plain(text, f"  memory: {line}")
    heading(text, "What was derived, and why")
    plain(text, "\n".join(f"  {line}" for line in derived))
    text.print()
    plain(text, f"Nothing was written. The run would go to {folder}.")
    if problem := refusal(seen.recipe, stage):
        plain(text, f"As things stand it would be refused: {problem}.")


def refusal(recipe: Recipe, stage: Stage) -> str:
    """Why the run could not begin now, for what is or is not on disk; empty if it could."""
    from manyminds.folder import RunFolder
    from manyminds.run import starting_model

    try:
        if stage == "train":
            starting_model(recipe)
        RunFolder(recipe.warmup_folder if stage == "warmup" else recipe.folder).find(recipe, resume=False)
    except UserError as error:
        return str(error)
    return ""


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
    several = len(seen.rewards) > 1
    heading(
        text, "The rewards on this question" if several else f"The verifier, {seen.rewards[0].name}, on this question"
    )
    grid = Table.grid(padding=(0, 2))
    for one in shown:
        parts = (f"{name} {'–' if part is None else f'{part:g}'}" for name, part in one["parts"].items())
        grid.add_row(f"  {one['reward']:g}", one["what"], Text(one["text"]), *([", ".join(parts)] if several else []))
    text.print(grid)


def heading(text: Console, words: str) -> None:
    """A line that begins a part of the output."""
    text.print()
    text.print(Text(words, style="bold"))


def plain(text: Console, words: str) -> None:
    """Text as it is: no markup, no colours, no wrapping."""
    text.print(words, markup=False, highlight=False, soft_wrap=True)
