"""A reward function as TRL's GRPOTrainer takes it; nothing in it knows of manyminds.

PYTHONPATH=examples manyminds check examples/rewards.yaml
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def short_enough(
    completions: list[str], log_metric: Callable[[str, float], None] | None = None, longest: int = 200, **kwargs: Any
) -> list[float]:
    """1 for a completion of up to `longest` characters, then less, down to 0 for one of twice that length."""
    if log_metric:
        log_metric("too_long", sum(len(one) > longest for one in completions) / len(completions))
    return [min(1.0, max(0.0, 2 - len(one) / longest)) for one in completions]
