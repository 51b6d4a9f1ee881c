"""Bessel functions of directions on a sphere: normalising constants and mean lengths, in logs.

With v = p/2 - 1 for directions in p dimensions, A(k) = v-dependent constants + log I_v(k) - v log k
and the mean length is I_{v+1}(k) / I_v(k) (Mardia & Jupp 2000, section 9.3.2).
"""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats
from pgem.families._root import increasing_root

MOST = 1e8
"""The largest concentration: values that are all equal have no maximum."""
LARGE = 1e6


def log_partition(concentration: Floats, dimension: int) -> Floats:
    """Log of the integral of exp(k x·μ) over the unit sphere in `dimension` dimensions."""
    from scipy.special import gammaln, ive

    order, k = dimension / 2 - 1, np.asarray(concentration, dtype=float)
    safe = np.clip(k, 1e-300, LARGE)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        direct = np.log(ive(order, safe)) + safe - order * np.log(safe / 2)
    series = k**2 / (4 * (order + 1)) - gammaln(order + 1)  # two terms, where k² << v
    above = np.maximum(k, LARGE)  # two terms of the asymptotic series
    distant = above - 0.5 * np.log(2 * np.pi * above) - (4 * order**2 - 1) / (8 * above)
    distant = distant - order * np.log(above / 2)
    small = (k < 1e-4 * np.sqrt(order + 1)) | ~np.isfinite(direct)
    found = np.where(small, series, np.where(k > LARGE, distant, direct))
    return np.asarray(found + np.log(2) + dimension / 2 * np.log(np.pi))


def mean_length(concentration: Floats, dimension: int) -> Floats:
    """Length of the mean direction, from 0 to below 1."""
    from scipy.special import ive

    order, k = dimension / 2 - 1, np.asarray(concentration, dtype=float)
    safe = np.clip(k, 1e-300, LARGE)
    with np.errstate(divide="ignore", invalid="ignore"):
        direct = ive(order + 1, safe) / ive(order, safe)
    small = (k < 1e-4 * np.sqrt(order + 1)) | ~np.isfinite(direct)
    distant = 1 - (dimension - 1) / np.maximum(2 * k, 1e-300)
    return np.where(small, k / dimension, np.where(k > LARGE, distant, direct))


def concentration_of(length: Floats, dimension: int) -> Floats:
    """The concentration whose mean length is `length`; 0 where that is negative."""
    target = np.clip(length, 0.0, 1.0)
    start = target * (dimension - target**2) / np.maximum(1 - target**2, 1e-12)  # Banerjee 2005

    def equation(k: Floats) -> tuple[Floats, Floats]:
        reached = mean_length(k, dimension)
        inverse = (dimension - 1) / np.maximum(k, 1e-300)
        slope = np.where(k < 1e-3, 1 / dimension, 1 - reached**2 - reached * inverse)
        return reached - target, slope

    return np.where(target > 0, increasing_root(equation, start, 0.0, MOST), 0.0)
