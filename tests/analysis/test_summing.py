"""What answers come to: curves, sets and means, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from analysis.made import asked, sample
from manyminds.analysis.summing import MEAN, TOGETHER, averages, curve_points, moves, pass_curves, uncertainties

BEFORE = {"a": ("rwww", "wwww", "wwwr"), "b": ("wwww", "wwww", "rrrr")}
AFTER = {"a": ("wwww", "rrww", "rrrr"), "b": ("wwww", "wwww", "rrrr")}


@pytest.mark.parametrize(("n", "points"), [(2, (1,)), (3, (1,)), (4, (1, 2)), (12, (1, 2, 4, 6)), (16, (1, 2, 4, 8))])
def test_curves_go_to_half_of_the_answers(n: int, points: tuple[int, ...]) -> None:
    assert curve_points(n) == points


def test_pass_curves() -> None:
    curves = pass_curves(asked("m", BEFORE))
    assert set(curves) == {"a", "b", MEAN, TOGETHER}
    assert set(curves["a"]) == {"1", "2"}
    assert curves["a"]["1"]["value"] == pytest.approx((1 / 4 + 0 + 1 / 4) / 3)
    assert curves["a"]["2"]["value"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert curves["b"]["2"]["value"] == pytest.approx(1 / 3)
    assert curves[MEAN]["2"]["value"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    # of eight answers 1, 0 and 5 are right: 1 - C(7,2)/C(8,2), 0, 1 - C(3,2)/C(8,2)
    assert curves[TOGETHER]["2"]["value"] == pytest.approx((1 - 21 / 28 + 0 + 1 - 3 / 28) / 3)
    assert curves["a"]["1"]["low"] <= curves["a"]["1"]["value"] <= curves["a"]["1"]["high"]


def test_one_prompt_has_no_pool() -> None:
    one = asked("m", {"a": ("rw", "ww")})
    assert set(pass_curves(one)) == {"a"}
    assert [row["prompt"] for row in moves([one])] == ["a"]


def test_moves_between_models_and_by_chance() -> None:
    rows = {(row["from"], row["to"], row["prompt"]): row for row in moves([asked("old", BEFORE), asked("new", AFTER)])}
    assert len(rows) == 3 * 3
    # U_2 of a: before, the first two answers are wrong on q1 and q2; after, on q0
    a = rows["old", "new", "a"]
    assert (a["before"], a["after"], a["both"]) == (2, 1, 0)
    assert (a["solved"], a["lost"]) == (["q1", "q2"], ["q0"])
    assert a["overlap"] == 0.0
    b = rows["old", "new", "b"]
    assert (b["before"], b["after"], b["both"], b["overlap"]) == (2, 2, 2, 1.0)
    together = rows["old", "new", TOGETHER]
    assert (together["before"], together["solved"], together["lost"]) == (1, ["q1"], ["q0"])
    # asked again: the other two answers of `old` are wrong on q0 and q1
    again = rows["old", "old", "a"]
    assert again["again"]
    assert (again["solved"], again["lost"]) == (["q2"], ["q0"])


def test_sets_that_are_empty_have_no_overlap() -> None:
    solved = asked("m", {"a": ("rr", "rr")})
    assert [row["overlap"] for row in moves([solved])] == [None]


def test_means_over_tokens_and_over_answers() -> None:
    rows = [
        sample("q", "a", 0, True, tokens=1, entropy=1.0, perplexity=2.0, branching=3.0),
        sample("q", "a", 1, False, tokens=3, entropy=2.0, perplexity=4.0, branching=1.0),
        sample("q", "b", 0, True, tokens=2, entropy=0.0, perplexity=1.0, branching=1.0),
    ]
    found = uncertainties(rows, ("a", "b"))
    assert found["a"]["all"] == {"answers": 2, "length": 2.0, "entropy": 1.75, "perplexity": 3.0, "branching": 1.5}
    assert found["a"]["wrong"]["entropy"] == 2.0
    assert found["b"]["wrong"] == averages([])
    assert found["b"]["wrong"]["entropy"] is None
    assert found[TOGETHER]["right"]["branching"] == pytest.approx((3 + 2) / 3)
