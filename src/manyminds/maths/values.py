"""What an expression is worth: exactly where it is a fraction, else to 120 digits where symbols stand for numbers.

Two expressions are equal if they are at every one of several points that no answer can know beforehand; no rewriting,
so the cost is linear in the size. Numbers so large or small that digits could hide a difference are refused.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

from mpmath.ctx_mp import MPContext

from manyminds.maths.tokens import Unreadable
from manyminds.maths.tree import Node

PLACES = 120
POINTS = 4
BITS = 4_000
"""The most bits of an exact numerator or denominator."""
MP = MPContext()
MP.dps = PLACES
LARGE, SMALL, ZERO, EQUAL = MP.mpf("1e40"), MP.mpf("1e-40"), MP.mpf("1e-75"), MP.mpf("1e-70")
Matrix = tuple[tuple[Any, ...], ...]


@dataclass(slots=True)
class Point:
    """Where symbols stand for numbers. `sign`: of a ±. `outside`: a real function was taken where it is not real."""

    number: int = 0
    sign: int = 1
    outside: bool = False
    seen: dict[str, Any] = field(default_factory=dict)

    def of(self, name: str) -> Any:
        """The number that a symbol stands for: near 1, so that high powers stay within bounds; all above 0 at
        the first point, all below at the second, and each of one sign at the third and the other at the fourth."""
        if name not in self.seen:
            random = Random(zlib.crc32(f"{self.number} {name} stands for".encode()))
            size = MP.mpf(random.getrandbits(400)) / MP.mpf(2) ** 400 * 2 / 25 + MP.mpf(24) / 25
            above = bool(zlib.crc32(name.encode()) & 64)
            self.seen[name] = size if (True, False, above, not above)[self.number] else -size
        return self.seen[name]


def exact(node: Node) -> Fraction | None:
    """The fraction that a number's tree is worth, or None if it is none that arithmetic alone gives."""
    try:
        return _exact(node)
    except (ArithmeticError, ValueError):
        return None


def _exact(node: Node) -> Fraction:
    op, parts = node.op, node.parts
    if op == "num":
        return node.value  # type: ignore[no-any-return]
    if op not in ("add", "neg", "mul", "div", "inverse", "pow", "factorial", "binom", "floor", "ceil", "abs", "root"):
        raise Unreadable("no fraction")
    args = [_exact(part) for part in parts]
    found = _of_fractions(op, args)
    if found.numerator.bit_length() > BITS or found.denominator.bit_length() > BITS:
        raise Unreadable("a number of too many digits")
    return found


def _of_fractions(op: str, args: list[Fraction]) -> Fraction:
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
        return Fraction(_factorial(int(first)))
    if not 0 <= args[1] <= first:
        raise Unreadable("a binomial coefficient out of its range")
    n, k = int(first), int(args[1])
    return Fraction(_factorial(n), _factorial(k) * _factorial(n - k))


def _product(args: list[Fraction]) -> Fraction:
    found = Fraction(1)
    for one in args:
        found *= one
        if found.numerator.bit_length() > BITS or found.denominator.bit_length() > BITS:
            raise Unreadable("a number of too many digits")
    return found


@cache
def _factorial(n: int) -> int:
    found = 1
    for k in range(2, n + 1):
        found *= k
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


def at(node: Node, point: Point) -> Any:
    """The number, or the rows of a matrix, that an expression is worth at a point. Raises Unreadable."""
    try:
        return _at(node, point)
    except (ArithmeticError, ValueError, TypeError, AttributeError) as error:
        raise Unreadable(f"it has no value: {error}") from error


def _at(node: Node, point: Point) -> Any:
    op, parts = node.op, node.parts
    if op in ("factorial", "binom"):
        node = Node("num", value=_exact(node))
        op = "num"
    if op == "num":
        return _bounded(MP.mpf(node.value.numerator) / node.value.denominator)
    if op == "sym":
        return _symbol(node.value, point)
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
    raise Unreadable(f"{op} of what is no whole number")


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
