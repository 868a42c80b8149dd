"""Sums and products from one number to another, `\\sum_{k=1}^{10} k^2`; other sums are left to sympy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node

if TYPE_CHECKING:
    from manyminds.maths.syntax import Parser

TERMS = 1_000


def summed(parser: Parser, name: str) -> Node:
    """What comes after `\\sum` or `\\prod`: the index, both bounds, and the terms up to the next sign.

    Raises Unreadable where a bound is no number, or there are more than 1,000 terms.
    """
    parser.need("op", "_")
    parser.need("open", "group")
    index = parser.take()
    parser.need("rel", "=")
    low = _whole(parser.sum())
    parser.need("close", "group")
    parser.need("op", "^")
    high = _whole(parser.script())
    if index.kind != "sym" or index.text == "e" or not 0 <= high - low < TERMS:
        raise Unreadable("a sum without bounds")
    return Node(name, (parser.product(),), (index.text, low, high))


def _whole(node: Node) -> int:
    sign, node = (-1, node.parts[0]) if node.op == "neg" else (1, node)
    if node.op != "num" or node.value.denominator != 1 or node.value > 10**6:
        raise Unreadable("a bound that is no whole number")
    return sign * int(node.value)
