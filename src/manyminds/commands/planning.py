"""Every --dry-run: what a recipe would do and what that would take, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from manyminds.commands.checking import described, heading, plain, show_method, show_prompts, show_rewards
from manyminds.commands.console import consoles, print_json
from manyminds.errors import UserError

if TYPE_CHECKING:
    from manyminds.config import Recipe

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


def show_plan(recipe: Recipe, stage: Stage, as_json: bool) -> None:
    """A --dry-run: the prompts, the method, the resolved recipe, and what it costs at most. Raises UserError.

    The recipe is long; costs and their reasons come after it, so that they stand where a terminal is read: at the end.
    """
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
    show_prompts(text, seen)
    show_method(text, seen)
    show_rewards(text, seen)
    heading(text, "The recipe, everything resolved")
    plain(text, yaml.safe_dump(dump(seen.recipe), sort_keys=False, allow_unicode=True).rstrip())
    heading(text, f"What {'the warm-up' if stage == 'warmup' else 'training'} costs")
    width = max(len(f"{value:,}") for value in cost.values())
    plain(text, "\n".join(f"  {value:>{width},}  {MEANINGS[key]}" for key, value in cost.items()))
    for line in derivation.of_memory(memory):
        plain(text, f"  memory: {line}")
    heading(text, "What was derived, and why")
    plain(text, "\n".join(f"  {line}" for line in derived))
    text.print()
    plain(text, f"Nothing was written. The run would go to {folder}.")
    if seen.notes:
        plain(text, f"Heed {'the note' if len(seen.notes) == 1 else f'the {len(seen.notes)} notes'} under the prompts.")
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
