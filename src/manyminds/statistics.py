"""Statistics over seeds: paired two-sided t, Holm's correction. scipy is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose, sqrt
from statistics import fmean, stdev
from typing import Any

from manyminds.errors import UserError

LEVEL = 0.95


def paired(differences: Sequence[float]) -> dict[str, Any]:
    """Mean of per-seed differences with its 95 % t-interval and two-sided p, in the unit of the differences.

        t = mean / (sd / sqrt n),   n - 1 degrees of freedom,   sd with n - 1

    One seed has no interval: `low`, `high` and `p` are None, and `note` says so. Raises UserError without differences.
    """
    n = len(differences)
    if n == 0:
        raise UserError("there is no seed that has both arms; run at least one, and two for an interval")
    mean = fmean(differences)
    found: dict[str, Any] = {"difference": mean, "low": None, "high": None, "p": None}
    if n == 1:
        found["note"] = "one seed: no interval"
    else:
        found["low"], found["high"], found["p"] = _interval(mean, stdev(differences) / sqrt(n), n - 1)
    return {**found, "differences": list(differences)}


def _interval(mean: float, error: float, freedom: int) -> tuple[float, float, float]:
    """(low, high, p) of a mean with this standard error."""
    if isclose(error, 0.0, abs_tol=1e-12):  # every seed says the same: t is infinite, or 0/0 where they all say nothing
        return mean, mean, 1.0 if isclose(mean, 0.0, abs_tol=1e-12) else 0.0
    try:
        from scipy.stats import t
    except ImportError as error_:
        raise UserError("intervals over seeds need scipy; install it with manyminds[demo]") from error_
    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * error
    return mean - half, mean + half, float(2 * t.sf(abs(mean) / error, freedom))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values, in the order given; None (no test was possible) stays None and counts not.

    The i-th smallest of m is multiplied by m - i + 1; adjusted values never fall and never exceed 1.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = highest
    return adjusted


def mean_sd(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation (n - 1; None for one value) of values over seeds."""
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}
