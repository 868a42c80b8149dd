"""Whether two answers that were read are the same one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from manyminds.maths.answers import Answer, Group, Interval, Relation, Scalar, Word
from manyminds.maths.inequalities import INFINITY
from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node, fixed, number
from manyminds.maths.values import MP, ZERO, near

REALS = Scalar(Node("sym", value="mathbb R"))


def same(a: Answer, b: Answer) -> bool:
    """Whether two answers are the same one."""
    return _same(_bare(a, b), _bare(b, a))


def _same(a: Answer, b: Answer) -> bool:
    """As `same`, but that `x = 1` is not 1: in a list that would forget which is which."""
    a, b = _as_interval(a, b), _as_interval(b, a)
    if isinstance(a, Group) or isinstance(b, Group):
        return _groups(a if isinstance(a, Group) else _alone(a), b if isinstance(b, Group) else _alone(b))
    if isinstance(a, Scalar) and isinstance(b, Scalar):
        return _scalars(a, b)
    if isinstance(a, Interval) and isinstance(b, Interval):
        names = {a.name, b.name} - {""}
        return len(names) < 2 and a.ends == b.ends and _scalars(a.low, b.low) and _scalars(a.high, b.high)
    if isinstance(a, Relation) and isinstance(b, Relation):
        return _relations(a, b)
    return isinstance(a, Word) and isinstance(b, Word) and a.text == b.text


def valued(answer: Answer) -> bool:
    """Whether every number in an answer has a value that others can be compared to."""
    if isinstance(answer, Scalar):
        return answer.infinite != 0 or answer.exact is not None or answer.has_value
    if isinstance(answer, Group):
        return all(map(valued, answer.items))
    if isinstance(answer, Interval):
        return valued(answer.low) and valued(answer.high)
    return not isinstance(answer, Relation) or (valued(answer.left) and valued(answer.right))


def named(answer: Answer) -> str:
    """The symbol, or other words, of which an equation tells the value; "" if it is no such equation."""
    if isinstance(answer, Relation) and answer.op == "=":
        left = answer.left
        if isinstance(left, Word):
            return left.text
        if isinstance(left, Scalar) and not left.unit and left.node.op == "sym" and left.symbols:
            return str(left.node.value)
        if isinstance(left, Scalar) and left.node.op == "mul" and _applied(left.node):
            return "".join(sorted(left.symbols))
        if isinstance(left, Group) and left.kind == "tuple":
            return "()" if all(isinstance(one, Scalar) and one.node.op == "sym" for one in left.items) else ""
    return ""


def _applied(node: Node) -> bool:
    """Whether it reads like f(x), or the inverse of f at x: two different letters."""
    function, *arguments = node.parts
    if function.op == "pow" and function.parts[1] == Node("neg", (number(1),)):
        function = function.parts[0]
    return len(arguments) == 1 and function.op == arguments[0].op == "sym" and function != arguments[0]


def _bare(a: Answer, other: Answer) -> Answer:
    """The value that an equation tells, where the other answer is none that names anything."""
    if isinstance(a, Relation) and named(a) and not _names(other):
        return a.right
    if isinstance(a, Group) and a.kind in ("list", "set") and not _names(other):
        names = {named(item) for item in a.items}
        if len(names) == 1 and "" not in names:
            return replace(a, items=tuple(item.right for item in a.items if isinstance(item, Relation)))
    return a


def _names(answer: Answer) -> bool:
    if isinstance(answer, Group):
        return any(_names(item) for item in answer.items)
    return isinstance(answer, Relation)


def _alone(a: Answer) -> Group:
    return Group("list", (a,))


def _as_interval(a: Answer, other: Answer) -> Answer:
    """A pair in brackets is an interval where the other answer is one, or where its brackets are of two kinds;
    intervals in a list are their union where the other answer is one."""
    united = isinstance(other, Group) and other.kind == "union"
    if united and isinstance(a, Group) and a.kind == "list" and all(isinstance(item, Interval) for item in a.items):
        return replace(a, kind="union")
    if isinstance(other, Interval) and a == REALS:
        return Interval(Scalar(Node("neg", (INFINITY.node,))), INFINITY, "()")
    if isinstance(other, Interval) and isinstance(a, Group) and a.kind == "tuple" and len(a.items) == 2:
        low, high = a.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return Interval(low, high, a.ends)
    return a


def _groups(a: Group, b: Group) -> bool:
    if a.kind == "tuple" or b.kind == "tuple":
        if a.kind == b.kind == "tuple":
            return a.ends == b.ends and len(a.items) == len(b.items) and all(map(_same, a.items, b.items))
        alone = a if b.kind == "tuple" else b
        pair = b if alone is a else a
        return len(alone.items) == 1 and isinstance(alone.items[0], Group) and _same(alone.items[0], pair)
    if "union" in (a.kind, b.kind) and a.kind != b.kind:
        return False
    one, other = _spread(a), _spread(b)
    if "set" in (a.kind, b.kind) or a.kind == "union":
        one, other = _once(one), _once(other)
    if len(one) != len(other) or len(one) > 64:
        return False
    return _matched(one, other, _same)


def _matched(one: Sequence[Answer], other: Sequence[Answer], equal: Callable[[Answer, Answer], bool]) -> bool:
    left = list(other)
    for item in one:
        place = next((i for i, candidate in enumerate(left) if equal(item, candidate)), None)
        if place is None:
            return False
        del left[place]
    return True


def _once(items: list[Answer]) -> list[Answer]:
    found: list[Answer] = []
    for item in items[:65]:
        if not any(_same(item, other) for other in found):
            found.append(item)
    return found


def _spread(group: Group) -> list[Answer]:
    """The items, with both values of each ±, and the elements of a set that is listed."""
    found: list[Answer] = []
    for item in group.items:
        if isinstance(item, Group) and item.kind == "set" and group.kind == "list" and len(group.items) == 1:
            found += _spread(item)
        elif isinstance(item, Scalar) and len(item.signs) == 2:
            found += [Scalar(fixed(item.node, sign), item.unit) for sign in item.signs]
        elif isinstance(item, Relation) and isinstance(item.right, Scalar) and len(item.right.signs) == 2:
            found += [replace(item, right=Scalar(fixed(item.right.node, s), item.right.unit)) for s in (1, -1)]
        else:
            found.append(item)
    return found


def _scalars(a: Scalar, b: Scalar) -> bool:
    if a.infinite or b.infinite:
        return a.infinite == b.infinite
    if a.unit != b.unit and a.unit and b.unit:
        return False
    if "%" in (a.unit, b.unit) and a.unit != b.unit:
        share, plain = (a, b) if a.unit == "%" else (b, a)
        if _equal(Scalar(Node("div", (share.node, number(100)))), plain):
            return True
    return _equal(a, b)


def _equal(a: Scalar, b: Scalar) -> bool:
    """Whether they are worth the same, at every point, whatever their units."""
    if a.exact is not None and b.exact is not None:
        return bool(a.exact == b.exact)
    if len(a.signs) != len(b.signs):
        return False
    if len(a.signs) == 2:
        return _matched([Scalar(fixed(a.node, s)) for s in (1, -1)], [Scalar(fixed(b.node, s)) for s in (1, -1)], _same)
    try:
        return _agree(a.values(), b.values(), near)
    except Unreadable:
        return a.node == b.node


def _agree(one: list[tuple[Any, bool]], other: list[tuple[Any, bool]], equal: Callable[[Any, Any], bool]) -> bool:
    """Whether the values are equal at each point but those at which neither is what it is among the reals."""
    agreed = 0
    for (x, x_outside), (y, y_outside) in zip(one, other, strict=True):
        if equal(x, y):
            agreed += 1
        elif not (x_outside and y_outside):
            return False
    return agreed > 0


def _relations(a: Relation, b: Relation) -> bool:
    """Whether the two say the same: the same sides, or sides whose differences have a constant ratio."""
    if a.op != b.op:
        return False
    if _same_sides(a, b):
        return True
    sides = (a.left, a.right, b.left, b.right)
    if not all(isinstance(side, Scalar) and side.signs == (1,) and not side.unit for side in sides):
        return False
    one, other = _difference(a), _difference(b)
    if one.symbols != other.symbols or not one.symbols:
        return False
    try:
        ratio = None
        for (x, _), (y, _) in zip(one.values(), other.values(), strict=True):
            if isinstance(x, tuple) or isinstance(y, tuple) or abs(x) < ZERO or abs(y) < ZERO:
                return False
            if ratio is None:
                ratio = x / y
            elif not near(x / y, ratio):
                return False
    except Unreadable:
        return False
    return a.op in ("=", "!=") or (not isinstance(ratio, MP.mpc) and ratio is not None and bool(ratio > 0))


def _same_sides(a: Relation, b: Relation) -> bool:
    """Whether the sides are the same, or change places where that makes no difference."""
    if _same(a.left, b.left) and _same(a.right, b.right):
        return True
    return a.op in ("=", "!=") and _same(a.left, b.right) and _same(a.right, b.left)


def _difference(relation: Relation) -> Scalar:
    assert isinstance(relation.left, Scalar)
    assert isinstance(relation.right, Scalar)
    return Scalar(Node("add", (relation.left.node, Node("neg", (relation.right.node,)))))
