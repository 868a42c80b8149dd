"""Many pairs at once: the same verdicts as one by one, sympy in processes."""

from __future__ import annotations

import pytest

from manyminds.maths.checker import Checker
from manyminds.maths.equivalence import Undecided, quickly
from manyminds.records import Question
from manyminds.rewards import Judge
from manyminds.rewards.math_answer import math_answer
from manyminds.rewards.resolve import resolve


def test_a_batch_is_judged_in_its_order() -> None:
    pairs = [("4", "4"), (r"\sum_{k=1}^n a_k b_k", r"\sum_{k=1}^n b_k a_k"), ("4", "5"), ("", "5"), ("4", "4")]
    with Checker(strict=False, count=1) as check:
        found = check(pairs)
        assert [one.value for one in found] == [True, True, False, None, True]
        assert [one.asked for one in found] == [False, True, False, False, False]
        assert check(pairs) == found
        assert check([]) == []


def test_no_process_is_started_for_what_is_quick() -> None:
    with Checker() as check:
        assert check([("4", r"\boxed{4}")])[0].value is True
        assert check.workers._pool is None


def test_what_only_sympy_can_tell_is_undecided() -> None:
    with pytest.raises(Undecided):
        quickly(r"\int_0^1 x\,dx", r"\boxed{\frac12}")


def test_a_late_answer_is_not_right_and_says_why() -> None:
    with Checker(count=1, deadline=0.01, strict=False) as check:
        (found,) = check([(r"\lim_{x\to 0} \frac{\sin^7 x - x^7}{x^9}", r"\int_0^{1} \sin(x^7) e^{-x^5} \,dx")])
    assert found.value is False
    assert found.killed
    assert "0.01 s" in found.failure


@pytest.mark.parametrize(
    ("response", "strict", "value"),
    [(r"\boxed{0.5}", 1.0, 1.0), ("The answer is 0.5.", 0.0, 1.0), (r"\boxed{0.6}", 0.0, 0.0)],
)
def test_the_reward(response: str, strict: float, value: float) -> None:
    assert math_answer.function(response, r"\frac{1}{2}") == strict
    assert math_answer.function(response, r"\frac{1}{2}", strict=False) == value


def test_the_reward_by_its_name() -> None:
    assert resolve("math_answer").name == "math_answer"
    assert resolve("math_answer") == math_answer


def test_the_reward_has_no_verdict_without_a_gold_answer() -> None:
    assert math_answer.function(r"\boxed{4}", r"\frac{1}{") is None


def test_the_reward_in_a_judge() -> None:
    judge = Judge(("math_answer",), lambda text: None)
    question = Question("q", "?", r"\frac{1}{2}")
    assert judge.score(question, r"so \boxed{0.5}") == 1
    assert judge.score(question, "#### 1/2") == 1
    assert judge.score(question, "1/2") == 0
    assert judge.check([question], "#### {answer}") == ()
