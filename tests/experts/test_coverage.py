"""Coverage, oracle and failing together, worked by hand."""

from __future__ import annotations

from manyminds.experts.coverage import Coverage, Judged, coverages, failing_together, oracle


def answers(expert: str, verdicts: dict[str, str]) -> list[Judged]:
    """`verdicts`: for each question a letter an answer: r(ight), w(rong), c(ut off)."""
    return [Judged(q, expert, v == "r", v != "c", 10, 3) for q, row in verdicts.items() for v in row]


A = answers("a", {"1": "rr", "2": "wr", "3": "wc", "4": "ww", "5": "ww"})
B = answers("b", {"1": "rw", "2": "ww", "3": "rw", "4": "wr", "6": "ww"})


def test_coverage_counts_questions_and_accuracy_answers() -> None:
    missed = [("b", "time-out"), ("b", "time-out"), ("b", "status 400")]
    a, b, c = coverages({"a": "big", "b": "small", "c": "none"}, 6, A + B, missed)
    assert a == Coverage("a", "big", 6, 2, 10, 3, 1, {}, 100, 30)
    assert b == Coverage("b", "small", 6, 3, 10, 3, 0, {"time-out": 2, "status 400": 1}, 100, 30)
    assert (a.accuracy, c.answers, c.accuracy) == (0.3, 0, None)


def test_the_oracle_is_right_where_anybody_is() -> None:
    assert oracle(A + B) == 4  # 1 to 4


def test_who_fails_where_another_fails() -> None:
    # Both answered 1 to 4. a fails 3 and 4, which b gets right; b fails 2, which a gets right.
    assert failing_together(["a", "b"], A + B) == {"a": {"b": 0.0}, "b": {"a": 0.0}}
    more = answers("a", {"6": "w"})  # b fails 6 too
    assert failing_together(["a", "b"], A + B + more) == {"a": {"b": 1 / 3}, "b": {"a": 1 / 2}}
    assert failing_together(["a", "c"], A) == {"a": {"c": None}, "c": {"a": None}}
