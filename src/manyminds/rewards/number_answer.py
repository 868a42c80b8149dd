"""Numbers compare as numbers: 72, 72.0, 1,200 and $1,200 are ways to write one; exact, without rounding."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from functools import lru_cache

from manyminds.rewards.reward import reward

PLAIN = r"(?:\d{1,3}(?:,\d{3}){1,13}|\d{1,40})(?:\.\d{0,40})?|\.\d{1,40}"
NUMBER = re.compile(rf"(?P<sign>[+-]?) ?[$€£]? ?(?P<plain>{PLAIN}) ?%?\.?", re.ASCII)
FRACTION = re.compile(r"(?P<sign>[+-]?) ?(?P<over>\d{1,40}) ?/ ?(?P<under>\d{1,40})", re.ASCII)


@reward(trusted=True)
def number_answer(response: str, answer: str, extract: Callable[[str], str | None]) -> bool:
    """Whether the number that the task reads out of the response is the gold one.

    A fraction (1/2) counts only where the gold answer is not whole: otherwise it is a division left undone.
    """
    found = extract(response)
    return found is not None and same_number(found, answer)


def same_number(text: str, gold: str) -> bool:
    """Whether both are numbers, and equal; a fraction is read only for a gold answer that is not whole."""
    due = read_number(gold)
    if due is None:
        return False
    found = read_number(text)
    return found == due and (due.denominator != 1 or FRACTION.fullmatch(text.strip()) is None)


@lru_cache(maxsize=4096)
def read_number(text: str) -> Fraction | None:
    """The number that `text` is, all of it: an integer, a decimal or a fraction, with or without thousands commas, a
    currency sign or a percent sign; None for anything else."""
    stripped = text.strip().replace("−", "-")
    if ratio := FRACTION.fullmatch(stripped):
        size = Fraction(int(ratio["over"]), int(ratio["under"])) if int(ratio["under"]) else None
        return -size if size is not None and ratio["sign"] == "-" else size
    if number := NUMBER.fullmatch(stripped):
        size = Fraction(Decimal(number["plain"].replace(",", "")))
        return -size if number["sign"] == "-" else size
    return None


def number_text(number: Fraction) -> str:
    """The shortest way to write a number exactly: 72, 0.25, or 1/3."""
    try:
        quotient = Context(prec=60, traps=[Inexact]).divide(Decimal(number.numerator), Decimal(number.denominator))
    except Inexact:
        return str(number)
    return format(quotient.normalize(Context(prec=60)), "f")


def one_spelling(text: str) -> str:
    """Equal numbers written alike, so that votes for 72 and 72.0 count together; fractions and other text stay."""
    number = None if FRACTION.fullmatch(text.strip()) else read_number(text)
    return text.strip() if number is None else number_text(number)
