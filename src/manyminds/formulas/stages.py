"""Where a training run turns from its rising stage into its plateau."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

FEWEST = 20
"""Steps below which no split is looked for."""
EDGE = 0.1
"""Each stage has at least this share of the steps."""
SLOWER = 0.5
"""After the rising stage a curve moves, in its direction, at most this much as fast as in it."""


@dataclass(frozen=True, slots=True)
class Split:
    """The rising stage is the first `rising` steps. Slopes are per step, before and after."""

    rising: int
    entropy: tuple[float, float]
    accuracy: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether the two stages are those of the paper: before the break entropy falls and accuracy rises, after it
        either does so at most half as fast."""
        falling, rising = -np.array(self.entropy), np.array(self.accuracy)
        return all(bool(rate[0] > 0 and rate[1] <= SLOWER * rate[0]) for rate in (falling, rising))


def split(entropy: Floats, accuracy: Floats) -> Split | None:
    """The break at which two joined straight lines fit entropy and accuracy over the steps best, together.

    Both curves are standardised, so that they count alike, and the break is common: the least sum of squares over all
    breaks that leave each stage a tenth of the steps. None for fewer than 20 steps, or a curve that never moves.
    Raises ValueError for curves of unlike lengths. The rule is ours; that there are two stages is arXiv 2508.07534's.
    """
    if entropy.shape != accuracy.shape:
        raise ValueError(f"entropy has {len(entropy)} steps and accuracy {len(accuracy)}")
    count = len(entropy)
    curves = np.stack([entropy, accuracy], 1)
    spread = curves.std(0)
    if count < FEWEST or bool((spread < 1e-12).any()):
        return None
    steps, curves = np.arange(count, dtype=np.float64), (curves - curves.mean(0)) / spread
    edge = max(2, round(EDGE * count))
    fits = [(at, *_joined(steps, curves, at)) for at in range(edge, count - edge + 1)]
    at, _, slopes = min(fits, key=lambda fit: fit[1])
    before, after = slopes * spread
    return Split(at, (float(before[0]), float(after[0])), (float(before[1]), float(after[1])))


def _joined(steps: Floats, curves: Floats, at: int) -> tuple[float, Floats]:
    """Squares left by a line that bends at this step, and its slopes before and after, [2, curves]."""
    basis = np.stack([np.ones_like(steps), steps, (steps - at).clip(min=0)], 1)
    found = np.linalg.lstsq(basis, curves, rcond=None)[0]
    left = float(((curves - basis @ found) ** 2).sum())
    return left, np.stack([found[1], found[1] + found[2]])
