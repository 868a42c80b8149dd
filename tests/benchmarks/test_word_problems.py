"""benchmarks/word_problems.py: what is generated is right, recomputed from the text by another reader."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS = [
    {
        "id": "a",
        "question": "Debby had 32 pieces of candy while Tom had 42. If they ate 35 pieces, how many pieces are left?",
        "answer": "39",
        "equation": "X=((32.0+42.0)-35.0)",
    },
    {
        "id": "b",
        "question": "Each of the 7 boxes has 4 pieces. Tom gave Debby 3 boxes. How many pieces does Tom have?",
        "answer": "16",
        "equation": "( ( 7.0 - 3.0 ) * 4.0 )",
    },
    {
        "id": "c",
        "question": "Tom split 48 pieces into 6 boxes. How many in each?",
        "answer": "8",
        "equation": "48.0/6.0",
    },
]


def test_a_problem_is_worked_out_in_every_style(load: Load) -> None:
    problems = load("word_problems")
    tree = problems.parse("X=((32.0+42.0)-35.0)")
    assert problems.value(tree) == Fraction(39)
    assert problems.solution(tree, "equation") == "#### (32+42)-35"
    assert problems.solution(tree, "program") == "a=32+42\nb=a-35\n#### b"
    assert problems.solution(tree, "postfix") == "#### 32,42,+,35,-"
    nested = problems.parse("( 6.0 - ( 3.0 + 2.0 ) )")
    assert problems.solution(nested, "equation") == "#### 6-(3+2)"
    assert problems.solution(nested, "program") == "a=3+2\nb=6-a\n#### b"
    assert problems.solution(nested, "postfix") == "#### 6,3,2,+,-"
    for text in ("__import__('os')", "3and 4"):
        with pytest.raises(ValueError, match="is not an equation"):
            problems.parse(text)


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("#### 7", True),
        ("####2*3+1", True),
        ("####2,3,*,1,+", True),
        ("a=2*3\nb=a+1\n#### b", True),
        ("####(2*3)-1", False),
        ("7", False),
        ("", False),
        ("####", False),
        ("####b", False),
        ("a=b\n####a", False),
        ("####7/0", False),
        ("####2,3", False),
        ("####+,2", False),
        ("####((", False),
        ("####2**3-1", False),
        ("####abs(7)", False),
        ("####" + "(" * 300 + "7" + ")" * 300, False),
    ],
)
def test_the_calculator_works_out_what_is_written_and_nothing_else(load: Load, response: str, right: bool) -> None:
    assert load("word_problems").calculated.function(response, "7") is right


def test_rows_whose_equation_does_not_give_the_answer_are_left_out(load: Load) -> None:
    wrong = {**ROWS[0], "id": "d", "answer": "40"}
    uneven = {**ROWS[2], "id": "e", "equation": "47.0/6.0", "answer": str(47 / 6)}
    negative = {**ROWS[2], "id": "f", "equation": "(3.0-5.0)+6.0", "answer": "4"}
    assert [p.id for p in load("word_problems").read([*ROWS, wrong, uneven, negative])] == ["a", "b", "c"]


def test_generated_answers_follow_from_the_generated_text(load: Load) -> None:
    problems = load("word_problems")
    its = problems.read(ROWS)
    words = problems.Words(names=("Debby", "Tom", "Zoe"), things=("boxes", "pieces", "crates"))
    taken = {p.text for p in its}
    made = problems.more(its, 90, words, random.Random(0), taken)
    assert len({p.text for p in made} | {p.text for p in its}) == 93
    by_hand = {
        "a": lambda x, y, z: x + y - z,
        "b": lambda x, y, z: (x - z) * y,
        "c": lambda x, y: Fraction(x, y),
    }
    for p in made:
        stand = [int(number) for number in re.findall(r"\d+", p.text)]
        assert Fraction(p.answer) == by_hand[p.template](*stand) > 0
        old = next(row["question"] for row in ROWS if row["id"] == p.template)
        assert [len(n) for n in re.findall(r"\d+", old) if len(n) > 1] <= [len(str(n)) for n in stand]
        assert all(problems.calculated.function(p.worked(style), p.answer) for style in problems.STYLES)
        if p.template == "a":  # a person stays one person, a thing one thing
            plural = re.findall(r"\d+ (\w+)", p.text)
            assert plural[0] == plural[1]
            assert plural[0] in words.things
            assert re.match(r"(\w+) had .* while (?!\1)(\w+) had", p.text)
        assert problems.masked(p.text.replace("crates", "boxes"), words) != p.text
    assert {p.template for p in made} == {"a", "b", "c"}


def test_a_number_that_could_be_two_is_not_renumbered(load: Load) -> None:
    problems = load("word_problems")
    row = {"id": "x", "question": "2 and 2 more, less 3?", "answer": "1", "equation": "(2.0+2.0)-3.0"}
    (one,) = problems.read([row])
    assert problems.renumbered(one, random.Random(0)) is None
    words = problems.Words((), ())
    assert problems.more([one], 5, words, random.Random(0), set()) == []


def test_products_and_quotients_stay_within_the_table(load: Load) -> None:
    problems = load("word_problems")
    for text, easy in (("88*12", True), ("88*13", False), ("96/8", True), ("480/20", False), ("480/40", True)):
        assert problems.easy(problems.parse(text)) is easy


def test_names_are_told_from_other_words(load: Load) -> None:
    problems = load("word_problems")
    texts = (
        "On Monday Tom saw 5 boxes. Tom took 2 boxes and 3 days.",
        "Then Debby met Tom. Debby had 7 dollars, 9 dollars.",
    )
    its = [problems.Problem(str(i), text, Fraction(1), str(i)) for i, text in enumerate(texts)]
    words = problems.words(its)
    assert words.names == ("Debby", "Tom")
    assert words.things == ("boxes",)
    assert problems.masked("Tom saw 51 boxes.", words) == "@ saw # boxes."


@pytest.mark.skipif(not DATA.exists(), reason="the real questions are not beside this checkout")
def test_real_questions_divide_without_a_leak(load: Load) -> None:
    data = load("realtext_data")
    problems = load("word_problems")
    split = data.divide(DATA, data.Sizes(generated=300, sums=200, per_question=1), 0)
    its = {"warmup": split.warmup, "train": split.train}
    texts = {name: {p.text for p in of} for name, of in its.items()}
    texts |= {name: {row["question"] for row in of} for name, of in (("v", split.validation), ("t", split.test))}
    assert sum(map(len, texts.values())) == len(set().union(*texts.values()))
    masks = [{problems.masked(p.text, split.known) for p in of if p.id == p.template} for of in its.values()]
    assert not masks[0] & masks[1]  # reinforcement learning asks what the warm-up has not read
    for p in (*split.warmup, *split.train):
        assert eval(p.worked("equation").removeprefix("#### ")) == int(p.answer)
    real = {row["id"] for name in data.SETS for row in data.rows(DATA / name / "train.jsonl")}
    kept = {row["id"] for row in split.validation}
    assert {p.template for p in (*split.warmup, *split.train)} <= (real - kept) | {"sum"}
    assert data.facts(split)["test_texts_in_training"] == 0
    assert json.loads(json.dumps(data.facts(split)))["multiarith"]["test"] == 60
