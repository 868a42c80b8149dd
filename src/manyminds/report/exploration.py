"""What `manyminds analyse` found, as values that the page and the terminal show; and what it says in words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.report.runs import Measure

FILE = "analysis.json"
WHICH = ("all", "right", "wrong")


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Of some answers: how many, their mean length in tokens, and how unsure the model was; None without an answer."""

    answers: int
    length: float | None
    entropy: float | None
    perplexity: float | None
    branching: float | None


@dataclass(frozen=True, slots=True)
class Stages:
    """Where a run turned from its rising stage into its plateau, after `step` of `steps` steps; or `why` it did not.

    `entropy` and `accuracy`: at the beginning, at the turn and at the end.
    """

    found: bool
    why: str
    step: int = 0
    steps: int = 0
    entropy: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One model: pass@k by prompt and k, uncertainty by prompt and all, right or wrong, and the stages of its run.

    On `unjudged` answers the verifier gave no verdict: they count as not right.
    """

    name: str
    run: str
    curves: Mapping[str, Mapping[int, Measure]]
    uncertainty: Mapping[str, Mapping[str, Uncertainty]]
    stages: Stages
    unjudged: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """Under a prompt: how many questions a model leaves unsolved, how many another does, and both; which of them that
    one solves, and which it loses. With `again` the other is the same model, asked again."""

    origin: str
    target: str
    again: bool
    prompt: str
    before: int
    after: int
    both: int
    solved: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exploration:
    """An analysis: `samples` answers to each of so many questions of a set under each prompt, by one model or several.

    `k` is that of the unsolvable sets U_k.
    """

    split: str
    questions: int
    samples: int
    k: int
    temperature: float
    prompts: tuple[str, ...]
    points: tuple[int, ...]
    models: tuple[Model, ...]
    moves: tuple[Move, ...]

    @property
    def curves(self) -> tuple[str, ...]:
        """The names under which pass@k is told: the prompts, and of several their mean and all together."""
        return tuple(self.models[0].curves)

    @property
    def reach(self) -> float:
        """How far the 95 % intervals of pass@k go to either side, at most."""
        every = [one for model in self.models for its in model.curves.values() for one in its.values()]
        return max(max((one.high or 0) - one.value, one.value - (one.low or 0)) for one in every)

    @property
    def over_all(self) -> str:
        """The name under which the uncertainty of all answers is told: the last, the prompts' own come before it."""
        return tuple(self.models[0].uncertainty)[-1]

    def moved(self) -> list[tuple[Move, Move]]:
        """Every move between two models, prompt by prompt, with what the first does where it is asked again; of a
        single model what it does itself."""
        chance = {(move.origin, move.prompt): move for move in self.moves if move.again}
        told = [move for move in self.moves if not move.again] or list(chance.values())
        told.sort(key=lambda move: self.curves.index(move.prompt) if move.prompt in self.curves else -1)
        return [(move, chance[move.origin, move.prompt]) for move in told]

    def doubts(self) -> list[str]:
        """Of which models some answers were not judged."""
        return [
            f"{model.name}: the verifier gave no verdict on {model.unjudged:,} of "
            f"{model.uncertainty[self.over_all]['all'].answers:,} answers, which count as not right."
            for model in self.models
            if model.unjudged
        ]

    def sentences(self) -> list[str]:
        """What the metrics of each run say of its stages."""
        by_run = {model.run: model.stages for model in self.models}
        return [in_words(run, stages) for run, stages in by_run.items()]


def in_words(run: str, stages: Stages) -> str:
    """The stages of a run as a sentence."""
    if not stages.found:
        return f"{run}: no two stages ({stages.why})."
    entropy, accuracy = stages.entropy, [100 * value for value in stages.accuracy]
    return (
        f"{run}: rising until step {stages.step} of {stages.steps} (entropy {entropy[0]:.3f} to {entropy[1]:.3f}, "
        f"accuracy {accuracy[0]:.0f} to {accuracy[1]:.0f} %), then a plateau (entropy to {entropy[2]:.3f}, accuracy to "
        f"{accuracy[2]:.0f} %)."
    )


def explorations(run: Path) -> tuple[Exploration, ...]:
    """The analyses that were saved in a run's folder, by set. Raises UserError for a file that is broken."""
    return tuple(read(path) for path in sorted((run / "analysis").glob(f"*/{FILE}")))


def read(path: Path) -> Exploration:
    """The analysis in this file. Raises UserError, with the file, if it holds something else."""
    try:
        return explored(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: is not what `manyminds analyse` writes ({type(error).__name__}: {what[:200]}); run it again, or "
            "delete the file"
        ) from error


def explored(data: Mapping[str, Any]) -> Exploration:
    """The analysis in its JSON. Raises LookupError, TypeError, AttributeError or ValueError for what is none."""
    found = Exploration(
        split=str(data["set"]),
        questions=int(data["questions"]),
        samples=int(data["samples"]),
        k=int(data["k"]),
        temperature=_finite(data["temperature"]),
        prompts=tuple(map(str, data["prompts"])),
        points=tuple(map(int, data["points"])),
        models=tuple(map(_model, data["models"])),
        moves=tuple(map(_move, data["unsolvable"])),
    )
    for model in found.models:
        for name in found.curves:
            for k in found.points:
                model.curves[name][k]
    for name in (one for model in found.models for one in found.models[0].uncertainty if one not in model.uncertainty):
        raise KeyError(name)
    found.moved()
    return found


def _model(data: Mapping[str, Any]) -> Model:
    curves = {
        str(name): {
            int(k): Measure(_finite(one["value"]), _finite(one["low"]), _finite(one["high"])) for k, one in its.items()
        }
        for name, its in data["pass_at"].items()
    }
    uncertainty = {
        str(name): {which: _uncertainty(its[which]) for which in WHICH} for name, its in data["uncertainty"].items()
    }
    stages, unjudged = _stages(data["stages"]), int(data.get("unjudged", 0))  # not in what older versions wrote
    return Model(str(data["name"]), str(data["run"]), curves, uncertainty, stages, unjudged)


def _uncertainty(data: Mapping[str, Any]) -> Uncertainty:
    names = ("length", "entropy", "perplexity", "branching")
    return Uncertainty(int(data["answers"]), *(None if data[name] is None else _finite(data[name]) for name in names))


def _stages(data: Mapping[str, Any]) -> Stages:
    if not data["found"]:
        return Stages(found=False, why=str(data["why"]))
    entropy, accuracy = (tuple(map(_finite, data[name])) for name in ("entropy", "accuracy"))
    if (len(entropy), len(accuracy)) != (3, 3):
        raise ValueError("stages have three values of entropy and of accuracy")
    return Stages(True, "", int(data["step"]), int(data["steps"]), entropy, accuracy)


def _move(data: Mapping[str, Any]) -> Move:
    return Move(
        origin=str(data["from"]),
        target=str(data["to"]),
        again=bool(data["again"]),
        prompt=str(data["prompt"]),
        before=int(data["before"]),
        after=int(data["after"]),
        both=int(data["both"]),
        solved=tuple(map(str, data["solved"])),
        lost=tuple(map(str, data["lost"])),
    )


def _finite(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is not a finite number")
    return found
