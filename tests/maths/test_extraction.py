r"""Where an answer stands in a response: what counts strictly, and what leniently."""

from __future__ import annotations

import time

import pytest

from manyminds.maths.equivalence import gold_answer, matches
from manyminds.maths.extraction import boxed, found, stated


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"so \boxed{4}", ["4"]),
        (r"\boxed{\frac{1}{2}} and \boxed{3}", [r"\frac{1}{2}", "3"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{a \} b}", [r"a \} b"]),
        (r"\boxed {4}", ["4"]),
        (r"\fbox{4}", ["4"]),
        (r"\boxed 7.", ["7."]),
        (r"$\boxed 7$", ["7"]),
        (r"\boxed{\boxed{4}}", [r"\boxed{4}"]),
        (r"\boxed{4", []),
        (r"\boxed{ {{4} \boxed{5}", ["5"]),
        (r"\boxedfoo{4}", []),
        ("4", []),
    ],
)
def test_boxes_are_found_by_counting_braces(text: str, inside: list[str]) -> None:
    assert boxed(text) == inside


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (r"\boxed{1}, then \boxed{2}", ["1", "2"]),
        (r"\boxed{2} and again \boxed{2}", ["2"]),
        (r"\(\boxed{1}\) and \(\boxed{-2}\).", ["1, -2"]),
        (r"\boxed{1}, \boxed{2}", ["1, 2"]),
        (r"#### 5" + "\n" + r"\boxed{4}", ["4"]),
        ("so #### 4", ["4"]),
        ("#### 3\n#### 4", ["4"]),
        ("####: 4\nmore", ["4"]),
        ("<answer> 4 </answer>", ["4"]),
        ("<answer>4</answer><answer>5</answer>", ["4", "5"]),
        ("<answer>4", []),
        (r"<think>\boxed{3}</think> \boxed{4}", ["4"]),
        (r"<think>\boxed{3}</think> none", []),
        ("the answer is 4", []),
        ("4", []),
        ("", []),
    ],
)
def test_what_is_stated(text: str, answers: list[str]) -> None:
    assert stated(text) == answers


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is $4$.", "$4$"),
        (r"So the final answer is $\boxed{-20}$.", "-20"),
        ("Final Answer: $470$", "$470$"),
        ("work\nAnswer: $335$", "$335$"),
        ("**Final Answer**\n\n$x+1$", "$x+1$"),
        ("Final Answer: The final answer is $10,455$. I hope it is correct.", "$10,455$"),
        (r"\boxed{200} and then. Final Answer: The final answer is $7$. I hope it is correct.", "$7$"),
        ("Final Answer: The largest $n$ is 34. I hope it is correct.", "34"),
        (r"We find that $x \lt 3$.", r"x \lt 3"),
        (r"We find \(y\), then \[x = 3\] follows", "x = 3"),
        ("the number is 10, I think 1,234", "1,234"),
        ("so it costs $5 in all", "$5"),
        ("4", "4"),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
    ],
)
def test_what_is_found_leniently(text: str, answer: str) -> None:
    assert found(text) == answer


@pytest.mark.parametrize(
    ("gold", "response", "strict", "lenient"),
    [
        ("4", r"\boxed{4}", True, True),
        ("4", r"\boxed{5}, no, \boxed{4}", False, True),
        ("4", r"\boxed{4}, no, \boxed{5}", False, False),
        ("4", r"\boxed{4.0}, that is \boxed{4}", True, True),
        ("4", "The answer is 4", False, True),
        ("4", "The answer is 5", False, False),
        ("4", "4", False, True),
        ("4", "", False, False),
        ("4", "#### 4", True, True),
        ("4", "<answer>4</answer>", True, True),
        ("4", "<answer>4</answer><answer>5</answer>", False, False),
        ("1, -2", r"$\boxed{1}$ and $\boxed{-2}$", True, True),
        ("1", r"\boxed{1} or \boxed{2}", False, False),
        ("4", r"\boxed{1} \boxed{2} \boxed{3} \boxed{4} " * 20, False, True),
        (r"so \boxed{4}", r"\boxed{4}", True, True),
        ("x", r"\boxed{}", False, False),
        ("391", r"\boxed{17 \cdot 23}", False, True),
        ("391", r"\boxed{17 \cdot 23 = 391}", True, True),
        ("391", r"\boxed{782/2}", False, True),
        ("391", r"\boxed{390 + 1}", False, True),
        ("10", r"\boxed{\binom{5}{2}}", False, True),
        ("4", r"\boxed{\sqrt{16}}", False, True),
        ("3000", r"\boxed{3 \times 10^3}", True, True),
        ("3000", r"\boxed{3 \text{ thousand}}", True, True),
        ("0.5", r"\boxed{\frac{2}{4}}", True, True),
        (r"\frac{1}{2}", r"\boxed{\frac{1}{4}+\frac{1}{4}}", False, True),
        (r"\frac{3}{2}", r"\boxed{1\frac{1}{2}}", True, True),
        ("5, -5", r"\boxed{\pm 5}", True, True),
        ("(1, 2)", r"\boxed{(1, 1+1)}", False, True),
        ("x = 4", r"\boxed{x = 4}", True, True),
        (r"2\sqrt{2}", r"\boxed{\sqrt{8}}", True, True),
        ("5!", r"\boxed{120}", True, True),
        ("5", "The answer is not 5", False, False),
        ("5", "The answer isn't $5$.", False, False),
        ("5", r"\boxed{\text{not }= 5}", False, False),
        ("5", r"\boxed{4 \text{ or } 5}", False, False),
        ("5", r"\boxed{4, 5}", False, False),
        ("5", r"\boxed{\{4, 5\}}", False, False),
        ("5", r"\boxed{5 \text{ or more}}", False, False),
        ("5", r"\boxed{x}", False, False),
        ("5", r"\boxed{5 = 6}", False, False),
        ("5", r"\boxed{\pm 5}", False, False),
        ("5", r"\boxed{[5, 6]}", False, False),
        ("5", r"\boxed{\text{5 or 6}}", False, False),
        ("5", r"\boxed{5 \boxed{6}}", False, False),
        ("C", r"\boxed{A, B, C, D}", False, False),
        ("C", r"\boxed{ABCD}", False, False),
        ("Team 7 wins", "Team 7 wins", False, True),
        ("Team 7 wins", r"\boxed{7}", False, False),
        ("Team 7 wins", r"\boxed{\text{Team 7 loses}}", False, False),
    ],
)
def test_strict_and_lenient(gold: str, response: str, strict: bool, lenient: bool) -> None:
    assert matches(gold, response) is strict
    assert matches(gold, response, strict=False) is lenient


@pytest.mark.parametrize(
    "gold", ["", "  ", "$$", r"\frac{1}{", "9^{9^{9^{9}}}", "x" * 5000, r"\unknown{3}", r"\frac{1}{0}", "\u0667"]
)
def test_a_gold_answer_that_cannot_be_read_gives_no_verdict(gold: str) -> None:
    assert matches(gold, r"\boxed{4}") is None


def test_the_gold_answer_may_stand_in_a_text() -> None:
    assert gold_answer(r"Since $2 < 3$, it is $\boxed{5}$, as $5 = 5$.") == "5"
    assert gold_answer(r"\frac{1}{2}") == r"\frac{1}{2}"


@pytest.mark.parametrize(
    "piece", [r"\boxed{", "<answer>", "</answer>", "####", "{", "}", "\\", "$", "answer is ", r"\(", "("]
)
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.perf_counter()
        found(text)
        stated(text)
        return time.perf_counter() - began

    seconds(1_000)
    assert seconds(1_000_000) < 3
