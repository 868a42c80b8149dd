"""The sums that examples/sums.yaml starts from are what their script writes."""

from __future__ import annotations

import runpy
from pathlib import Path

from manyminds.durable import read_jsonl

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_sums_are_what_their_script_writes() -> None:
    rows = runpy.run_path(str(EXAMPLES / "make_sums.py"))["rows"]()
    assert rows == read_jsonl(EXAMPLES / "data" / "sums.jsonl")
    assert len({row["question"] for row in rows}) == 400
