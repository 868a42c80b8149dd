"""The graders of numbers, options, and yes or no: what counts as the gold answer, and what does not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge
from manyminds.rewards.choice_answer import chosen
from manyminds.rewards.number_answer import number_text, one_spelling, read_number, same_number
from manyminds.rewards.yes_no_answer import read_yes_no


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("72", "72"),
        ("72.0", "72"),
        ("72.", "72"),
        ("072", "72"),
        ("$1,200", "1200"),
        ("1,200.50", "1200.5"),
        ("€ 3", "3"),
        ("-$5", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("20%", "20"),
        (".5", "0.5"),
        ("1/2", "0.5"),
        ("2 / 4", "1/2"),
        ("0.5", "1/2"),
        ("-1/2", "-0.5"),
        ("123,456,789,012", "123456789012"),
    ],
)
def test_numbers_that_are_the_gold_one(text: str, gold: str) -> None:
    assert same_number(text, gold)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("73", "72"),
        ("72.0000001", "72"),
        ("7,2", "72"),
        ("1,20", "120"),
        ("12,00", "1200"),
        ("144/2", "72"),  # a division left undone
        ("0.333", "1/3"),
        ("72 or 73", "72"),
        ("72 clips", "72"),
        ("48+24", "72"),
        ("x = 72", "72"),
        ("7.2e1", "72"),
        ("1/0", "0.5"),
        ("٧٢", "72"),
        ("", "72"),
        ("-72", "72"),
        ("72", "seventy-two"),
    ],
)
def test_numbers_that_are_not(text: str, gold: str) -> None:
    assert not same_number(text, gold)


def test_numbers_are_exact_and_long_ones_cost_nothing() -> None:
    assert read_number("0.1") == Fraction(1, 10)
    assert not same_number("0.3000000000000000001", "0.3")
    assert read_number("9" * 5000) is None
    assert read_number("1" + ",000" * 2000) is None


def test_numbers_are_written_in_one_way() -> None:
    written = {"72.0": "72", "$1,200": "1200", "0.50": "0.5", "-0.0": "0", " 144/2 ": "144/2", "two": "two"}
    assert {text: one_spelling(text) for text in written} == written
    assert [number_text(Fraction(*pair)) for pair in ((1, 3), (1, 8), (1200, 1), (-3, 2))] == [
        "1/3",
        "0.125",
        "1200",
        "-1.5",
    ]


OPTIONS = ("1 / 2", "31 / 36", "7 men", "7 women", "31 / 36 ")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("b", "b"),
        ("B", "b"),
        ("(b)", "b"),
        ("b)", "b"),
        ("b.", "b"),
        ("c) 7 men", "c"),
        ("( c ) 7 Men", "c"),
        ("1/2", "a"),
        ("7 women.", "d"),
        ("31/36", None),  # two options have this text
        ("c) 7 women", None),  # letter and text disagree
        ("f", None),
        ("7", None),
        ("a or b", None),
        ("", None),
    ],
)
def test_options_by_letter_or_text(text: str, letter: str | None) -> None:
    assert chosen(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("extras", "source", "why"),
    [
        (
            {"choices": ["1", "2"]},
            "mine.jsonl:3",
            "LookupError: mine.jsonl:3 has no column `options`, in which choice_answer looks for the options' texts; "
            "give the column that name, or take exact_answer, which needs none",
        ),
        ({}, "", "LookupError: question 'q' has no column `options`, in which"),
        ({"options": "1, 2"}, "", "question 'q': its `options` must be a list of the options' texts, such as"),
        ({"options": {"text": ["1", "2"]}}, "", "not \"{'text': ['1', '2']}\""),
        ({"options": [1, 2]}, "", "not '[1, 2]'"),
        ({"options": []}, "", "not '[]'"),
        ({"options": None}, "", "not 'None'"),
    ],
)
def test_options_that_are_not_there_are_told_in_a_sentence(extras: dict[str, Any], source: str, why: str) -> None:
    judge = Judge(("choice_answer",), lambda text: None)  # also where no answer can be read
    prompt = Prompt(Question("q", "?", "b", source=source, extras=extras), "plain")
    judge([Rollout(prompt, (), (), "b")])
    assert why in judge.quarantine[0]["error"]


def test_yes_and_no() -> None:
    read = {"yes": "yes", "No.": "no", " YES ": "yes", "yes, it is": None, "true": None, "yes or no": None, "": None}
    assert {text: read_yes_no(text) for text in read} == read


@pytest.mark.parametrize(
    ("name", "gold", "right", "wrong"),
    [
        ("number_answer", "72", "72.00", "71"),
        ("choice_answer", "b", "31/37", "1/2"),
        ("yes_no_answer", "no", "No", "yes"),
    ],
)
def test_rewards_go_by_their_names(name: str, gold: str, right: str, wrong: str) -> None:
    question = Question("q", "?", gold, extras={"options": ["1/2", "31/37"]})
    judge = Judge((name,), lambda text: text.removeprefix("so ") if text.startswith("so ") else None)
    assert judge.score(question, f"so {right}") == 1
    assert judge.score(question, f"so {wrong}") == 0
    assert judge.score(question, right) == 0  # nothing is read that the task does not extract
    assert judge.check([question], "so {answer}") == ()
