"""Gamma functions as conjugate posteriors need them: differences without cancellation."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, log_gamma

LARGE = 1e3
"""From here on, log Γ is evaluated by its series, whose large terms are subtracted by hand."""


def digamma(values: Floats) -> Floats:
    """ψ, the derivative of log Γ; SciPy is imported on first use."""
    from scipy.special import digamma as function

    return np.asarray(function(values))


def log_gamma_rise(start: Floats, step: Floats) -> Floats:
    """log Γ(start + step) - log Γ(start) for step >= 0, to full precision also where start is huge.

    Stirling: log Γ(z) = (z - 1/2) log z - z + log(2π) / 2 + 1 / 12 z - 1 / 360 z³ + …
    """
    start, step = np.broadcast_arrays(np.asarray(start, float), np.asarray(step, float))
    large = start > LARGE
    if not large.any():
        return np.asarray(log_gamma(start + step) - log_gamma(start))
    safe = np.where(large, start, LARGE)
    end = safe + step
    leading = (end - 0.5) * np.log1p(step / safe) + step * np.log(safe) - step
    series = leading + _correction(end) - _correction(safe)
    small = np.where(large, 1.0, start)
    return np.asarray(np.where(large, series, log_gamma(small + step) - log_gamma(small)))


def _correction(z: Floats) -> Floats:
    return np.asarray(1 / (12 * z) - 1 / (360 * z**3))
