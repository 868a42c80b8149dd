"""What an answer can be: a number or expression with a unit, a group, an interval, a relation, words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from manyminds.maths.exactly import exact
from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node, has, symbols
from manyminds.maths.values import POINTS, Point, at


@dataclass(frozen=True)
class Scalar:
    """A number, expression or matrix, with a unit or without ("")."""

    node: Node
    unit: str = ""

    @cached_property
    def exact(self) -> Any:
        """The fraction that it is, or None."""
        return exact(self.node)

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The names of its symbols; `e`, `i` and `pi` are numbers."""
        return frozenset(symbols(self.node)) - {"e", "i", "pi"}

    @cached_property
    def signs(self) -> tuple[int, ...]:
        """Both signs where a ± is in it."""
        return (1, -1) if has(self.node, ("pm", "mp")) else (1,)

    @cached_property
    def infinite(self) -> int:
        """1 for infinity, -1 for minus infinity, else 0."""
        if self.node == Node("sym", value="infty"):
            return 1
        return -Scalar(self.node.parts[0]).infinite if self.node.op == "neg" else 0

    @property
    def has_value(self) -> bool:
        """Whether it is worth something at every point."""
        try:
            return bool(self._signed)
        except Unreadable:
            return False

    def values(self, sign: int = 1) -> list[tuple[Any, bool]]:
        """What it is worth at every point, and whether a real function was not real there. Raises Unreadable."""
        return self._signed[sign > 0]

    @cached_property
    def _signed(self) -> dict[bool, list[tuple[Any, bool]]]:
        return {sign > 0: [self._at(number, sign) for number in range(POINTS)] for sign in self.signs}

    def _at(self, number: int, sign: int) -> tuple[Any, bool]:
        point = Point(number, sign)
        return at(self.node, point), point.outside


@dataclass(frozen=True)
class Group:
    """Several answers. A `tuple` has an order; a `list`, `set` or `union` has none. `ends`: its brackets."""

    kind: Literal["tuple", "list", "set", "union"]
    items: tuple[Answer, ...]
    ends: str = ""


@dataclass(frozen=True)
class Interval:
    """The numbers between two, `ends` being "[" or "(" and "]" or ")". `name`: of what lies in it, where it is said."""

    low: Scalar
    high: Scalar
    ends: str
    name: str = ""


@dataclass(frozen=True)
class Relation:
    """`left op right`, op one of =, !=, <, <=."""

    op: str
    left: Answer
    right: Answer


@dataclass(frozen=True)
class Word:
    """Text that is no mathematics, in one spelling."""

    text: str


Answer = Scalar | Group | Interval | Relation | Word
