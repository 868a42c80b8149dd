"""Mathematical answers compare by what they mean: numbers, expressions, intervals, sets, matrices, equations, words."""

from __future__ import annotations

from manyminds.maths.equivalence import matches
from manyminds.rewards.reward import reward


@reward
def math_answer(response: str, answer: str, strict: bool = True) -> bool | None:
    """Whether the answer that stands in the response is the gold one; None where the gold one cannot be read.

    Strict: the answer stands in a box, else after `####`, else in `<answer>` tags, and boxes that disagree are wrong.
    With `strict: false` also in a sentence such as "The answer is 4.", or at the end. What counts as equal stands in
    docs/answer_checking.md.
    """
    return matches(answer, response, strict)
