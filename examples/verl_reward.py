"""A reward function as verl takes it (`custom_reward_function.path`); nothing in it knows of manyminds.

PYTHONPATH=examples manyminds check examples/rewards.yaml
"""

from __future__ import annotations

import re
from typing import Any


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None
) -> dict[str, float]:
    """1 if the last number of the response is the gold answer, with or without the marker that should stand before."""
    found = re.findall(r"-?\d+", solution_str)
    return {"score": float(bool(found) and found[-1] == ground_truth), "marked": float("####" in solution_str)}
