"""What the properties are asked of: every method of the table in every variant its fields name, and every pair.

Nothing here knows a method by name: one that enters the table is a subject with its first import. `TINY` and `MORE`
say which numbers suit a handful of answers, by the name of the field.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

import toy_methods
from manyminds.methods import METHODS, build, find
from manyminds.methods.compose import Composed
from manyminds.methods.method import Method

sys.path.append(str(Path(__file__).parents[2] / "examples"))  # as the reader of custom_method.py runs it

EXPERTS = ("alpha", "beta", "gamma")
Spec = dict[str, Any]

TINY: Spec = {
    "fixed_length": 4,
    "hard_capacity": 2,
    "hard_probability": 1.0,
    "hard_wrong": 1,
    "overlong_cache": 2,
    "overlong_length": 4,
    "student": "alpha",
    "stuck": 0.5,
}
"""Values that make a method do on a few answers what it does on many; a method has those that are its fields."""
MORE: dict[str, tuple[Any, ...]] = {
    "alpha": (0.5,),
    "below": (0.0,),
    "beta": (0.0, 1.0, 8.0, -2.0),
    "clip_high": (0.0,),
    "entropy_coefficient": (0.01,),
    "epochs": (2,),
    "focus": (0.0,),
    "hard_coefficient": (0.0,),
    "kl_coefficient": (0.1,),
    "minibatches": (1, 2),
    "mutual_answers": (1,),
    "mutual_coefficient": (0.0,),
    "mutual_gap": (0.6,),
    "most": (1,),
    "student": ("beta",),
    "traces": (1,),
    "trigger": (1.0,),
}
"""Further values of fields whose type names none."""
OWN = ("custom_method:ByRank", "custom_method:NotTooEasy")
TOYS = tuple(
    f"toy_methods:{name}"
    for name, kind in inspect.getmembers(toy_methods, inspect.isclass)
    if issubclass(kind, Method) and kind.__module__ == "toy_methods"
)


def plain(name: str) -> Spec:
    """The method as it is by default, but for the sizes of a small workload."""
    return {"name": name} | {field: value for field, value in TINY.items() if field in find(name).model_fields}


def named_values(annotation: Any) -> Iterator[Any]:
    """All values that a type names: those of its literals, and both of a bool."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif annotation is bool:
        yield from (False, True)
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for inner in get_args(annotation):
            yield from named_values(inner)


def is_part(name: str) -> bool:
    """Whether it asks nothing by itself, and so is a part of a method only."""
    return find(name).ask is Method.ask


def whole(spec: Spec) -> Spec:
    """What can be learnt from alone: a part with the plainest base."""
    return {"name": "grpo", "with": [spec]} if is_part(spec["name"]) else spec


def variants(name: str) -> dict[str, Spec]:
    """The method by default, and with one field changed, for every value that the field's type or `MORE` names.

    A field that cannot be changed alone, because the method refuses it, is no variant.
    """
    base = plain(name)
    specs = {name: base}
    for field, info in find(name).model_fields.items():
        if field in Method.model_fields:
            continue
        now = base.get(field, info.default)
        for value in dict.fromkeys((*named_values(info.annotation), *MORE.get(field, ()))):
            if value != now and accepted(spec := {**base, field: value}):
                specs[f"{name}, {field} {value}"] = spec
    return specs


def accepted(spec: Spec) -> bool:
    """Whether the method takes these fields."""
    try:
        build(spec)
    except ValidationError:
        return False
    return True


def composed(spec: Spec) -> Composed:
    """The method of a recipe, with what the recipe leaves open filled in. Raises UserError for what is refused."""
    return Composed(build({"experts": EXPERTS, **spec}).settled(EXPERTS, 4))


def paired(bases: dict[str, Spec], parts: dict[str, Spec]) -> dict[str, Spec]:
    """Every ordered pair, those that are refused among them."""
    return {f"{base} + {part}": {**bases[base], "with": [parts[part]]} for base in bases for part in parts}


ALONE = {label: whole(spec) for name in METHODS for label, spec in variants(name).items()}
BASES = {name: plain(name) for name in (*METHODS, OWN[0]) if not is_part(name)}
PARTS = {name: plain(name) for name in (*METHODS, *OWN, *TOYS)}
PAIRS = paired(BASES, PARTS)
