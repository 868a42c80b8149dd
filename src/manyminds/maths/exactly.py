"""Arithmetic on fractions, without rounding, refused where the numbers become too long."""

from __future__ import annotations

import math
from fractions import Fraction

from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node

BITS = 4_000
"""The most bits of a numerator or denominator."""


def exact(node: Node) -> Fraction | None:
    """The fraction that a number's tree is worth, or None if it is none that arithmetic alone gives."""
    try:
        return fraction(node)
    except (ArithmeticError, ValueError, RecursionError):
        return None


def fraction(node: Node) -> Fraction:
    """As `exact`. Raises Unreadable, ZeroDivisionError."""
    op, parts = node.op, node.parts
    if op == "num":
        value: Fraction = node.value
        return value
    if op not in ("add", "neg", "mul", "div", "inverse", "pow", "factorial", "binom", "floor", "ceil", "abs", "root"):
        raise Unreadable("no fraction")
    args = [fraction(part) for part in parts]
    return _short(of_fractions(op, args))


def of_fractions(op: str, args: list[Fraction]) -> Fraction:
    """What an operation on fractions gives. Raises Unreadable, ZeroDivisionError."""
    first = args[0]
    if op == "add":
        return sum(args, Fraction(0))
    if op == "mul":
        return _product(args)
    if op in ("div", "inverse"):
        return first / args[1] if op == "div" else 1 / first
    if op == "neg":
        return -first
    if op == "abs":
        return abs(first)
    if op in ("floor", "ceil"):
        return Fraction(first.__floor__() if op == "floor" else first.__ceil__())
    if op == "pow":
        return _power(first, args[1])
    if op == "root":
        return _root(first, args[1])
    if first.denominator != 1 or not 0 <= first <= 200 or args[-1].denominator != 1:
        raise Unreadable("a factorial of what is too large")
    if op == "factorial":
        return Fraction(math.factorial(int(first)))
    if not 0 <= args[1] <= first:
        raise Unreadable("a binomial coefficient out of its range")
    return Fraction(math.comb(int(first), int(args[1])))


def _product(args: list[Fraction]) -> Fraction:
    found = Fraction(1)
    for one in args:
        found = _short(found * one)
    return found


def _short(found: Fraction) -> Fraction:
    if found.numerator.bit_length() > BITS or found.denominator.bit_length() > BITS:
        raise Unreadable("a number of too many digits")
    return found


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        root = _root(base, Fraction(exponent.denominator))
        return _power(root, Fraction(exponent.numerator))
    if base == 0 and exponent <= 0:
        raise Unreadable("0 to the power of 0")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * bits > BITS:
        raise Unreadable("a power of too many digits")
    return base ** int(exponent)


def _root(base: Fraction, index: Fraction) -> Fraction:
    """A root that is a fraction itself. Raises Unreadable for others."""
    if base < 0 or index.denominator != 1 or not 2 <= index <= 10:
        raise Unreadable("no exact root")
    n = int(index)
    over, under = _whole_root(base.numerator, n), _whole_root(base.denominator, n)
    return Fraction(over, under)


def _whole_root(size: int, n: int) -> int:
    low, high = 0, 1 << (size.bit_length() // n + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**n <= size else (low, middle - 1)
    if low**n != size:
        raise Unreadable("no exact root")
    return low
