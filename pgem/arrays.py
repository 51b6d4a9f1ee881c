"""Array aliases, the axis alphabet and the few helpers that every part may use.

Axes are named throughout by one alphabet: `N` rows, `T` steps, `K` categories or states, `D`
coordinates of a vector, `C` cells (combinations of gates), `P` features of a family.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]


def safe_log(values: Floats) -> Floats:
    """Logarithm with log 0 = -inf and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(values)


def group_sum(values: Floats, groups: Integers, n_groups: int) -> Floats:
    """Sum the rows of `values` [C, ...] by group [C] into [n_groups, ...]."""
    if len(groups) == n_groups and np.array_equal(groups, np.arange(n_groups)):
        return values
    total = np.zeros((n_groups, *values.shape[1:]))
    np.add.at(total, groups, values)
    return total


def safe_divide(numerator: Floats, denominator: Floats, empty: Floats | float) -> Floats:
    """Quotient where the denominator is positive, `empty` elsewhere."""
    denominator = np.broadcast_to(denominator, np.shape(numerator))
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), empty)


def log_sum_exp(table: Floats, axis: int | tuple[int, ...]) -> Floats:
    """log sum exp along `axis`, which is kept with size 1; a sum of zeros gives -inf."""
    peak = table.max(axis=axis, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    return safe_log(np.exp(table - peak).sum(axis=axis, keepdims=True)) + peak


def log_gamma(values: Floats) -> Floats:
    """log Γ; SciPy is imported on first use."""
    from scipy.special import gammaln

    return np.asarray(gammaln(values))
