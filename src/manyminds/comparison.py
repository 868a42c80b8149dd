"""A comparison file: which arms run on which seeds at which levels; and the cells (level, arm, seed) it comes to.

    arms.<name>      overrides of the base recipe, and keys of the comparison's own: `stage` (train, the default;
                     warmup; both: a warm-up of its own, then training), `longer_than` (a warm-up that trains for as
                     many seconds more as that arm took), `seeds` (its own; such arms run after all others)
    levels.<name>    overrides for all arms, and `seeds`, `arms`

The arm with `stage: warmup` and no `longer_than` is the warm-up that all others of its seed start from. In overrides,
"{seed}" is the seed, "{best}" the warm-up's best prompt on validation, "{warmup_steps}" the steps it took.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from manyminds import yaml_text
from manyminds.config import SHARED_BY_METHODS, Recipe, dump, parse
from manyminds.errors import UserError
from manyminds.sections import Section

OUTCOMES = (
    *("mean", "worst", "best", "plain", "spread", "vote", "oracle"),
    *("all_wrong", "all_right", "pooled_all_wrong"),
)
STAGES = ("train", "warmup", "both")
OWN: dict[str, Any] = {
    "stage": TypeAdapter(str),
    "longer_than": TypeAdapter(str | None),
    "seeds": TypeAdapter(list[int]),
    "arms": TypeAdapter(list[str]),
}
"""The comparison's own keys of an arm or level, and what they may hold."""
NO_MATTER = ("name", "output", "arm", "checkpoint", "profile")
NOT_IN_WARMUP = ("method", "steps", "sampled_tokens", "optimizer")
PROBE = {"best": "{best}", "warmup_steps": 1, "longer_steps": 1}
Key = tuple[str, str, int]


class Pair(Section):
    """Accuracy `outcome` of `arm` minus that of `against`."""

    outcome: str
    arm: str
    against: str


class Comparison(Section):
    """What the file says. `base` and `results` are relative to the file."""

    name: str
    base: str
    overrides: dict[str, Any] = Field({})
    seeds: tuple[int, ...] = Field(min_length=1)
    levels: dict[str, dict[str, Any]] = Field({"main": {}}, min_length=1)
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    primary: Pair
    secondary: tuple[str, ...] = ()
    controls: tuple[Pair, ...] = ()
    results: str

    @field_validator("levels", "arms", mode="before")
    @classmethod
    def _names(cls, named: Any) -> Any:
        for name in named if isinstance(named, dict) else ():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
                raise ValueError(f"'{name}' is not a name for files; use letters, digits, - and _")
        return {name: value or {} for name, value in named.items()} if isinstance(named, dict) else named

    @field_validator("levels", "arms")
    @classmethod
    def _own_keys(cls, named: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, says in named.items():
            for key in OWN.keys() & says:
                try:
                    OWN[key].validate_python(says[key], strict=True)
                except ValidationError as error:
                    raise ValueError(f"{name}.{key} is {says[key]!r:.80}; {error.errors()[0]['msg']}") from None
        return named


@dataclass(frozen=True)
class Cell:
    """One arm on one seed at one level. `data` is its recipe, with placeholders for what other cells will say."""

    level: str
    arm: str
    seed: int
    stage: str
    data: Mapping[str, Any]
    folder: Path
    needs: tuple[Key, ...]
    longer_than: Key | None
    order: tuple[int, int, int, int]

    @property
    def key(self) -> Key:
        return (self.level, self.arm, self.seed)

    @property
    def file(self) -> str:
        """Where its result goes, under the results folder."""
        return f"{self.level}/{self.arm}-seed{self.seed}.json"

    def recipe(self, filled: Mapping[str, Any]) -> Recipe:
        """The recipe with its placeholders filled in."""
        return parse(fill(self.data, filled), f"arm '{self.arm}'")


def load_comparison(path: Path) -> tuple[Comparison, dict[str, Any]]:
    """The comparison in a YAML file, and its base recipe as plain data. Raises UserError naming file and key."""
    data = read_yaml(path)
    try:
        comparison = Comparison.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        close = get_close_matches(key, Comparison.model_fields, n=1) if first["type"] == "extra_forbidden" else []
        hint = f"; did you mean '{close[0]}'?" if close else ""
        if first["type"] == "missing":
            raise UserError(f"{path}: the key '{key}' is missing") from error
        given = "" if "error" in first.get("ctx", {}) or hint else f", not {first['input']!r:.80}"
        raise UserError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}{given}{hint}") from error
    return comparison, merged(read_yaml(path.parent / comparison.base), comparison.overrides)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError."""
    return yaml_text.read(path, "a comparison or its base")[0]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top, key by key.

    A method of another name or preset takes over only what all methods have: whom it asks, and how much.
    """
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        if not (isinstance(value, Mapping) and isinstance(before, Mapping)):
            result[key] = value
            continue
        changed = any(value[part] != before.get(part) for part in ("name", "preset") if part in value)
        if key == "method" and changed:
            before = {part: before[part] for part in ("name", *SHARED_BY_METHODS) if part in before}
        result[key] = merged(before, value)
    return result


