"""What is told of answers and solutions that look wrong, and that it is told of most rows only."""

from __future__ import annotations

import pytest

from manyminds.records import Question
from manyminds.tasks.doubts import doubts
from manyminds.tasks.jsonl import after_marker
from manyminds.tasks.layouts import LAYOUTS, PAIRS

GOOD = ("5", "2+3=5")


def told(*pairs: tuple[str, str], layout: object = PAIRS) -> tuple[str, ...]:
    questions = [Question(f"q{i}", "?", a, s, f"mine.jsonl:{i}") for i, (a, s) in enumerate(pairs, start=1)]
    return doubts(questions, layout, after_marker("####"), "#### {answer}")


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (("2+3=5", "5"), "look swapped: the answer is the longer one in 2 of 3 rows, such as mine.jsonl:2 (answer"),
        (("2+3=5\n#### 5", ""), 'set task.columns: {answer: {column: answer, after: "####"}, solution: answer}'),
        (("two and three\nare five", ""), "long or has several lines in 2 of 3 rows, such as mine.jsonl:2"),
        (("x" * 201, ""), "long or has several lines in 2 of 3 rows"),
        (("#### 5", ""), 'not read back out of a response in 2 of 3 rows, such as mine.jsonl:2 ("#### 5")'),
        (("5.0", ""), "ends in .0 in 2 of 3 rows, such as mine.jsonl:2 (5.0)"),
        (("5", "5"), "is a bare answer in 2 of 3 rows, such as mine.jsonl:2"),
        (("5", "#### 5"), "is a bare answer in 2 of 3 rows"),
        (("-1/2", r"\boxed{-1/2}"), "is a bare answer in 2 of 3 rows"),
    ],
)
def test_a_doubt_that_most_rows_share(odd: tuple[str, str], said: str) -> None:
    (one,) = told(GOOD, odd, odd)
    assert said in one


@pytest.mark.parametrize(
    "odd", [("2+3=5", "5"), ("2+3=5\n#### 5", "long enough to be no answer"), ("5.0", "2+3=5"), ("5", "5")]
)
def test_one_odd_row_is_no_doubt_about_columns(odd: tuple[str, str]) -> None:
    assert not any("task.columns" in one for one in told(GOOD, odd, GOOD))


def test_a_single_gold_that_cannot_be_read_is_told() -> None:
    (one,) = told(GOOD, ("five\nor so", "2+3=5 and that is five or so"), GOOD)
    assert one.startswith("The gold answer is not read back out of a response in 1 of 3 rows, such as mine.jsonl:2")


def test_good_rows_raise_no_doubt() -> None:
    assert told(GOOD, ("x > 3", "x - 3 > 0, so x > 3"), ("yes", "Birds fly.")) == ()


def test_columns_are_named_as_the_layout_names_them() -> None:
    (one,) = told(("2+3=5", "5"), layout=LAYOUTS[0])
    assert "task.columns: {answer: extra_info.answer, solution: reward_model.ground_truth}" in one
