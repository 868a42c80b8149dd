"""What an expression is worth: exactly where it is a fraction, else to 120 digits where symbols stand for numbers.

Two expressions are equal if they are at every one of several points that no answer can know beforehand; no rewriting,
so the cost is linear in the size. Numbers so large or small that digits could hide a difference are refused.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import Any

from mpmath.ctx_mp import MPContext

from manyminds.maths.exactly import fraction, of_fractions
from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node

PLACES = 120
POINTS = 4
STEPS = 20_000
NUMBERS = threading.RLock()
"""Held where numbers are worked out and compared: their precision is that of the whole process."""
MP = MPContext()
MP.dps = PLACES
LARGE, SMALL, ZERO, EQUAL = MP.mpf("1e40"), MP.mpf("1e-40"), MP.mpf("1e-75"), MP.mpf("1e-70")
Matrix = tuple[tuple[Any, ...], ...]


@dataclass(slots=True)
class Point:
    """Where symbols stand for numbers. `sign`: of a ±. `outside`: a real function was taken where it is not real.
    `bound`: what the index of a sum is worth at the moment. `steps`: operations so far."""

    number: int = 0
    sign: int = 1
    outside: bool = False
    seen: dict[str, Any] = field(default_factory=dict)
    bound: dict[str, Any] = field(default_factory=dict)
    steps: int = 0

    def of(self, name: str) -> Any:
        """The number that a symbol stands for: near 1, so that high powers stay within bounds; all above 0 at
        the first point, all below at the second, and each of one sign at the third and the other at the fourth."""
        if name not in self.seen:
            random = Random(zlib.crc32(f"{self.number} {name} stands for".encode()))
            size = MP.mpf(random.getrandbits(400)) / MP.mpf(2) ** 400 * 2 / 25 + MP.mpf(24) / 25
            above = bool(zlib.crc32(name.encode()) & 64)
            self.seen[name] = size if (True, False, above, not above)[self.number] else -size
        return self.seen[name]


def at(node: Node, point: Point) -> Any:
    """The number, or the rows of a matrix, that an expression is worth at a point. Raises Unreadable."""
    try:
        return _at(node, point)
    except (ArithmeticError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"it has no value: {error}") from error


def _at(node: Node, point: Point) -> Any:
    op, parts = node.op, node.parts
    point.steps += 1
    if point.steps > STEPS:
        raise Unreadable("too much to work out")
    if op in ("sum", "prod"):
        return _series(node, point)
    if op in ("factorial", "binom") and not point.bound:
        node = Node("num", value=fraction(node))
        op = "num"
    if op == "num":
        return _bounded(MP.mpf(node.value.numerator) / node.value.denominator)
    if op == "sym":
        return point.bound[node.value] if node.value in point.bound else _symbol(node.value, point)
    if op == "matrix":
        return tuple(tuple(_at(entry, point) for entry in row) for row in parts)
    if op == "fun" and parts[0].op == "degrees":
        return _function(node.value, [_at(parts[0].parts[0], point) * MP.pi / 180], point)
    args = [_at(part, point) for part in parts]
    if op == "add":
        found = args[0]
        for other in args[1:]:
            found = _plus(found, other)
        return found
    if op in ("neg", "pm", "mp"):
        return _times(MP.mpf({"neg": -1, "pm": point.sign, "mp": -point.sign}[op]), args[0])
    if op == "mul":
        found = args[0]
        for other in args[1:]:
            found = _times(found, other)
        return found
    if op == "div":
        return _times(1 / _scalar(args[1]), args[0])
    if op == "fun":
        return _function(node.value, args, point)
    return _bounded(_other(op, args, point))


def _series(node: Node, point: Point) -> Any:
    name, low, high = node.value
    outer, found = point.bound.get(name), None
    for index in range(low, high + 1):
        point.bound[name] = MP.mpf(index)
        term = _at(node.parts[0], point)
        found = term if found is None else (_plus if node.op == "sum" else _times)(found, term)
    point.bound.pop(name)
    if outer is not None:
        point.bound[name] = outer
    return found


def _other(op: str, args: list[Any], point: Point) -> Any:
    first = _scalar(args[0])
    if op == "pow":
        return _to_the(first, _scalar(args[1]), point)
    if op == "root":
        index = _scalar(args[1])
        if not isinstance(first, MP.mpc) and first < 0 and MP.isint(index) and int(index) % 2:
            return -MP.power(-first, 1 / index)
        return _to_the(first, 1 / index, point)
    if op in ("abs", "inverse"):
        return abs(first) if op == "abs" else 1 / first
    if op == "degrees":
        return first * MP.pi / 180
    if op in ("floor", "ceil"):
        if abs(first - MP.nint(first)) < EQUAL:
            return MP.nint(first)
        return MP.floor(first) if op == "floor" else MP.ceil(first)
    if op in ("factorial", "binom"):
        return _bounded(MP.mpf(of_fractions(op, [_whole(arg) for arg in args]).numerator))
    raise Unreadable(f"the operation {op}")


def _whole(value: Any) -> Fraction:
    if isinstance(value, MP.mpc) or not MP.isint(value):
        raise Unreadable("a factorial of what is no whole number")
    return Fraction(int(value))


def _symbol(name: str, point: Point) -> Any:
    if name == "pi":
        return +MP.pi
    if name == "e":
        return +MP.e
    if name == "i":
        return MP.mpc(0, 1)
    if name == "infty":
        raise Unreadable("infinity in an expression")
    return point.of(name)


def _to_the(base: Any, exponent: Any, point: Point) -> Any:
    if abs(base) < ZERO:
        if MP.re(exponent) <= 0:
            raise Unreadable("0 to the power of 0")
        return MP.mpf(0)
    if abs(MP.log(abs(base)) * abs(exponent)) > 100 or abs(MP.im(exponent)) > 100:
        raise Unreadable("a power that is too large or too small")
    if not isinstance(base, MP.mpc) and base < 0 and not MP.isint(exponent):
        point.outside = True
    return MP.power(base, exponent)


FUNCTIONS: dict[str, Any] = {
    name: getattr(MP, function)
    for name, function in {
        "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "arcsin": "asin",
        "arccos": "acos", "arctan": "atan", "arccot": "acot", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
        "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "exp": "exp",
    }.items()
}  # fmt: skip


def _function(name: str, args: list[Any], point: Point) -> Any:
    argument = _scalar(args[0])
    if abs(argument) > (100 if name in ("exp", "sinh", "cosh") else LARGE):
        raise Unreadable("a function of what is too large")
    if name in ("log", "ln", "lg"):
        if abs(argument) < ZERO:
            raise Unreadable("the logarithm of 0")
        if not isinstance(argument, MP.mpc) and argument < 0:
            point.outside = True
        if len(args) == 2:
            return _bounded(MP.log(argument) / MP.log(_scalar(args[1])))
        # A log without a base may be to any: what is said must hold for every one.
        return _bounded(MP.log(argument) * {"ln": 1, "lg": 1 / MP.log(10)}.get(name, point.of("1/ln of a base")))
    if name not in FUNCTIONS or len(args) != 1:
        raise Unreadable(f"the function {name}")
    found = FUNCTIONS[name](argument)
    if isinstance(found, MP.mpc) and not isinstance(argument, MP.mpc):
        point.outside = True
    return _bounded(found)


def _scalar(value: Any) -> Any:
    if isinstance(value, tuple):
        raise Unreadable("a matrix where a number should be")
    return value


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, tuple) and isinstance(b, tuple):
        if (len(a), len(a[0])) != (len(b), len(b[0])):
            raise Unreadable("matrices of different sizes")
        return tuple(tuple(map(_plus, one, other)) for one, other in zip(a, b, strict=True))
    found = _scalar(a) + _scalar(b)
    return MP.mpf(0) if abs(found) < ZERO else _bounded(found)


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        a, b = b, a
    if isinstance(b, tuple):
        return tuple(tuple(_times(_scalar(a), entry) for entry in row) for row in b)
    return _bounded(a * b)


def _bounded(value: Any) -> Any:
    size = abs(value)
    if size != 0 and not SMALL < size < LARGE:
        raise Unreadable("a number too large or too small to compare")
    return value


def near(a: Any, b: Any) -> bool:
    """Whether two values at a point are the same number or matrix."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        if not (isinstance(a, tuple) and isinstance(b, tuple)) or len(a) != len(b) or len(a[0]) != len(b[0]):
            return False
        return all(map(near, (x for row in a for x in row), (y for row in b for y in row)))
    return bool(abs(a - b) < EQUAL)
