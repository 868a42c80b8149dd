"""Equations as operations: in the order in which they are done, with exact values."""

from __future__ import annotations

from fractions import Fraction

import pytest

from manyminds.tasks.equations import Operation, operations, program, stepwise


def test_the_order_is_that_of_the_computation() -> None:
    done = operations("X=((13.0+5.0)-(2.0*4.0))")
    assert done == (
        Operation(Fraction(13), "+", Fraction(5), Fraction(18)),
        Operation(Fraction(2), "*", Fraction(4), Fraction(8)),
        Operation(0, "-", 1, Fraction(10)),
    )
    assert stepwise(done) == "13 + 5 = 18\n2 * 4 = 8\n18 - 8 = 10"
    assert program(done) == "t1 = 13 + 5\nt2 = 2 * 4\nt3 = t1 - t2\nanswer = t3"


def test_the_program_computes_the_value() -> None:
    done = operations("( ( 7.0 / 3.0 ) + 0.1 )")
    names: dict[str, float] = {}
    exec(program(done), names)  # straight-line arithmetic that was made here
    assert names["answer"] == pytest.approx(float(done[-1].value))
    assert done[-1].value == Fraction(7, 3) + Fraction(1, 10)
    assert stepwise(done) == "7 / 3 = 7/3\n7/3 + 0.1 = 73/30"


@pytest.mark.parametrize(
    "text",
    ["", "42", "X=", "1/0", "1+", "2**3", "f(1)+2", "__import__('os')", "1+x", "(" * 400 + "1", "True+1", "1j+1"],
)
def test_what_is_no_equation_has_no_operations(text: str) -> None:
    assert operations(text) == ()
