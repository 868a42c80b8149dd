"""The rules that read the last line: the paper's numbers, what counts as the same, and the tricks that they pay for."""

from __future__ import annotations

import pytest

from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge
from manyminds.rewards.last_line import last_line, words


def given(reward: str, response: str, answer: str) -> float | None:
    with Judge([reward], lambda text: text) as judge:
        rollout = Rollout(
            Prompt(Question("q", "How long?", answer), "plain"), ids=(1,), logprobs=(-0.5,), text=response
        )
        return judge([rollout])[0].parts[reward]


@pytest.mark.parametrize(
    ("response", "line"),
    [
        ("a\n\n b \n\n", "b"),
        ("b", "b"),
        ("", ""),
        (" \n\t\n", ""),
        ("a\r\nb\r\n", "b"),
        ("one\n  two  words  ", "two  words"),
    ],
)
def test_the_last_line_that_is_not_blank(response: str, line: str) -> None:
    assert last_line(response) == line


@pytest.mark.parametrize(
    ("response", "answer", "due"),
    [
        ("it is 12 cm.", "12 cm", 1.0),  # the paper's
        ("so 12 cm\nit is 13 cm", "12 cm", 0.0),  # not on the last line
        ("IT IS 12\tCM!", "12  cm", 1.0),
        ("it is １２ cm", "12 cm", 1.0),  # noqa: RUF001 (wide digits are what is tried)
        ("it is 12cm", "12 cm", 0.0),
        ("it is 112 cm", "12 cm", 1.0),  # why it is no verifier
        ("anything", " ", None),
        ("", "12 cm", 0.0),
    ],
)
def test_contains(response: str, answer: str, due: float | None) -> None:
    assert given("contains", response, answer) == due


@pytest.mark.parametrize(
    ("response", "answer", "due"),
    [
        ("it is 12 cm", "12 cm", 0.5),  # the paper's
        ("First 12 cm.\nIt is (12 cm).", "12 CM", 0.5),
        ("12 cm 12 cm cm", "12 cm", 1.0),  # a set
        ("#### 12 cm", "12 cm", 1.0),  # a mark is no word
        ("-12", "12", 0.0),
        ("1/2", "1.2", 0.0),
        ("it is 13", "12 cm", 0.0),
        ("red and blue", "blue or green", 1 / 5),
        ("anything", "...", None),
        ("", "12 cm", 0.0),
    ],
)
def test_jaccard(response: str, answer: str, due: float | None) -> None:
    assert given("jaccard", response, answer) == (due if due is None else pytest.approx(due))


def test_words_keep_what_makes_a_number() -> None:
    assert words("It is “-3.5%”, or +4 (x+1).") == {"it", "is", "-3.5%", "or", "+4", "x+1"}


@pytest.mark.parametrize(
    ("rule", "question", "paid"),
    [
        (
            "contains",
            Question("a", "What is 6 times 7?", "42"),
            {"another number", "another number alone", "a number that ends like it", "its opposite"}
            | {"many answers", "many after the gold one", "many boxed answers"},
        ),
        ("jaccard", Question("a", "What is 6 times 7?", "42"), set()),
        (
            "jaccard",
            Question("a", "Is a whale a fish or a mammal?", "a mammal"),
            {"the question itself", "many boxed answers"},
        ),
    ],
)
def test_what_check_says_of_the_rules(rule: str, question: Question, paid: set[str]) -> None:
    with Judge([rule], lambda text: text) as judge:
        problems = judge.check([question], "{answer}")
    assert all(problem.fooled for problem in problems)
    told = {problem.partition(" (")[0].removeprefix(f"{rule} gives ").partition(",")[0] for problem in problems}
    assert told == paid
