"""What is left for math-verify and sympy: sums, integrals, limits, sets by a condition. Only to be called where it can
be stopped: what they do with an expression may take any time and memory, and nothing here limits it.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from manyminds.maths.tokens import DEEPEST, LONGEST

EVALUATED = re.compile(
    r"\\(?:sum|prod|int|iint|oint|lim|binom|dbinom|tbinom|det|gcd|max|min)(?![A-Za-z])|\bmod\b|\\[bp]?mod"
)
"""Commands with which numbers vanish when they are worked out; without them equal answers have equal numbers."""
WORKED = 12
"""The largest exponent, or upper bound, of what is to be worked out."""
NUMBERS = re.compile(r"\d+", re.ASCII)
POWERS = re.compile(r"\^|\*\*")
OWN = re.compile(r"\\(?:frac|dfrac|tfrac|cfrac|text|textbf|mathrm|mbox|left|right|displaystyle)(?![A-Za-z])|[\s{}$]")


def refused(text: str) -> str:
    """Why sympy is not asked about a text, "" if it is: towers and large exponents, factorials of large numbers, many
    digits, deep brackets, too many characters. One pass."""
    if len(text) > LONGEST:
        return "it is too long"
    deep = depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deep = max(deep, depth)
    if deep > DEEPEST or depth:
        return "its brackets are too deep or do not match"
    if any(len(number) > 40 for number in NUMBERS.findall(text)):
        return "a number has too many digits"
    if re.search(r"\d{4,}\s*\}?\s*!|!\s*\)?\s*!", text):
        return "a factorial is too large"
    working = EVALUATED.search(text) is not None
    powers = [found.end() for found in POWERS.finditer(text)]
    for at in powers:
        exponent = _argument(text, at)
        if POWERS.search(exponent) or re.search(r"\d{4,}|!", exponent):
            return "an exponent is too large"
        if working and any(int(number) > WORKED for number in NUMBERS.findall(exponent)):
            return "an exponent is too large"
        if re.match(r"\s*(?:\^|\*\*)", text[at + len(exponent) :]):
            return "a tower of exponents"
    return ""


def _argument(text: str, at: int) -> str:
    """What an exponent that begins at `at` may reach: to the end of its brackets, or of its digits."""
    while at < len(text) and text[at].isspace():
        at += 1
    if at >= len(text) or text[at] not in "({[":
        found = re.compile(r"-?(?:\w+|\\\w+\s*)?", re.ASCII).match(text, at)
        return found.group() if found else ""
    depth = 0
    for place in range(at, len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0:
            return text[at : place + 1]
    return text[at:]


def parse(text: str) -> list[Any]:
    """What math-verify reads in a text, sums and the like worked out; [] for nothing."""
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of each call without a time limit of its own
    found: list[Any] = parse(
        f"${text}$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
        raise_on_error=False,
    )
    return [one.doit() if hasattr(one, "doit") else one for one in found]


def symbolically(gold: str, text: str) -> bool | None:
    """Whether sympy finds two answers equal; None if the gold one cannot be read. Both without dollar signs.

    Where nothing is to be worked out, answers that do not have the same numbers are not equal, whatever was read.
    """
    due = _read(gold)
    if not due:
        return None
    if not EVALUATED.search(gold + text) and _numbers(gold) != _numbers(text):
        return False
    given = _read(text)
    return bool(given) and _verified(due, given)


def _read(text: str) -> list[Any]:
    try:
        return [] if refused(text) else parse(text)
    except Exception:  # whatever sympy raises on what it does not expect
        return []


def _verified(due: list[Any], given: list[Any]) -> bool:
    from math_verify import verify

    try:
        return bool(verify(due, given, strict=True, timeout_seconds=None, raise_on_error=False))
    except Exception:  # as above
        return False


def _numbers(text: str) -> list[str]:
    return sorted(NUMBERS.findall(text))
