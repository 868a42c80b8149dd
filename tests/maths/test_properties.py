"""What holds for every answer: it is the same as itself, however it is dressed, both ways round, and no other."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from manyminds.maths.equivalence import equal

INTEGERS = st.integers(-(10**9), 10**9)
NUMBERS = st.one_of(
    INTEGERS.map(str),
    st.decimals(-1000, 1000, places=3).map(str),
    st.builds(lambda a, b: rf"\frac{{{a}}}{{{b}}}", st.integers(-99, 99), st.integers(1, 99)),
    st.builds(lambda a, b: f"{a}/{b}", st.integers(-99, 99), st.integers(1, 99)),
    st.builds(lambda a, b: rf"{a}\sqrt{{{b}}}", st.integers(2, 9), st.sampled_from([2, 3, 5, 7, 10])),
    st.builds(lambda a, b: rf"{a} + {b}i", st.integers(1, 9), st.integers(2, 9)),
    st.builds(lambda a: rf"\frac{{{a}\pi}}{{6}}", st.integers(1, 30)),
)


def polynomial(coefficients: list[int]) -> str:
    return " + ".join(f"{c}x^{{{n}}}" for n, c in enumerate(coefficients) if c) or "0"


EXPRESSIONS = st.one_of(NUMBERS, st.lists(st.integers(1, 20), min_size=1, max_size=5).map(polynomial))
ANSWERS = st.one_of(
    EXPRESSIONS,
    st.builds(lambda a, b: f"({a}, {b})", EXPRESSIONS, EXPRESSIONS),
    st.builds(lambda a, b: f"[{a}, {b})", NUMBERS, NUMBERS),
    st.builds(lambda items: rf"\{{{', '.join(items)}\}}", st.lists(EXPRESSIONS, min_size=2, max_size=4)),
    st.builds(lambda items: ", ".join(items), st.lists(INTEGERS.map(str), min_size=2, max_size=4)),
    st.builds(lambda a: f"x = {a}", NUMBERS),
    st.builds(lambda a: f"x < {a}", NUMBERS),
    st.builds(lambda a, u: rf"{a} \text{{ {u}}}", INTEGERS, st.sampled_from(["cm", "hours", "dollars"])),
    st.builds(
        lambda a, b: rf"\begin{{pmatrix}} {a} & {b} \\ 1 & 0 \end{{pmatrix}}", st.integers(1, 9), st.integers(1, 9)
    ),
    st.sampled_from([r"\text{(C)}", "yes", r"\text{even}", "12:30", "2516_8", r"90^\circ", r"28\%", r"\$5"]),
)


@given(ANSWERS)
@settings(max_examples=300)
def test_an_answer_is_the_same_as_itself(answer: str) -> None:
    assert equal(answer, answer) is True


@given(ANSWERS, ANSWERS)
@settings(max_examples=400)
def test_which_of_two_is_the_gold_one_makes_no_difference(one: str, other: str) -> None:
    assert equal(one, other) == equal(other, one)


DRESSES = {
    "spaces around": lambda text: f"  {text}\n",
    "dollars": lambda text: f"${text}$",
    "two dollars": lambda text: f"$${text}$$",
    "parentheses of LaTeX": lambda text: rf"\({text}\)",
    "brackets of LaTeX": lambda text: rf"\[ {text} \]",
    "a box": lambda text: rf"\boxed{{{text}}}",
    "a full stop": lambda text: f"{text}.",
    "left and right": lambda text: text.replace("(", r"\left(").replace("[", r"\left[").replace(")", r"\right)"),
    "thin spaces": lambda text: text.replace(",", r",\,").replace(" + ", r"\,+\,"),
    "spaces between": lambda text: text.replace(",", " , ").replace("+", " + ").replace("=", " = "),
    "dfrac": lambda text: text.replace(r"\frac", r"\dfrac"),
}


@given(ANSWERS, st.sampled_from(sorted(DRESSES)))
@settings(max_examples=500)
def test_dress_changes_nothing(answer: str, dress: str) -> None:
    dressed = DRESSES[dress](answer)
    assert equal(answer, dressed) is True
    assert equal(dressed, answer) is True


@given(st.integers(1000, 10**15), st.sampled_from([",", "{,}", r",\!", r"\,", " "]), st.sampled_from(["", "-"]))
def test_thousands_separators_change_nothing(number: int, separator: str, sign: str) -> None:
    text = sign + f"{number:,}".replace(",", separator)
    assert equal(f"{sign}{number}", text) is True
    assert equal(f"{sign}{number + 1}", text) is False


@given(st.fractions(-1000, 1000, max_denominator=500), st.fractions(-1000, 1000, max_denominator=500))
@settings(max_examples=300)
def test_another_number_is_never_equal(one: Fraction, other: Fraction) -> None:
    texts = [str(one), rf"\frac{{{other.numerator}}}{{{other.denominator}}}"]
    assert equal(*texts) is (one == other)
    assert equal(str(float(one)), str(float(other))) is (float(one) == float(other))


@given(st.fractions(-1000, 1000, max_denominator=500))
def test_a_near_number_is_not_equal(one: Fraction) -> None:
    near = one + Fraction(1, 10**200)
    assert equal(str(one), str(near)) is False
    assert equal(rf"{one.numerator}\sqrt{{2}}+1", rf"{one.numerator}\sqrt{{2}}+1.000000000000000000000000001") is False


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6), st.integers(0, 5), st.integers(1, 5))
@settings(max_examples=200)
def test_another_polynomial_is_never_equal(coefficients: list[int], place: int, change: int) -> None:
    assume(any(coefficients))
    other = list(coefficients)
    other[place % len(other)] += change
    assert equal(polynomial(coefficients), polynomial(coefficients[::1])) is True
    assert equal(polynomial(coefficients), polynomial(other)) is False


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=300)
def test_any_text_gets_an_answer(one: str, other: str) -> None:
    assert equal(one, other) in (True, False, None)
