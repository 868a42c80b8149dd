"""What a worker process is given to do: it may take any time, and is ended if it takes too long."""

from __future__ import annotations

import math_verify  # noqa: F401  here, so that a worker imports it before its first deadline begins

from manyminds.maths.equivalence import matches


def verdict(gold: str, response: str, strict: bool) -> bool | None:
    """`manyminds.maths.equivalence.matches`."""
    return matches(gold, response, strict)
