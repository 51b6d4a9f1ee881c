"""The multivariate gamma function, and the equations of degrees of freedom."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, log_gamma
from pgem.families._gamma_functions import digamma
from pgem.families._shape import log_minus_digamma

LARGEST_DF = 1e9
"""Beyond, matrices differ from their mean by less than 1e-4 of it: all equal."""
SMALLEST_GAP = 1e-10


def log_multigamma(a: Floats, size: int) -> Floats:
    r"""log Γ_D(a) = D (D - 1) / 4 log π + Σ_{i<D} log Γ(a - i / 2); infinite up to (D - 1) / 2."""
    inside = a > (size - 1) / 2
    safe = np.where(inside, a, size)
    total = sum(log_gamma(safe - i / 2) for i in range(size))
    return np.where(inside, size * (size - 1) / 4 * np.log(np.pi) + total, np.inf)


def multidigamma(a: Floats, size: int) -> Floats:
    """The derivative of `log_multigamma`: Σ_{i<D} ψ(a - i / 2)."""
    return np.asarray(sum(digamma(a - i / 2) for i in range(size)))


def solve_df(gap: Floats, size: int) -> Floats:
    """Degrees of freedom n with D log(n / 2) - Σ_{i<D} ψ((n - i) / 2) = gap.

    The profile likelihood's equation, gap = log |mean X| - mean log |X|.  The logarithm of the left
    side is nearly a line of slope -1 in that of n - D + 1, so Newton's method needs few steps.
    """
    gap = np.maximum(gap, SMALLEST_GAP)
    rest = -np.log(gap)
    target = np.log(gap)
    for _ in range(60):
        value, slope = _log_gap(rest, size)
        step = np.clip((target - value) / slope, -5.0, 5.0)
        rest = np.minimum(rest + step, np.log(LARGEST_DF))
        if not (np.abs(step) > 1e-14).any():
            break
    return np.asarray(size - 1 + np.exp(rest))


def _log_gap(rest: Floats, size: int) -> tuple[Floats, Floats]:
    """The logarithm of the left side and its slope in log(n - D + 1)."""
    n = size - 1 + np.exp(rest)
    value, slope = np.zeros_like(n), np.zeros_like(n)
    for i in range(size):
        inner = (n - i) / 2
        part, by_inverse = log_minus_digamma(inner)
        # log(n / 2) = log((n - i) / 2) - log(1 - i / n)
        value += part - np.log1p(-i / n)
        slope += -by_inverse / inner**2 / 2 - i / n / (n - i)
    return np.log(value), slope * np.exp(rest) / value


def solve_multidigamma(target: Floats, size: int) -> Floats:
    """Degrees of freedom n with Σ_{i<D} ψ((n - i) / 2) = target.

    In log(n - D + 1) the left side rises and is concave, so Newton's method converges.
    """
    from scipy.special import polygamma

    rest = np.log(2) + np.clip(target / size, -20.0, 30.0)
    for _ in range(100):
        n = size - 1 + np.exp(rest)
        slope = sum(polygamma(1, (n - i) / 2) for i in range(size)) * np.exp(rest) / 2
        step = np.clip((target - multidigamma(n / 2, size)) / slope, -5.0, 5.0)
        rest = np.minimum(rest + step, np.log(LARGEST_DF))
        if not (np.abs(step) > 1e-14).any():
            break
    return np.asarray(size - 1 + np.exp(rest))
