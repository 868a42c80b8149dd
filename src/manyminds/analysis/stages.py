"""The two stages of a run, from its metrics: entropy falls and accuracy rises, then neither does much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from manyminds.analysis.sources import steps_of
from manyminds.formulas.stages import EDGE, FEWEST, Floats, Split, split

LARGEST = 1e300


def stages(run: Path, verifier: str) -> dict[str, Any]:
    """The stages of a run as JSON: "found", and in words why not; else the step of the break, entropy (nats a token)
    and accuracy (of sampled answers) at the beginning, the break and the end, and their slopes a step."""
    key = f"rewards/{verifier}/mean"
    lines = [line for line in steps_of(run) if line.get("kind") == "train"]
    accuracy_of = key if any(key in line for line in lines) else "reward"
    told = {int(line["step"]): line for line in lines if _numbers(line, "step", "entropy", accuracy_of)}
    kept = [told[step] for step in sorted(told)]
    if not lines:
        return {"found": False, "why": "no reinforcement learning in it"}
    if len(kept) < FEWEST:
        return {"found": False, "why": f"{len(kept)} steps with entropy and accuracy; a split takes {FEWEST}"}
    entropy = np.array([float(line["entropy"]) for line in kept])
    accuracy = np.array([float(line[accuracy_of]) for line in kept])
    found = split(np.array([float(line["step"]) for line in kept]), entropy, accuracy)
    if found is None:
        return {"found": False, "why": "entropy or accuracy never changes"}
    step = int(kept[found.rising - 1]["step"])
    data = {
        "step": step,
        "steps": int(kept[-1]["step"]),
        "entropy": _at(entropy, found.rising),
        "accuracy": _at(accuracy, found.rising),
        "entropy_slopes": list(found.entropy),
        "accuracy_slopes": list(found.accuracy),
    }
    if found.holds:
        return {"found": True, "why": "", **data}
    return {"found": False, "why": _why(found, step), **data}


def _why(found: Split, step: int) -> str:
    """Which condition of the split does not hold at the best break."""
    if found.turns:
        return f"the bend at step {step} cannot be told from noise"
    if found.entropy[0] >= 0:
        return f"before the bend at step {step} entropy does not fall"
    if found.accuracy[0] <= 0:
        return f"before the bend at step {step} accuracy does not rise"
    what = "entropy falls" if -found.entropy[1] > -found.entropy[0] / 2 else "accuracy rises"
    return f"after the bend at step {step} {what} more than half as fast as before, so there is no plateau yet"


def _at(values: Floats, break_at: int) -> list[float]:
    """Means over a tenth of the steps: the first, those around the break, the last."""
    width = max(1, round(EDGE * len(values)))
    around = slice(max(0, break_at - width // 2), break_at - width // 2 + width)
    return [float(values[part].mean()) for part in (slice(0, width), around, slice(len(values) - width, None))]


def _numbers(line: dict[str, Any], *keys: str) -> bool:
    """Whether the line has these numbers; a run writes null for what is not finite."""
    values = [line.get(key) for key in keys]
    return all(isinstance(value, int | float) and -LARGEST < value < LARGEST for value in values)
