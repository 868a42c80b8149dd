"""A run's model as a plain Hugging Face folder that needs nothing of manyminds: weights, tokenizer, prompt, card."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyminds.config import Recipe, load_recipe
from manyminds.errors import UserError
from manyminds.records import PLAIN, Expert

CLOSE = 1e-3
"""How far the logits of merged adapters may be from those of the run, as a share of the largest: float32's rounding."""


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, and by how much its logits differ from the run's, as a share of the largest."""

    folder: Path
    difference: float


def export(
    run: str | Path,
    out: str | Path,
    *,
    expert: str | None = None,
    dtype: str = "float32",
    best: bool = False,
    trust: bool = False,
) -> Exported:
    """Write the newest checkpoint of the run folder `run`, or the `best` one that it kept, to the folder `out`, which
    must not exist.

    Adapters are merged. Answers end by themselves where they ended in training. With `expert` the chat template speaks
    for that expert where a conversation has no system message. What was written is loaded again, by transformers alone,
    and its logits are compared with the run's; the card, README.md, is made from the run. Code that comes with the
    model is executed only if `trust` is set, whatever the run's recipe says: a run may be somebody else's. Raises
    UserError for a user's mistake; then nothing is written.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from manyminds import checkpoint
    from manyminds.card import card
    from manyminds.durable import explaining
    from manyminds.loading import context_of, load_model, load_questions, stop_ids
    from manyminds.policy import adapters

    run, out = Path(run), Path(out)
    if out.exists():
        raise UserError(f"{out}: is there already; name a folder that is not, or delete it")
    source, recipe = checkpoint_of(run)
    source, step = checkpoint.best_model(run) if best else (source, None)
    model, tokenizer = load_model(source, recipe.seed, base=recipe.model, lora=recipe.lora, trust=trust)
    before, ends = _said(model), list(stop_ids(model, tokenizer, recipe.chat_template_kwargs))
    tokenizer = _speaking(tokenizer, expert, recipe, context_of(model.config, tokenizer))
    plain = adapters.merge(model) if recipe.lora else model
    plain = plain.to(getattr(torch, dtype))
    plain.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
    with explaining(f"{out}: the export cannot be written"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as place:
            made = Path(place) / "model"
            plain.save_pretrained(made)
            tokenizer.save_pretrained(made)
            again = AutoModelForCausalLM.from_pretrained(
                made, dtype=getattr(torch, dtype), trust_remote_code=trust
            ).eval()
            difference = float((_said(again) - before).abs().max() / before.abs().max())
            if dtype == "float32" and difference > CLOSE:
                raise UserError(
                    f"{run}: what was written says other things than the run (logits {difference:.1e} apart)"
                )
            task = load_questions(recipe)[0]
            (made / "README.md").write_text(card(run, recipe, task.licence, expert, dtype, step), encoding="utf-8")
            shutil.move(made, out)
    return Exported(out, difference)


def checkpoint_of(run: Path) -> tuple[Path, Recipe]:
    """The model of the run's newest whole checkpoint, and its recipe. Raises UserError if there is none."""
    from manyminds import checkpoint

    recipe = recipe_of(run)
    return checkpoint.newest_model(run, "there is nothing to export"), recipe


def recipe_of(run: Path) -> Recipe:
    """The recipe that a run's folder was made with. Raises UserError for what is no such folder."""
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder; give that of a run, such as runs/demo/meml_grpo")
    if not (run / "recipe.yaml").is_file():
        inside = sorted(recipe.parent.name for recipe in run.glob("*/recipe.yaml"))
        hint = f"it holds those of {', '.join(inside)}" if inside else "give one, such as runs/demo/meml_grpo"
        raise UserError(f"{run}: is not the folder of a run (it has no recipe.yaml); {hint}")
    return load_recipe(run / "recipe.yaml")


def _speaking(tokenizer: Any, name: str | None, recipe: Recipe, context: int) -> Any:
    from manyminds.experts.baking import baked

    known = {one.name: one.record() for one in recipe.experts or ()}
    if name is None:
        return baked(tokenizer, Expert(PLAIN), context, recipe.chat_template_kwargs)
    if name not in known:
        raise UserError(f"--expert: there is no expert '{name}'; known are {', '.join(known) or 'none'}")
    return baked(tokenizer, known[name], context, recipe.chat_template_kwargs)


def _said(model: Any) -> Any:
    """Logits after some token sequences that any model has, in float32 on the CPU."""
    import torch

    size = int(model.get_output_embeddings().weight.shape[0])
    rows = torch.arange(24).view(2, 12) * 7919 % size
    with torch.no_grad():
        return model(rows.to(model.device)).logits.float().cpu()
