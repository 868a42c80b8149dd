"""From the text of an answer to what it is: lists, equations, inequalities, intervals, sets, numbers with units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from manyminds.maths.answers import Answer, Group, Interval, Relation, Scalar, Word
from manyminds.maths.comparing import same
from manyminds.maths.inequalities import inequality, is_symbol
from manyminds.maths.syntax import parsed
from manyminds.maths.tokens import LONGEST, Token, Unreadable, tokens
from manyminds.maths.tree import Node, number
from manyminds.maths.units import SCALES, unit_of
from manyminds.maths.values import NUMBERS
from manyminds.maths.wording import is_words, undressed, without_stop, words

DENIALS = frozenset(("not", "no", "never", "wrong", "incorrect", "false"))
BRACKETS = {"(": ")", "[": "]", "{": "}", "group": "group", "<": ">"}
DECIMAL_COMMA = re.compile(r"([+-]?\d{1,40}),(\d{1,40})", re.ASCII)
CLOCK = re.compile(r"\d{1,3}(?: ?: ?\d{1,4}){1,3}(?: ?[ap]\.?m\.?)?|\d{1,2} ?[ap]\.?m\.?", re.ASCII | re.IGNORECASE)


def read(text: str) -> Answer:
    """What an answer is. Raises Unreadable."""
    if len(text) > 2 * LONGEST:  # nor is it kept
        raise Unreadable(f"{len(text):,} characters are too many")
    with NUMBERS:
        return _read(text)


@lru_cache(maxsize=4096)
def _read(text: str) -> Answer:
    text = without_stop(text)
    if (clock := " ".join(undressed(text).split())) and CLOCK.fullmatch(clock):
        return Word(re.sub(r"[\s.]", "", clock).lower())
    if is_words(text) and (word := words(text)) is not None:
        return word
    try:
        return _answer(tokens(text))
    except (Unreadable, RecursionError) as error:  # the second where this is called from deep inside other functions
        if (word := words(text)) is not None:
            return word
        raise Unreadable(str(error)) from error


def decimal_comma(text: str) -> Answer | None:
    """The number that the text is if its comma stands before decimals; None if it has no such comma."""
    found = DECIMAL_COMMA.fullmatch(without_stop(text).strip("€ "))
    return Scalar(parsed(tokens(f"{found[1]}.{found[2]}"))) if found else None


def _answer(found: Sequence[Token]) -> Answer:
    """A list of answers, or one."""
    found = _plain(list(found))
    if not found:
        raise Unreadable("nothing")
    parts, separators = _split(found)
    if len(parts) == 1:
        return _one(parts[0])
    if len(parts) > 64:
        raise Unreadable("too many answers")
    items = [_one(part) for part in parts]
    if "and" in separators and all(isinstance(item, Interval) and item.name for item in items):
        return _both([item for item in items if isinstance(item, Interval)])
    return Group("list", tuple(_name_for_all(_unit_for_all(items))))


def _name_for_all(items: list[Answer]) -> list[Answer]:
    """`x = 1, 2` are two values of x."""
    first, *rest = items
    if isinstance(first, Relation) and first.op == "=" and all(isinstance(item, Scalar) for item in rest):
        return [first, *(replace(first, right=item) for item in rest)]
    return items


def _unit_for_all(items: list[Answer]) -> list[Answer]:
    """`3, 4 cm` are two lengths: a unit at the end is that of all where no other has one."""
    last = items[-1]
    if isinstance(last, Scalar) and last.unit and all(isinstance(i, Scalar) and not i.unit for i in items[:-1]):
        return [replace(item, unit=last.unit) for item in items if isinstance(item, Scalar)]
    return items


def _both(parts: list[Interval]) -> Answer:
    """What lies in two intervals at once, where one says the least and the other the most."""
    lows = [part for part in parts if part.low.infinite == 0]
    highs = [part for part in parts if part.high.infinite == 0]
    if len(parts) != 2 or len(lows) != 1 or len(highs) != 1 or parts[0].name != parts[1].name:
        raise Unreadable("conditions that are not two ends of an interval")
    return Interval(lows[0].low, highs[0].high, lows[0].ends[0] + highs[0].ends[1], parts[0].name)


def _plain(found: list[Token]) -> list[Token]:
    """Without separators at the ends, and braces around all of it that only group (a set, if there are commas)."""
    while found and found[0].kind == "sep":
        del found[0]
    while found and (found[-1].kind == "sep" or (found[-1].kind, found[-1].text) == ("op", ".")):
        del found[-1]
    if len(found) > 2 and _enclosed(found) == "group":
        inner = _plain(found[1:-1])
        return inner if len(_split(inner)[0]) == 1 else [Token("open", "{"), *inner, Token("close", "}")]
    return found


def _enclosed(found: Sequence[Token]) -> str:
    """The bracket that opens at the first token, if it is closed by the last."""
    if found[0].kind != "open" or found[-1].kind != "close":
        return ""
    depth = 0
    for token in found[:-1]:
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if depth == 0:
            return ""
    return found[0].text


def _split(found: Sequence[Token]) -> tuple[list[list[Token]], set[str]]:
    """The parts between separators outside all brackets, and which separators there are."""
    parts: list[list[Token]] = [[]]
    separators, depth = set(), 0
    for token in found:
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if depth == 0 and token.kind == "sep":
            separators.add(token.text)
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part], separators  # in `1, 2, and 3` one is empty


def _one(found: list[Token]) -> Answer:
    """One answer: a relation, a set, an interval, a tuple, a number."""
    found = _plain(found)
    if not found:
        raise Unreadable("nothing between separators")
    relations = _outside(found, "rel")
    if relations:
        return _relation(found, relations)
    if _enclosed(found) == "{" and (bar := _outside(found[1:-1], "op", "|", ":")):
        return _by_condition(*_cut(found[1:-1], bar[:1]))
    unions = _outside(found, "op", "cup")
    if unions:
        return Group("union", tuple(_interval(part) for part in _cut(found, unions)))
    opening = _enclosed(found)
    if opening in ("(", "[", "{", "<") or (found[0].kind == "open" and found[0].text in "([" and _mixed_ends(found)):
        inside, _ = _split(found[1:-1])
        if len(inside) > 1 or opening == "{":
            return _bracketed(found, inside)
    return _quantity(found)


def _by_condition(element: list[Token], condition: list[Token]) -> Answer:
    """`{x | x > 3}`, where the condition says between which numbers x lies."""
    inside = _answer(condition)
    about = _one(element) if element else None
    bounds = inside.items if isinstance(inside, Group) and inside.kind == "union" else (inside,)
    if not isinstance(about, Scalar) or any(not isinstance(b, Interval) or b.name != about.node.value for b in bounds):
        raise Unreadable("a condition that gives no interval")
    return inside


def _mixed_ends(found: Sequence[Token]) -> bool:
    return _enclosed(found) != "" and found[-1].text in ")]"


def _bracketed(found: Sequence[Token], inside: list[list[Token]]) -> Answer:
    opening, closing = found[0].text, found[-1].text
    if len(inside) > 64:
        raise Unreadable("too many answers")
    items = tuple(_one(part) for part in inside)
    if opening == "{" and closing == "}":
        return Group("set", items)
    if (opening, closing) == ("<", ">"):
        return Group("tuple", items, "()")
    if opening in "([" and closing in ")]":
        if BRACKETS[opening] != closing or any(isinstance(i, Scalar) and i.infinite for i in items):
            low, high = items if len(items) == 2 else (None, None)
            if not isinstance(low, Scalar) or not isinstance(high, Scalar):
                raise Unreadable("an interval that is none")
            return Interval(low, high, opening + closing)
        return Group("tuple", items, opening + closing)
    raise Unreadable("brackets that do not match")


def _interval(found: list[Token]) -> Answer:
    """A part of a union."""
    part = _one(found)
    if isinstance(part, Group) and part.kind == "tuple" and len(part.items) == 2:
        low, high = part.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Interval(low, high, part.ends)
    if isinstance(part, Interval) or (isinstance(part, Group) and part.kind == "set"):
        return part
    if isinstance(part, Scalar) and part.node.op == "sym":
        return part
    raise Unreadable("a union of what are no sets")


def _outside(found: Sequence[Token], kind: str, *texts: str) -> list[int]:
    """Where such tokens stand outside all brackets."""
    places, depth = [], 0
    for place, token in enumerate(found):
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if depth == 0 and token.kind == kind and (not texts or token.text in texts):
            places.append(place)
    return places


def _cut(found: Sequence[Token], places: Sequence[int]) -> list[list[Token]]:
    ends = [-1, *places, len(found)]
    return [list(found[i + 1 : j]) for i, j in pairwise(ends)]


def _relation(found: list[Token], places: list[int]) -> Answer:
    ops, sides = [found[place].text for place in places], _cut(found, places)
    if any(not side for side in sides):
        if len(sides) == 2 and ops == ["="] and not sides[0]:
            return _one(sides[1])
        raise Unreadable("a relation without a side")
    if ops == ["in"]:
        inside = _one(sides[1])
        name = _quantity(sides[0])
        if isinstance(inside, Group) and inside.kind == "tuple" and len(inside.items) == 2:
            inside = _interval(sides[1])
        if isinstance(inside, Interval) and isinstance(name, Scalar) and name.node.op == "sym":
            return replace(inside, name=str(name.node.value))
        return inside if is_symbol(name) else Relation("in", name, inside)
    if set(ops) == {"="}:
        left, right = _side(sides[0]), _side(sides[-1])
        if isinstance(right, Scalar) and right.node.op == "sym" and right.symbols and not is_symbol(left):
            left, right = right, left
        if all(isinstance(side, Scalar) and not side.symbols for side in (left, right)) and same(left, right):
            return right  # 5 + 6 = 11
        return Relation("=", left, right)
    return inequality(ops, [_quantity(side) for side in sides])


def _side(found: list[Token]) -> Answer:
    """A side of an equation; words before it are what it is called."""
    if all(token.kind in ("word", "sym", "sep") for token in found) and any(t.kind == "word" for t in found):
        if any(token.text.casefold() in DENIALS for token in found):
            raise Unreadable("what it is not")
        return Word(" ".join(token.text.casefold() for token in found))
    return _one(found)


def _quantity(found: Sequence[Token]) -> Scalar:
    """An expression with its unit: a sign of money before it or after it, words, `^\\circ`, `%`."""
    unit, scale = "", 1
    found = list(found)
    if found and found[0].kind == "money":
        unit, found = found[0].text, found[1:]
    elif len(found) > 1 and found[1].kind == "money" and found[0].text in ("-", "+"):
        unit, found = found[1].text, [found[0], *found[2:]]
    if len(found) > 1 and found[-1].kind == "money" and not unit:
        unit, found = found[-1].text, found[:-1]
    if len(found) > 1 and (found[-1].kind, found[-1].text) == ("op", "%"):
        if unit:
            raise Unreadable("two units")
        return Scalar(parsed(found[:-1]), "%")
    start = next((i for i, token in enumerate(found) if token.kind == "word"), len(found))
    tail = [token for token in found[start:] if token.text != "group"]
    found = found[:start]
    while tail and tail[0].text.casefold() in SCALES:
        scale *= SCALES[tail.pop(0).text.casefold()]
    if tail:
        unit = _unit([token.text for token in tail], unit, found)
    if any(token.kind == "fun" for token in found):
        pass  # the degrees are of its argument
    elif len(found) > 1 and found[-1].text == "circ":
        unit, found = _degrees(unit), found[: -2 if found[-2].text == "^" else -1]
    elif len(found) > 4 and [t.text for t in found[-4:]] == ["^", "group", "circ", "group"]:
        unit, found = _degrees(unit), found[:-4]
    node = parsed(found)
    return Scalar(node if scale == 1 else Node("mul", (node, number(scale))), unit)


def _degrees(unit: str) -> str:
    if unit not in ("", "c", "f", "celsius", "fahrenheit", "deg"):
        raise Unreadable("two units")
    return "deg"


def _unit(tail: list[str], before: str, found: Sequence[Token]) -> str:
    try:
        unit = unit_of(tail)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if before and unit != before:
        raise Unreadable("two units")
    if not found or not any(token.kind == "num" for token in found):
        raise Unreadable("words where a number should be")
    return unit