def fill(data: Any, values: Mapping[str, Any]) -> Any:
    """`data` with every string "{name}" replaced by that value."""
    if isinstance(data, Mapping):
        return {key: fill(value, values) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [fill(value, values) for value in data]
    named = isinstance(data, str) and data.startswith("{") and data.endswith("}") and data[1:-1] in values
    return values[data[1:-1]] if named else data


def plan(comparison: Comparison, base: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Every cell, in the order of the file: levels, then arms without seeds of their own, by seed; then the others.

    Raises UserError for an arm whose recipe does not hold, that needs a cell that is not there, or that is compared
    by a metric that is not measured.
    """
    check_pairs(comparison)
    cells = []
    for i, (level, its) in enumerate(comparison.levels.items()):
        unknown = sorted({*its.get("arms", ())} - comparison.arms.keys())
        if unknown:
            raise UserError(
                f"levels.{level}.arms: there is no arm '{unknown[0]:.80}'; known are {', '.join(comparison.arms)}"
            )
        names = [name for name in comparison.arms if name in its.get("arms", comparison.arms)]
        for seed in sorted({*its.get("seeds", comparison.seeds), *_own_seeds(comparison, its)}, key=_first(comparison)):
            for j, arm in enumerate(names):
                if seed in _seeds(comparison, its, arm):
                    cells.append(_cell(comparison, base, (level, arm, seed), (i, _first(comparison)(seed), j)))
    keys = {cell.key for cell in cells}
    for cell in cells:
        for level, arm, seed in cell.needs:
            if (level, arm, seed) not in keys:
                raise UserError(
                    f"arms.{cell.arm}: needs '{arm:.80}' of seed {seed} at level '{level}', which is not listed"
                )
        cell.recipe(PROBE)
    return tuple(sorted(cells, key=lambda cell: cell.order))


def check_pairs(comparison: Comparison) -> None:
    """Raises UserError if a difference is asked for of an arm or a metric that is not there."""
    for pair in (comparison.primary, *comparison.controls):
        for arm in (pair.arm, pair.against):
            if arm not in comparison.arms:
                raise UserError(
                    f"primary, controls: there is no arm '{arm:.80}'; known are {', '.join(comparison.arms)}"
                )
    for outcome in (comparison.primary.outcome, *comparison.secondary, *(pair.outcome for pair in comparison.controls)):
        if outcome not in OUTCOMES and not re.fullmatch(r"(pooled_)?pass_at_\d+|experts/.+", outcome):
            raise UserError(
                f"'{outcome:.80}' is not an outcome; known are {', '.join(OUTCOMES)}, pass_at_<group>, "
                "pooled_pass_at_<group x experts>, experts/<name>"
            )


def _first(comparison: Comparison) -> Any:
    """Sorts seeds as the file lists them, those of single arms last."""
    return lambda seed: comparison.seeds.index(seed) if seed in comparison.seeds else len(comparison.seeds) + seed


def _own_seeds(comparison: Comparison, level: Mapping[str, Any]) -> set[int]:
    return set() if "seeds" in level else {seed for arm in comparison.arms.values() for seed in arm.get("seeds", ())}


def _seeds(comparison: Comparison, level: Mapping[str, Any], arm: str) -> set[int]:
    """A level's seeds bound those of its arms."""
    own = {*comparison.arms[arm].get("seeds", level.get("seeds", comparison.seeds))}
    return own & {*level["seeds"]} if "seeds" in level else own


def _warm(comparison: Comparison) -> str | None:
    """The arm that all others start from."""
    found = [n for n, arm in comparison.arms.items() if arm.get("stage") == "warmup" and "longer_than" not in arm]
    if len(found) > 1:
        raise UserError(
            f"arms.{found[1]}: '{found[0]}' is the warm-up already; only one arm may be, others `stage: both`"
        )
    return found[0] if found else None


def _cell(comparison: Comparison, base: Mapping[str, Any], key: Key, place: tuple[int, int, int]) -> Cell:
    level, arm, seed = key
    says, warm = comparison.arms[arm], _warm(comparison)
    stage = says.get("stage", "train")
    if stage not in STAGES:
        raise UserError(f"arms.{arm}.stage is '{stage:.80}'; it may be {', '.join(STAGES)}")
    data = merged(base, _overrides(comparison.levels[level]))
    longer = says.get("longer_than")
    if longer:
        data = merged(data, {"warmup": {"steps": "{longer_steps}", "decay_at": None}})
    data = fill(merged(data, _overrides(says)), {"seed": seed})
    home = Path(str(data.get("output", "runs"))) / comparison.name
    group = f"{level}-{seed}"
    alone = stage == "both" or bool(longer)
    names = (
        {"output": str(home / group), "name": arm, "arm": ""}
        if alone
        else {"output": str(home), "name": group, "arm": arm}
    )
    if stage == "train" and warm is None and data.get("warmup"):
        raise UserError(f"arms.{arm}: its recipe has a warm-up, but no arm runs it; add an arm with `stage: warmup`")
    return Cell(
        level,
        arm,
        seed,
        stage,
        {**data, **names, "seed": seed},
        home / group / ("warmup" if arm == warm else arm),
        tuple((level, other, seed) for other in (warm, longer) if other and other != arm),
        (level, longer, seed) if longer else None,
        (place[0], int("seeds" in says), place[1], -1 if arm == warm else place[2]),
    )


def _overrides(says: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in says.items() if key not in OWN}


def essence(stage: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe decides the numbers of a stage, every default written out."""
    ignored = (*NO_MATTER, *(NOT_IN_WARMUP if stage == "warmup" else ()))
    return {key: value for key, value in dump(parse(dict(data))).items() if key not in ignored}


def digest(stage: str, data: Mapping[str, Any]) -> str:
    """The hash that says whether two cells ran the same recipe."""
    text = json.dumps({"stage": stage, **essence(stage, data)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
