"""An equation of a data set, such as `X=((13.0+5.0)-10.0)`, as the operations that compute it.

Python's own parser reads it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from manyminds.rewards.number_answer import number_text

Operand = Fraction | int
"""A number, or the place of an earlier operation (0, 1, …) whose result is meant."""

SIGNS: Mapping[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """`left sign right = value`."""

    left: Operand
    sign: str
    right: Operand
    value: Fraction


def operations(equation: str) -> tuple[Operation, ...]:
    """The operations in the order in which they are done; nothing if it is no equation of + - * / over numbers."""
    expression = equation.rpartition("=")[2].strip()
    done: list[Operation] = []
    try:
        _walk(ast.parse(expression, mode="eval").body, done)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return ()
    return tuple(done)


def _walk(node: ast.expr, done: list[Operation]) -> Operand:
    """The operand that `node` stands for, once what is below it is in `done`. ValueError for what is no arithmetic."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if not isinstance(node, ast.BinOp) or type(node.op) not in SIGNS:
        raise ValueError("not arithmetic")
    left, right = _walk(node.left, done), _walk(node.right, done)
    sign, compute = SIGNS[type(node.op)]
    done.append(Operation(left, sign, right, compute(_value(left, done), _value(right, done))))
    return len(done) - 1


def _value(operand: Operand, done: list[Operation]) -> Fraction:
    return operand if isinstance(operand, Fraction) else done[operand].value


def stepwise(done: tuple[Operation, ...]) -> str:
    """One operation per line with its result: `13 + 5 = 18`, then `18 - 10 = 8`."""
    known = list(done)
    return "\n".join(
        f"{number_text(_value(one.left, known))} {one.sign} {number_text(_value(one.right, known))}"
        f" = {number_text(one.value)}"
        for one in done
    )


def program(done: tuple[Operation, ...]) -> str:
    """Straight-line Python: `t1 = 13 + 5`, `t2 = t1 - 10`, `answer = t2`."""

    def name(operand: Operand) -> str:
        return number_text(operand) if isinstance(operand, Fraction) else f"t{operand + 1}"

    lines = [f"t{i} = {name(one.left)} {one.sign} {name(one.right)}" for i, one in enumerate(done, start=1)]
    return "\n".join([*lines, f"answer = t{len(done)}"])
