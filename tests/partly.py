"""A verifier that finds about half of a random model's answers right, so that every method has something to learn."""

from __future__ import annotations

from manyminds.rewards import reward


@reward(trusted=True)
def even(response: str) -> float:
    """Whether the letters' numbers add up to an even one."""
    return float(sum(map(ord, response)) % 2 == 0)
