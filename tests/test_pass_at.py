"""pass@k at further k, from the same samples."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path
from statistics import fmean

import pytest

from manyminds.errors import UserError
from manyminds.run import train
from test_resume import tiny


def test_it_is_what_the_counts_of_right_answers_say(tmp_path: Path) -> None:
    evaluation = {"every": 9, "questions": 2, "samples": 6, "group": 2, "pass_at": [1, 5]}
    made = tiny(tmp_path, warmup=None, rewards=["partly:even"], steps=1, evaluation=evaluation)
    train(made)
    after = json.loads((made.folder / "evaluation" / "after.json").read_text(encoding="utf-8"))
    counts = [right for answer in after["answers"] for right, of in answer["right"].values() if of == 6]
    assert 0 < sum(counts) < 6 * len(counts)
    for k in (1, 2, 5):
        due = fmean(1 - comb(6 - right, k) / comb(6, k) for right in counts)
        assert after["metrics"][f"pass_at_{k}"]["value"] == pytest.approx(due)


def test_it_needs_as_many_samples(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"evaluation: samples \(6\) must be at least 7, the greatest of pass_at; twice"
    ):
        tiny(tmp_path, evaluation={"samples": 6, "group": 2, "pass_at": [1, 7]})
