"""The equation of a gamma shape: log a - digamma(a) = log(mean) - mean(log)."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats

SMALLEST_GAP = 5e-11
"""The floor of log(mean) - mean(log), reached near shape 1e10, a relative variance of 1e-10."""


def solve_shape(gap: Floats) -> Floats:
    """The shape a with log a - digamma(a) = gap, the profile likelihood's equation.

    Newton's method in 1 / a, where the left side is nearly a line: half of 1 / a for large shapes,
    1 / a for small ones.
    """
    gap = np.clip(gap, SMALLEST_GAP, 1e8)
    start = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)  # Minka 2002
    inverse = 1 / start
    for _ in range(30):
        value, slope = log_minus_digamma(1 / inverse)
        moved = np.clip(inverse - (value - gap) / slope, inverse / 8, inverse * 8)
        settled = np.abs(moved - inverse) <= 1e-15 * inverse
        inverse = moved
        if settled.all():
            break
    return 1 / inverse


def log_minus_digamma(shape: Floats) -> tuple[Floats, Floats]:
    """log a - digamma(a), and its derivative in 1 / a; by series where it would cancel."""
    from scipy.special import digamma, polygamma

    r = 1 / shape
    small = np.minimum(shape, 100.0)
    series = r / 2 + r**2 / 12 - r**4 / 120
    series_slope = 0.5 + r / 6 - r**3 / 30
    direct = np.log(small) - digamma(small)
    direct_slope = small**2 * polygamma(1, small) - small
    large = shape > 100
    return np.where(large, series, direct), np.where(large, series_slope, direct_slope)
