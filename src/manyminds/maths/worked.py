"""Whether an answer was worked out: where the gold answer is a plain number, `17 \\cdot 23` repeats the question."""

from __future__ import annotations

from collections.abc import Iterator

from manyminds.maths.answers import Answer, Group, Interval, Relation, Scalar
from manyminds.maths.tree import Node


def undone(due: Answer, given: Answer) -> bool:
    """Whether there are only plain numbers in the gold answer, but in the other one something is left to work out.

    Plain are decimals, fractions, mixed numbers, powers of ten times a number; where the gold numbers are whole, no
    fractions.
    """
    golds = list(_numbers(due))
    if not golds or not all(_plain(node) for node in golds):
        return False
    whole = all(node.op == "num" and node.value.denominator == 1 for node in map(_unsigned, golds))
    return not all(_plain(node, whole) for node in _numbers(given))


def _numbers(answer: Answer) -> Iterator[Node]:
    """The trees of all numbers and expressions in an answer but infinity, and of an equation those on its right."""
    if isinstance(answer, Scalar):
        entries = [entry for row in answer.node.parts for entry in row] if answer.node.op == "matrix" else [answer.node]
        yield from () if answer.infinite else entries
    elif isinstance(answer, Group):
        for item in answer.items:
            yield from _numbers(item)
    elif isinstance(answer, Interval):
        yield from _numbers(answer.low)
        yield from _numbers(answer.high)
    elif isinstance(answer, Relation):
        yield from _numbers(answer.right)


def _unsigned(node: Node) -> Node:
    return node.parts[0] if node.op in ("neg", "pm", "mp") else node


def _plain(node: Node, whole: bool = False) -> bool:
    node = _unsigned(node)
    parts = node.parts
    if node.op == "num":
        return True
    if node.op == "mul" and len(parts) == 2 and parts[1].op in ("num", "pow"):  # 3 thousand, or 3 times 10^8
        return _plain(parts[0], whole) and ((parts[1].op == "num" and _round(parts[1])) or _power_of_ten(parts[1]))
    if whole:
        return False
    if node.op == "add":  # a mixed number
        return len(parts) == 2 and parts[0].op == "num" and parts[0].value.denominator == 1 and _fraction(parts[1])
    return _fraction(node)


def _fraction(node: Node) -> bool:
    if node.op == "num":
        return bool(0 < node.value < 1)
    if node.op == "mul":
        parts = [part.parts[0] if part.op == "inverse" else part for part in node.parts]
        return len(parts) == 2 and node.parts[1].op == "inverse" and all(_unsigned(part).op == "num" for part in parts)
    return node.op == "div" and all(_unsigned(part).op == "num" for part in node.parts)


def _round(node: Node) -> bool:
    """Whether it is the worth of a word such as thousand."""
    return bool(node.value in (10**2, 10**3, 10**6, 10**9, 10**12, 12))


def _power_of_ten(node: Node) -> bool:
    return node.op == "pow" and node.parts[0] == Node("num", value=10) and _unsigned(node.parts[1]).op == "num"
