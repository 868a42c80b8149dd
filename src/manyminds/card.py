"""The model card of an export, from the run alone: what was done, with what, and what it measured."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from manyminds.checkpoint import versions
from manyminds.config import Recipe, dump
from manyminds.report.read import load
from manyminds.report.runs import Arm

SHOWN = ("plain", "mean", "worst", "best", "vote", "oracle")


def card(run: Path, recipe: Recipe, licence: str, expert: str | None, dtype: str, best_step: int | None = None) -> str:
    """README.md of the exported folder: metadata as the hub reads it, and the text. `best_step`: the weights are those
    after this step and not the run's last."""
    from huggingface_hub import ModelCardData
    from jinja2 import Environment

    arm = load(run).arms[0]
    after, before = arm.metrics, arm.before.metrics if arm.before else {}
    names = [name for name in (*SHOWN, *(f"experts/{one.name}" for one in recipe.experts or ())) if name in after]
    rows = [(name.removeprefix("experts/"), _cell(before.get(name)), _cell(after[name])) for name in names]
    method = recipe.method.name.rpartition(":")[2]
    tags = ["manyminds", "reinforcement-learning", "rlvr", method]
    local = Path(recipe.model).exists() or recipe.model == "tiny"
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=tags,
        base_model=None if local else recipe.model,
    )
    template = (files("manyminds") / "assets" / "model_card.md").read_text(encoding="utf-8")
    body = (
        Environment(autoescape=False, keep_trailing_newline=True)
        .from_string(template)
        .render(
            recipe=recipe,
            arm=arm,
            versions=arm.versions or versions(),
            dtype=dtype,
            best_step=best_step,
            costs=_costs(arm),
            licence=licence,
            expert=expert,
            experts=[(one.name, _line(one.system or "none")) for one in recipe.experts or ()],
            rows=rows,
            questions=arm.after.questions if arm.after else 0,
            text=yaml.safe_dump(_public(recipe), sort_keys=False, allow_unicode=True),
        )
    )
    return f"---\n{data.to_yaml()}\n---\n{body}"


def _public(recipe: Recipe) -> dict[str, Any]:
    """The recipe without where its output went."""
    return {key: value for key, value in dump(recipe).items() if key != "output"}


def _line(text: str) -> str:
    """Text as a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|")


def _cell(measure: Any) -> str:
    if measure is None:
        return "–"
    span = "" if measure.low is None else f" [{100 * measure.low:.1f}, {100 * measure.high:.1f}]"
    return f"{100 * measure.value:.1f}{span}"


def _costs(arm: Arm) -> str:
    if arm.result is None:
        return f"{len(arm.steps)} steps so far"
    tokens, seconds = arm.result.sampled_tokens or 0, arm.result.seconds or 0
    return f"{arm.steps[-1].step if arm.steps else 0} steps, {tokens:,.0f} sampled tokens, {seconds:,.0f} s"
