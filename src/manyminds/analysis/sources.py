"""Which models are analysed: RUN is a run's newest checkpoint, RUN@best, RUN@200 and RUN@start are others of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manyminds import checkpoint
from manyminds.config import Recipe, dump
from manyminds.durable import read_jsonl
from manyminds.errors import UserError
from manyminds.export import recipe_of
from manyminds.loading import load_questions
from manyminds.records import Question
from manyminds.result import Result
from manyminds.run import starting_model
from manyminds.tasks import Task


@dataclass(frozen=True, slots=True)
class Source:
    """A model: what it is called, its run's folder and recipe, and the folder or hub id that its weights are read from.

    `step`: after how many updates of its run it was saved; None for what the run began with.
    """

    label: str
    run: Path
    recipe: Recipe
    model: str | Path
    step: int | None


def sources(places: Sequence[str]) -> tuple[Source, ...]:
    """The models that are meant, with labels that tell them apart. Raises UserError, also for one given twice."""
    found = [source(place) for place in places]
    twice = [its for its, n in Counter((str(one.model), one.step) for one in found).items() if n > 1]
    if twice:
        raise UserError(f"{twice[0][0]}: the same model is given twice; name different runs, or RUN@STEP, RUN@start")
    counts = Counter(one.label for one in found)
    found = [
        replace(one, label=place.rstrip("/")) if counts[one.label] > 1 else one
        for one, place in zip(found, places, strict=True)
    ]
    return tuple(found)


def source(place: str) -> Source:
    """The model of RUN or RUN@WHERE; a folder that is there as it is written is a run, whatever letters are in it."""
    name, _, where = (place, "", "") if Path(place).is_dir() or "@" not in place else place.rpartition("@")
    run = Path(name)
    recipe = recipe_of(run)
    label = run.resolve().name + (f"@{where}" if where else "")
    if where == "start":
        return Source(label, run, recipe, start_of(run, recipe), None)
    if where == "best":
        model, step = checkpoint.best_model(run)
    elif where:
        model, step = saved_at(run, where)
    else:
        model = checkpoint.newest_model(run, "there is no model to analyse")
        step = int(model.parent.name.removeprefix("step-"))
    return Source(label, run, recipe, model, step)


def saved_at(run: Path, where: str) -> tuple[Path, int]:
    """The model of the checkpoint after so many steps. Raises UserError if it is not there or not whole."""
    folders = {int(path.name[5:]): path for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdigit()}
    known = ", ".join(["@start", "@best", *(f"@{step}" for step in sorted(folders))])
    if not (where.isascii() and where.isdigit()) or int(where) not in folders:
        raise UserError(f"{run}@{where}: there is no such checkpoint; known are {known}")
    if fault := checkpoint.validate(folders[int(where)]):
        raise UserError(f"{run}@{where}: the checkpoint is not whole: {fault}; choose another one")
    return folders[int(where)] / "model", int(where)


def start_of(run: Path, recipe: Recipe) -> str | Path:
    """What the run began with: its warm-up's end, or the recipe's model. Raises UserError if that warm-up is gone."""
    return recipe.model if is_warmup(run) else starting_model(recipe)


def is_warmup(run: Path) -> bool:
    """Whether the run is one of supervised steps."""
    result, lines = Result.read(run), steps_of(run)
    return (result is not None and result.arm == "mef") or (
        bool(lines) and all(line.get("kind") == "warmup" for line in lines)
    )


def steps_of(run: Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics; none if it kept none."""
    file = run / "metrics.jsonl"
    return [line for line in read_jsonl(file) if isinstance(line, dict)] if file.is_file() else []


def asked_alike(models: Sequence[Source], split: str) -> None:
    """Raises UserError if a run would ask other questions than the first, under other prompts, or judge otherwise."""
    first, *others = ((one, *load_questions(one.recipe)) for one in models)
    for other in others:
        for what, its in (("questions", _questions), ("experts", _experts), ("rewards", _rewards)):
            if its(*first[1:], split) != its(*other[1:], split):
                raise UserError(
                    f"{other[0].run}: its recipe has other {split + ' ' if what == 'questions' else ''}{what} than "
                    f"that of {first[0].run}, so what they cannot do cannot be compared; analyse them one at a time"
                )


def _questions(task: Task, experts: Any, recipe: Recipe, split: str) -> list[tuple[Any, ...]]:
    return [identity(question) for question in task.splits[split]]


def _experts(task: Task, experts: Any, recipe: Recipe, split: str) -> list[tuple[Any, ...]]:
    return [(expert.name, expert.system) for expert in experts]


def _rewards(task: Task, experts: Any, recipe: Recipe, split: str) -> Any:
    return dump(recipe)["rewards"], list(map(str, task.rewards))


def identity(question: Question) -> tuple[Any, ...]:
    """What makes two questions the same."""
    return question.id, question.text, question.messages, question.answer
