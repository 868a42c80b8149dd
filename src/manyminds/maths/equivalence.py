"""Whether two mathematical answers are the same: what is read here first, then sympy; in doubt they are not.

`quick` takes time linear in the texts and may be called anywhere. `equal` and `matches` may ask sympy, which can take
any time: call them in a process that can be stopped (`manyminds.maths.checker.Checker` does).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from manyminds.maths import extraction
from manyminds.maths.answers import Answer, Group, Scalar, Word
from manyminds.maths.comparing import same, valued
from manyminds.maths.reading import decimal_comma, read
from manyminds.maths.symbolic import EVALUATED, refused, symbolically
from manyminds.maths.tokens import LONGEST, Unreadable
from manyminds.maths.values import NUMBERS
from manyminds.maths.wording import undressed, without_stop
from manyminds.maths.worked import undone

LETTER = re.compile(r"\(?([A-Z])\)?[.:]?", re.ASCII)
LETTER_FIRST = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])[).:])[.:]?\s{1,9}(?!(?:or|and|nor|not|but|is|if)\b)[\w\\\"'][^()]{0,80}", re.ASCII
)
"""An option by its letter and what it says, in which no other option's letter stands."""
DELIMITERS = re.compile(r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])|\\[,;:! ()\[\]]|(?<!\\)\$|~")
DIGITS_APART = re.compile(r"(?<=[\d,])\s+(?=\d)|(?<=\\[A-Za-z])\s+(?=[A-Za-z])|(?<=[A-Za-z])\s+(?=[A-Za-z])")


class Undecided(Exception):
    """Nothing here can tell whether two answers are the same; sympy might."""


def equal(gold: str, text: str) -> bool | None:
    """Whether `text` is the answer `gold`, both as they stand, in LaTeX or not; None if `gold` cannot be read."""
    try:
        return quick(gold, text)
    except Undecided:
        found = symbolically(one_line(gold), one_line(text))
        # What is read of one only is not all that stands in the other, unless there is something to be worked out.
        apart = (_read(gold) is None) != (_read(text) is None) and not EVALUATED.search(gold + text)
        return False if found and apart else found


def quick(gold: str, text: str) -> bool | None:
    """As `equal`, without sympy. Raises Undecided where only that could tell."""
    if len(gold) > 2 * LONGEST or not one_line(gold):
        return None
    if len(text) > 2 * LONGEST:
        return False
    if one_line(gold) == one_line(text):
        return True
    for one, other in ((gold, text), (text, gold)):
        if (letter := LETTER.fullmatch(undressed(one))) and (first := LETTER_FIRST.fullmatch(undressed(other))):
            return letter[1] == (first[1] or first[2])
    due, given = _read(gold), _read(text)
    if due is not None and given is not None:
        with NUMBERS:
            found = same(due, given) or _by_decimal_comma(gold, due, text, given)
            return found if found or valued(due) else None
    if due is None and (isinstance(given, Word) or refused(one_line(gold))):
        return None
    if isinstance(due, Word) or isinstance(given, Word) or refused(one_line(text)):
        return False
    raise Undecided


def matches(gold: str, response: str, strict: bool = True) -> bool | None:
    """Whether the answer of a response is the gold one; None if the gold one cannot be read.

    Strict: all that is boxed must be the gold answer; without a box the last `####` line, else all `<answer>` tags; a
    response without any of these is not right, nor is a sum left to work out where the gold answer is a plain number
    (`manyminds.maths.worked.undone`). Otherwise also a sentence that announces the answer, or the last line
    (`manyminds.maths.extraction.found`).
    """
    return _matches(gold, response, strict, equal)


def quickly(gold: str, response: str, strict: bool = True) -> bool | None:
    """As `matches`, without sympy. Raises Undecided where only that could tell."""
    return _matches(gold, response, strict, quick)


def _matches(gold: str, response: str, strict: bool, compare: Callable[[str, str], bool | None]) -> bool | None:
    due = gold_answer(gold)
    if not strict and _same_words(due, response):
        return True
    verdicts = []
    for answer in candidates(response, strict) or [""]:
        verdicts.append(compare(due, answer))
        if not verdicts[-1]:
            return verdicts[-1]
        if strict and _left_undone(due, answer):
            return False
    return True


def _left_undone(gold: str, text: str) -> bool:
    due, given = _read(gold), _read(text)
    return due is not None and given is not None and undone(due, given)


def candidates(response: str, strict: bool = True) -> list[str]:
    """The answers of a response that must all be right; [] if there is none."""
    if strict:
        stated = extraction.stated(response)
        return stated if len(stated) <= extraction.MOST else []
    found = extraction.found(response)
    return [found] if found else []


def gold_answer(gold: str) -> str:
    """The answer in a gold text: its box where it has one, else all of it, without a sentence around it."""
    if "boxed" in gold:
        return extraction.found(gold) or gold
    return gold if _read(gold) is not None else extraction.settled(gold)


def _same_words(gold: str, response: str) -> bool:
    """Whether both are the same words, of which no part is the answer."""
    due = _read(gold)
    return isinstance(due, Word) and due == _read(response)


def one_line(text: str) -> str:
    """The text without delimiters of mathematics and spaces that mean nothing."""
    text = DELIMITERS.sub(lambda found: " " if found.group() in ("\\,", "\\ ", "~") else "", without_stop(text))
    return re.sub(r"\s+", "", DIGITS_APART.sub("\0", text)).replace("\0", " ")


def _read(text: str) -> Answer | None:
    try:
        return read(text)
    except Unreadable:
        return None


def _by_decimal_comma(gold: str, due: Answer, text: str, given: Answer) -> bool:
    """Whether one of them is a number and the other two, or none, that are the same with a decimal comma."""
    for one, other in ((due, text), (given, gold)):
        if isinstance(one, Scalar) and (read_so := decimal_comma(other)) is not None:
            pair = given if one is due else due
            return isinstance(pair, Group) and same(one, read_so)
    return False
