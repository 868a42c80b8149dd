"""Labelled pairs of answers from a file, and how far the checker agrees with the labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.maths.checker import Checked, Checker
from manyminds.tasks.rows import Row, json_lines, whole_text

AT_A_TIME = 256
"""Pairs whose slow part is under way together."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of the file. `expected`: whether the two are equal, None where it does not say."""

    line: int
    gold: str
    prediction: str
    expected: bool | None = None
    kind: str = ""
    tier: str = ""


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file of JSON Lines. Raises UserError."""
    found = [_pair(row) for row in json_lines(path, "--pairs")]
    if not found:
        raise UserError(f"--pairs: {path} is empty; each line must hold an object with `gold` and `prediction`.")
    return found


def _pair(row: Row) -> Pair:
    its = row.columns
    for key in ("gold", "prediction"):
        if not isinstance(its.get(key), str):
            raise UserError(f"{row.place}: `{key}` must be there and hold text.")
        whole_text(its[key], f"{row.place}: `{key}`")
    expected = its.get("expected_equal")
    if expected is not None and not isinstance(expected, bool):
        raise UserError(f"{row.place}: `expected_equal` must be true or false, or be left out.")
    for key in ("kind", "tier"):
        if not isinstance(its.get(key) or "", str):
            raise UserError(f"{row.place}: `{key}` must be text.")
        whole_text(its.get(key) or "", f"{row.place}: `{key}`")
    return Pair(row.number, its["gold"], its["prediction"], expected, its.get("kind") or "", its.get("tier") or "")


def verified(pairs: Sequence[Pair], *, strict: bool = False, deadline: float = 5.0) -> dict[str, Any]:
    """How often the checker calls the pairs equal, and how often that is what they say, in all and by tier and kind.

    `equal`, `unequal` and `unreadable` (its gold answer cannot be read) add up to `pairs`. Of the `labelled` ones,
    `agreement` is the share called what they say, unreadable ones counting as not equal; `false_equal` were called
    equal and are not, `false_different` the other way round. `asked`: pairs that sympy was asked about; `killed`: of
    them, those it was stopped at. `seconds`: of the checking, without reading the file.
    """
    began = time.perf_counter()
    found: list[Checked] = []
    with Checker(strict=strict, deadline=deadline) as check:
        for start in range(0, len(pairs), AT_A_TIME):
            found += check((pair.gold, pair.prediction) for pair in pairs[start : start + AT_A_TIME])
    seconds = time.perf_counter() - began
    both = list(zip(pairs, found, strict=True))
    asked = {"asked": sum(one.asked for one in found), "killed": sum(one.killed for one in found)}
    groups = {
        name: {value: _counted([one for one in both if getattr(one[0], name) == value]) for value in values}
        for name in ("tier", "kind")
        if (values := sorted({getattr(pair, name) for pair in pairs} - {""}))
    }
    wrong = [_told(pair, one) for pair, one in both if _wrong(pair, one)]
    return {**_counted(both), **asked, **groups, "seconds": round(seconds, 3), "wrong": wrong}


def _wrong(pair: Pair, one: Checked) -> bool:
    return pair.expected is not None and bool(one.value) != pair.expected


def _counted(both: Sequence[tuple[Pair, Checked]]) -> dict[str, Any]:
    labelled = [(pair, one) for pair, one in both if pair.expected is not None]
    wrong = [pair.expected for pair, one in labelled if _wrong(pair, one)]
    return {
        "pairs": len(both),
        "equal": sum(one.value is True for _, one in both),
        "unequal": sum(one.value is False for _, one in both),
        "unreadable": sum(one.value is None for _, one in both),
        "labelled": len(labelled),
        "agreement": 1 - len(wrong) / len(labelled) if labelled else None,
        "false_equal": wrong.count(False),
        "false_different": wrong.count(True),
    }


def _told(pair: Pair, one: Checked) -> Mapping[str, Any]:
    """A pair that was called what it is not, its texts cut to their ends."""
    called = {True: "equal", False: "unequal", None: "unreadable"}[one.value]
    texts = {"gold": pair.gold[-200:], "prediction": pair.prediction[-200:]}
    return {"line": pair.line, **texts, "expected_equal": pair.expected, "called": called, "why": one.failure}
