"""The tree of an expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from manyminds.maths.tokens import Unreadable


@dataclass(frozen=True, slots=True)
class Node:
    """`op` of its `parts`. `value`: what a number is worth, or what a symbol is called."""

    op: str
    parts: tuple[Any, ...] = ()
    value: Any = None


def number(value: Fraction | int) -> Node:
    """The node of a number."""
    return Node("num", value=Fraction(value))


def fixed(node: Node, sign: int) -> Node:
    """The tree with one of the signs of every ±."""
    if not node.parts:
        return node
    if node.op == "matrix":
        return replace(node, parts=tuple(tuple(fixed(entry, sign) for entry in row) for row in node.parts))
    parts = tuple(fixed(part, sign) for part in node.parts)
    if node.op in ("pm", "mp"):
        return parts[0] if (node.op == "pm") == (sign > 0) else Node("neg", parts)
    return replace(node, parts=parts)


def symbols(node: Node) -> set[str]:
    """The names of the symbols in a tree."""
    if node.op == "sym":
        return {node.value}
    if node.op == "matrix":
        return {name for row in node.parts for entry in row for name in symbols(entry)}
    found = {name for part in node.parts for name in symbols(part)}
    return found - {node.value[0]} if node.op in ("sum", "prod") else found


def has(node: Node, ops: tuple[str, ...]) -> bool:
    """Whether one of these operations is in a tree."""
    if node.op in ops:
        return True
    parts = (entry for row in node.parts for entry in row) if node.op == "matrix" else node.parts
    return any(has(part, ops) for part in parts)


def letters(node: Node) -> list[str]:
    """The symbols of a symbol or of a product of symbols. Raises Unreadable."""
    if node.op == "sym":
        return [node.value]
    if node.op != "mul":
        raise Unreadable("letters are missing")
    return [letter for part in node.parts for letter in letters(part)]
