"""A reward of one's own, in a file outside the package.

PYTHONPATH=examples manyminds check examples/custom.yaml
"""

from __future__ import annotations

import re

from manyminds.rewards import reward

EQUATION = re.compile(r"(\d{1,9})\s*([-+*/])\s*(\d{1,9})\s*=\s*(-?\d{1,9})(?!\d)")


@reward(weight=0.1)
def true_equations(response: str) -> tuple[float | None, dict[str, float]]:
    """The share of the equations written in the response that are true; not applicable where there is none."""
    truths = [holds(*equation) for equation in EQUATION.findall(response)]
    share = sum(truths) / len(truths) if truths else None
    return share, {"equations": len(truths)}


def holds(left: str, sign: str, right: str, result: str) -> bool:
    """Whether `left sign right = result`, in whole numbers."""
    a, b, c = int(left), int(right), int(result)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b != 0 and a == b * c}[sign]
