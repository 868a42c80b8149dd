"""From relations between expressions to intervals, where they say between which numbers a symbol lies."""

from __future__ import annotations

from collections.abc import Sequence

from manyminds.maths.answers import Answer, Group, Interval, Relation, Scalar
from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node

FLIPPED = {">": "<", ">=": "<="}
INFINITY = Scalar(Node("sym", value="infty"))


def is_symbol(answer: Answer) -> bool:
    """Whether it is a symbol that stands for a number, alone."""
    return isinstance(answer, Scalar) and answer.node.op == "sym" and bool(answer.symbols)


def inequality(ops: Sequence[str], sides: Sequence[Scalar]) -> Answer:
    """What `a < b`, `a != b` or `a < b <= c` says; also of an absolute value. Raises Unreadable for other chains."""
    if all(op in FLIPPED for op in ops):
        ops, sides = [FLIPPED[op] for op in reversed(ops)], [*reversed(sides)]
    if len(ops) == 1 and ops[0] == "!=":
        return Relation("!=", *sides)
    if not {*ops} <= {"<", "<="} or len(ops) > 2:
        raise Unreadable("a chain of relations")
    if len(ops) == 2:
        low, middle, high = sides
        ends = ("[" if ops[0] == "<=" else "(") + ("]" if ops[1] == "<=" else ")")
        return _between(low, middle, high, ends)
    left, right = sides
    closed = ops[0] == "<="
    if not right.symbols and (is_symbol(left) or _size_of(left)):
        return _between(_minus(INFINITY), left, right, "(" + ("]" if closed else ")"))
    if not left.symbols and (is_symbol(right) or _size_of(right)):
        return _between(left, right, INFINITY, ("[" if closed else "(") + ")")
    return Relation(ops[0], left, right)


def _between(low: Scalar, middle: Scalar, high: Scalar, ends: str) -> Answer:
    if is_symbol(middle):
        return Interval(low, high, ends, str(middle.node.value))
    name = _size_of(middle)
    if not name or any(one.exact is not None and one.exact < 0 for one in (low, high)):
        raise Unreadable("a chain about more than a symbol")
    if low.infinite:
        return Interval(_minus(high), high, ("[" if ends[1] == "]" else "(") + ends[1], name)
    mirrored = ("[" if ends[1] == "]" else "(") + ("]" if ends[0] == "[" else ")")
    return Group("union", (Interval(_minus(high), _minus(low), mirrored, name), Interval(low, high, ends, name)))


def _size_of(side: Scalar) -> str:
    """The symbol whose absolute value it is, or ""."""
    inside = side.node.parts[0] if side.node.op == "abs" else None
    return str(inside.value) if inside is not None and is_symbol(Scalar(inside)) else ""


def _minus(one: Scalar) -> Scalar:
    return Scalar(Node("neg", (one.node,)), one.unit)
