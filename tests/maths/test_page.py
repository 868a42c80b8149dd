"""docs/answer_checking.md is held to the checker, and to the committed benchmark."""

from __future__ import annotations

import json

import pytest

from manyminds.maths.equivalence import equal
from pages import ROOT, code, section, table_rows

RULES = [row for row in table_rows(section("answer_checking.md", "## What counts as equal")) if row[0].startswith("`")]


@pytest.mark.parametrize(("gold", "text", "said"), [row[:3] for row in RULES], ids=[f"{r[0]} {r[1]}" for r in RULES])
def test_a_rule(gold: str, text: str, said: str) -> None:
    assert equal(code(gold)[0], code(text)[0]) is {"yes": True, "no": False}[said]


def test_the_rules_are_there() -> None:
    assert len(RULES) > 30


def test_the_figures_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "benchmarks/results/verifier.json").read_text())
    told = {row[0]: row[1:5] for row in table_rows(section("answer_checking.md", "## How good it is"))[1:]}
    for tier, (pairs, agreement, *wrong) in told.items():
        if tier in ("all", "clear", "convention", "quirk"):
            one = found if tier == "all" else found["tier"][tier]
            assert int(pairs) == one["pairs"]
            assert agreement == f"{100 * one['agreement']:.1f}"
            assert [int(count) for count in wrong] == [one["false_equal"], one["false_different"]]
    assert {"all", "clear"} <= told.keys()
    alone = found["math_verify_alone"]
    for tier, one in (("all", alone), ("clear", alone["tier"]["clear"])):
        counts = [
            str(one["pairs"]),
            f"{100 * one['agreement']:.1f}",
            *(str(one[f"false_{k}"]) for k in ("equal", "different")),
        ]
        assert told[f"{tier}, by math-verify alone"] == counts
