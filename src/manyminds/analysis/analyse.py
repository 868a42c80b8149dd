"""The analysis of one or several models on the same questions, and the files that it leaves."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from manyminds.analysis.asking import Asked, Plan, Watch, answers_of, same_questions, unjudged_of
from manyminds.analysis.sources import Source, asked_alike, sources
from manyminds.analysis.stages import stages
from manyminds.analysis.summing import curve_points, moves, pass_curves, uncertainties
from manyminds.durable import explaining, write_json, write_text
from manyminds.errors import UserError
from manyminds.sections import Sampling

FILE = "analysis.json"


@dataclass(frozen=True)
class Analysis:
    """What was found, as JSON holds it, and the file that it is in."""

    data: dict[str, Any]
    path: Path


def analyse(
    places: Sequence[str],
    plan: Plan,
    *,
    out: Path | None = None,
    trust: bool = False,
    watch: Watch = lambda name, done, of: None,
    note: Callable[[str], None] = lambda sentence: None,
) -> Analysis:
    """Ask the models of these runs the same questions, and write `analysis.json` and every answer.

    All are asked as the first run's recipe samples (temperature, most tokens, stop), one model in memory at a time.
    Written to `out`, else to the last run's folder, under analysis/SET; the answers of an analysis that was there go.
    Code that comes with a model is executed only if `trust` is set. Raises UserError for a user's mistake, and before
    anything is asked where the runs' tasks differ.
    """
    if plan.n < 2:
        raise UserError("--samples: 2 or more are needed: half of them tell what would change by asking again")
    if out is not None and out.is_file():
        raise UserError(f"{out}: is a file; --out names a folder, which is made if it is not there")
    models = sources(places)
    if len(models) > 1:
        asked_alike(models, plan.split)
    sampling = models[0].recipe.sampling
    asked: list[Asked] = []
    for source in models:
        asked.append(answers_of(source, plan, sampling, trust=trust, watch=watch, note=note))
        same_questions(asked[0], asked[-1])
        gc.collect()  # a model's modules refer to one another: its memory is free before the next one needs it
    folder = out or models[-1].run / "analysis" / plan.split
    data = summary(asked, plan, sampling)
    with explaining(f"{folder}: the analysis cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        before = answer_files(folder)
        for one, its in zip(asked, data["models"], strict=True):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in one.rows(plan.split)]
            write_text(folder / its["samples"], "".join(lines))
        write_json(folder / FILE, data)
        now = {name.casefold() for name in answer_files(folder)}
        for file in before:
            if file.casefold() not in now:
                (folder / file).unlink(missing_ok=True)
    return Analysis(data, folder / FILE)


def summary(asked: Sequence[Asked], plan: Plan, sampling: Sampling) -> dict[str, Any]:
    """What the answers come to, as JSON holds it."""
    first = asked[0]
    return {
        "set": plan.split,
        "questions": len(first.questions),
        "samples": plan.n,
        "k": plan.n // 2,
        "seed": plan.seed,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "prompts": list(first.prompts),
        "points": list(curve_points(plan.n)),
        "models": [
            {
                **named(one.source),
                "samples": file,
                "unjudged": unjudged_of(one.samples),
                "pass_at": pass_curves(one),
                "uncertainty": uncertainties(one.samples, one.prompts),
                "stages": stages(one.source.run, one.verifier),
            }
            for one, file in zip(asked, file_names([one.source.label for one in asked]), strict=True)
        ],
        "unsolvable": list(moves(asked)),
    }


def named(source: Source) -> dict[str, Any]:
    """Which model it is."""
    return {"name": source.label, "run": str(source.run), "model": str(source.model), "step": source.step}


def file_names(labels: Sequence[str]) -> list[str]:
    """The names of the files of these models' answers: no two are the same, also where capitals are not told apart."""
    found: dict[str, str] = {}
    for label in labels:
        stem = label.strip("./").replace("/", "-").replace("\\", "-") or "answers"
        names = (stem if i == 1 else f"{stem}-{i}" for i in count(1))
        name = next(name for name in names if name.casefold() not in found)
        found[name.casefold()] = f"{name}.jsonl"
    return list(found.values())


def answer_files(folder: Path) -> set[str]:
    """The files of answers that the analysis in this folder names; none where it holds no analysis that can be read."""
    try:
        names = [str(one["samples"]) for one in json.loads((folder / FILE).read_text(encoding="utf-8"))["models"]]
    except (OSError, LookupError, TypeError, ValueError, RecursionError):
        return set()
    return {name for name in names if name == Path(name).name and name.endswith(".jsonl")}
