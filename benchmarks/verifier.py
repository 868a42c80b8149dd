"""How far does the answer checker agree with labelled pairs of answers, and how many does it check in a second?

    python benchmarks/verifier.py PAIRS.jsonl [--json] [--out benchmarks/results/verifier.json]

PAIRS.jsonl: an object a line, as `manyminds verify` reads them. Pairs that are decided without sympy are timed in this
process, each once, after one pass that imports what is needed; those that sympy is asked about likewise, in two
processes with a deadline. Nothing is remembered between the passes. The file's name and hash are kept, its pairs not.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds import __version__
from manyminds.machine import machine
from manyminds.maths.checker import Checker
from manyminds.maths.equivalence import Undecided, quickly
from manyminds.maths.pairs import Pair, read_pairs, verified
from manyminds.maths.reading import _read

PACKAGES = ("math-verify", "sympy", "mpmath")
PROCESSES = 2


def apart(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The pairs that are decided without sympy, and those that it is asked about."""
    quick, slow = [], []
    for pair in pairs:
        try:
            quickly(pair.gold, pair.prediction, strict=False)
            quick.append(pair)
        except Undecided:
            slow.append(pair)
    return quick, slow


def rates(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Pairs a second, in this process and by sympy in others; None where there are none."""
    quick, slow = apart(pairs)
    _read.cache_clear()
    began = time.perf_counter()
    for pair in quick:
        quickly(pair.gold, pair.prediction, strict=False)
    here = time.perf_counter() - began
    with Checker(strict=False, count=PROCESSES) as check:
        check([(pair.gold, pair.prediction) for pair in slow])
        began = time.perf_counter()
        check([(pair.gold, pair.prediction) for pair in slow])
        there = time.perf_counter() - began
    return {
        "quick": {"pairs": len(quick), "per_second": len(quick) / here if quick else None},
        "sympy": {"pairs": len(slow), "per_second": len(slow) / there if slow else None, "processes": PROCESSES},
    }


def alone(pairs: Sequence[Pair]) -> dict[str, Any]:
    """math-verify by itself on the labelled pairs, each side put in a box unless it has one or dollars: its own
    parsing, comparison and time limits. A pair on which it raises counts as not equal."""
    from math_verify import parse, verify

    def boxed(text: str) -> str:
        return text if "\\boxed" in text or "$" in text else f"\\boxed{{{text}}}"

    labelled = [pair for pair in pairs if pair.expected is not None]
    right, false_equal, raised = 0, 0, 0
    began = time.perf_counter()
    for pair in labelled:
        try:
            equal = bool(verify(parse(boxed(pair.gold)), parse(boxed(pair.prediction))))
        except Exception:  # whatever it is, a grader that used it would have no verdict
            equal, raised = False, raised + 1
        right += equal == pair.expected
        false_equal += equal and not pair.expected
    count = len(labelled)
    return {
        "pairs": count,
        "agreement": right / count if count else None,
        "false_equal": false_equal,
        "false_different": count - right - false_equal,
        "raised": raised,
        "seconds": time.perf_counter() - began,
    }


def measured(path: Path) -> dict[str, Any]:
    """Agreement in all, by tier and kind, and rates."""
    pairs = read_pairs(path)
    tell(f"{len(pairs):,} pairs")
    found = verified(pairs)
    wrong = [{name: one[name] for name in ("line", "expected_equal", "called")} for one in found.pop("wrong")]
    versions = {"python": sys.version.split()[0], "manyminds": __version__}
    versions |= {package: version(package) for package in PACKAGES}
    file = {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    settled = {"machine": machine(), "load": os.getloadavg()[0], "versions": versions, "file": file}
    by_tier = {tier: alone([pair for pair in pairs if pair.tier == tier]) for tier in found.get("tier", {})}
    by_itself = {"math_verify_alone": {**alone(pairs), "tier": by_tier}}
    return {**settled, **found, "wrong": wrong, "rates": rates(pairs), **by_itself}


def show(found: dict[str, Any], text: Console) -> None:
    """A line for all pairs and for each tier, then the rates."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("pairs of tier", "pairs", "agreement %", "false equal", "false different", "unreadable"):
        table.add_column(column, justify="left" if column == "pairs of tier" else "right")
    for name, one in {"all": found, **found.get("tier", {})}.items():
        share = "–" if one["agreement"] is None else f"{100 * one['agreement']:.1f}"
        counts = (str(one[key]) for key in ("false_equal", "false_different", "unreadable"))
        table.add_row(name, str(one["pairs"]), share, *counts)
    text.print(table)
    its = found["math_verify_alone"]
    if its["agreement"] is not None:
        counts = f"{its['false_equal']} false equal, {its['false_different']} false different"
        text.print(f"math-verify alone: {100 * its['agreement']:.1f} %, {counts}", highlight=False)
    for name, one in found["rates"].items():
        rate = "–" if one["per_second"] is None else f"{one['per_second']:,.0f} a second"
        text.print(f"{name}: {one['pairs']} pairs, {rate}", highlight=False)


def main(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="A file of JSON Lines.", show_default=False)],
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How far does the answer checker agree with labelled pairs, and how many does it check in a second?"""
    found = measured(pairs)
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
