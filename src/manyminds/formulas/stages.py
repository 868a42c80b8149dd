"""Where a training run turns from its rising stage into its plateau, and whether that is more than noise."""

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
CLEAR = 3.0
"""Standard errors by which slopes before the bend, and their change at it, differ from 0. The bend is sought where it
fits best, so that noise has more than one chance: 2, for a bend at a known place, would be too few."""
TAKEN_OUT = 5.0
"""A line with a sought bend follows noise that remembers: its lag-1 autocorrelation is too low by about
(1 + rho) * TAKEN_OUT / steps, found by simulation (docs/analyse.md)."""


@dataclass(frozen=True, slots=True)
class Split:
    """The rising stage is the first `rising` steps. Slopes are per step, before and after.

    `clear`: of the slopes before the bend and their changes at it, the least in standard errors; negative where one is
    not in the direction of a turn from rising to plateau.
    """

    rising: int
    entropy: tuple[float, float]
    accuracy: tuple[float, float]
    clear: float

    @property
    def turns(self) -> bool:
        """Whether the two stages are those of the paper: before the break entropy falls and accuracy rises, after it
        either does so at most half as fast."""
        falling, rising = -np.array(self.entropy), np.array(self.accuracy)
        return all(bool(rate[0] > 0 and rate[1] <= SLOWER * rate[0]) for rate in (falling, rising))

    @property
    def holds(self) -> bool:
        """Whether it is such a turn, and one that noise does not make."""
        return self.turns and self.clear >= CLEAR


def split(steps: Floats, entropy: Floats, accuracy: Floats) -> Split | None:
    """The break at which two joined straight lines fit entropy and accuracy over the steps best, together.

    Both curves are standardised, so that they count alike, and the break is common: the least sum of squares over all
    breaks that leave each stage a tenth of the steps. Standard errors allow for noise that remembers the step before:
    those of least squares times sqrt((1 + rho) / (1 - rho)), rho being the lag-1 autocorrelation of what the lines
    leave. None for fewer than 20 steps, or a curve that never moves. `steps` rise. Raises ValueError for curves of
    unlike lengths. The rule is ours; that there are two stages is arXiv 2508.07534's.
    """
    if not len(steps) == len(entropy) == len(accuracy):
        raise ValueError(f"there are {len(steps)} steps, entropy has {len(entropy)} and accuracy {len(accuracy)}")
    count = len(steps)
    curves = np.stack([entropy, accuracy], 1)
    spread = curves.std(0)
    if count < FEWEST or bool((spread < 1e-12).any()):
        return None
    span = float(steps[-1] - steps[0])
    places, curves = (steps - steps[0]) / span, (curves - curves.mean(0)) / spread
    edge = max(2, round(EDGE * count))
    fits = [(at, *_joined(places, curves, at)) for at in range(edge, count - edge + 1)]
    at, _, found = min(fits, key=lambda fit: fit[1])
    before, after = found[1] * spread / span, (found[1] + found[2]) * spread / span
    clear = _clear(_bent(places, at), curves, found)
    return Split(at, (float(before[0]), float(after[0])), (float(before[1]), float(after[1])), clear)


def _bent(places: Floats, at: int) -> Floats:
    """What a line that bends at this step is added from: a constant, a slope, and its change, [steps, 3]."""
    return np.stack([np.ones_like(places), places, (places - places[at]).clip(min=0)], 1)


def _joined(places: Floats, curves: Floats, at: int) -> tuple[float, Floats]:
    """Squares left by a line that bends at this step; its constant, slope and change of slope, [3, curves]."""
    basis = _bent(places, at)
    found: Floats = np.linalg.lstsq(basis, curves, rcond=None)[0].astype(np.float64)
    return float(((curves - basis @ found) ** 2).sum()), found


def _clear(basis: Floats, curves: Floats, found: Floats) -> float:
    """`Split.clear` of entropy and accuracy, the two curves."""
    count, rest = len(basis), curves - basis @ found
    squares = np.maximum((rest**2).sum(0), 1e-24)  # lines that fit to rounding are as clear as can be
    rho = (rest[1:] * rest[:-1]).sum(0) / squares
    rho = (rho + TAKEN_OUT * (1 + rho) / count).clip(0.0, 0.99)
    variance = squares / (count - 4) * (1 + rho) / (1 - rho)  # three coefficients, and where the bend is
    errors = np.sqrt(np.diag(np.linalg.pinv(basis.T @ basis))[1:, None] * variance)
    directions = np.array([[-1.0, 1.0], [1.0, -1.0]])  # entropy falls and accuracy rises; the change is the other way
    return float((directions * found[1:] / errors).min())
