"""Array aliases, the axis alphabet and the few helpers that every part may use.

Axes are named throughout by one alphabet: `N` rows, `T` steps, `K` categories or states, `D`
coordinates of a vector, `C` cells (combinations of gates), `P` features of a family.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]


def safe_log(values: Floats) -> Floats:
    """Logarithm with log 0 = -inf and no warning."""
    if np.count_nonzero(values) == np.size(values):
        return np.log(values)
    with np.errstate(divide="ignore"):
        return np.log(values)


def all_finite(values: Floats) -> bool:
    """Whether no entry is infinite or NaN."""
    return bool(np.count_nonzero(np.isfinite(values)) == values.size)


def group_sum(values: Floats, groups: Integers, n_groups: int) -> Floats:
    """Sum the rows of `values` [C, ...] by group [C] into [n_groups, ...]."""
    if len(groups) == n_groups and np.array_equal(groups, np.arange(n_groups)):
        return values
    total = np.zeros((n_groups, *values.shape[1:]))
    np.add.at(total, groups, values)
    return total


def safe_divide(numerator: Floats, denominator: Floats, empty: Floats | float) -> Floats:
    """Quotient where the denominator is positive, `empty` elsewhere."""
    positive = denominator > 0
    if np.count_nonzero(positive) == np.size(denominator):
        return np.asarray(numerator / denominator)
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), empty)


def log_sum_exp(table: Floats, axis: int | tuple[int, ...]) -> Floats:
    """log sum exp along `axis`, which is kept with size 1; a sum of zeros gives -inf."""
    peak = _peak(table, axis)
    return safe_log(np.exp(table - peak).sum(axis=axis, keepdims=True)) + peak


def log_softmax(table: Floats, axis: int) -> tuple[Floats, Floats]:
    """log sum exp along `axis`, which is kept with size 1, and the shares in it (0 of nothing)."""
    peak = _peak(table, axis)
    shares = table - peak
    np.exp(shares, out=shares)
    total = shares.sum(axis=axis, keepdims=True)
    if (total > 0).all():
        shares /= total
        return np.log(total) + peak, shares
    shares /= np.where(total > 0, total, 1.0)
    return safe_log(total) + peak, shares


def _peak(table: Floats, axis: int | tuple[int, ...]) -> Floats:
    """The maximum along `axis`, 0 where it is not finite."""
    if axis == 1 == table.ndim - 1 and table.size and table.flags.c_contiguous:
        # short rows: the same, three times as fast
        peak = np.maximum.reduceat(table.ravel(), np.arange(0, table.size, table.shape[1]))[:, None]
    else:
        peak = table.max(axis=axis, keepdims=True)
    finite = np.isfinite(peak)
    return peak if finite.all() else np.where(finite, peak, 0.0)


def log_gamma(values: Floats) -> Floats:
    """log Γ; SciPy is imported on first use."""
    from scipy.special import gammaln

    return np.asarray(gammaln(values))


def missing(values: Any) -> Mask:
    """Which entries of a column are null, NaN or NaT."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype.kind != "O":
        return np.zeros(values.shape, dtype=bool)
    flat = [_is_null(value) for value in values.reshape(-1)]
    return np.array(flat, dtype=bool).reshape(values.shape)


def _is_null(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return value is None
    differs = value != value  # NaN and NaT differ from themselves; pandas' NA neither does nor not
    return bool(differs) if isinstance(differs, bool | np.bool_) else np.ndim(differs) == 0


def factorise(values: Any) -> tuple[Integers, list[Any]]:
    """Codes into the sorted distinct values, -1 where missing, and these values."""
    gone = missing(values)
    codes = np.full(len(values), -1)
    if values.dtype.kind != "O":
        levels, codes[~gone] = np.unique(values[~gone], return_inverse=True)
        return codes, levels.tolist()
    present = values[~gone].tolist()
    distinct = list(dict.fromkeys(present))
    try:
        distinct.sort()
    except TypeError:
        distinct.sort(key=str)
    place = {value: k for k, value in enumerate(distinct)}
    codes[~gone] = [place[value] for value in present]
    return codes, distinct


def square_root(matrices: Floats) -> Floats:
    """R [..., d, d] with R Rᵀ the given covariances, which may be singular."""
    deviation = np.sqrt(np.maximum(np.diagonal(matrices, axis1=-2, axis2=-1), 0.0))
    if matrices.shape[-1] == 1:
        return deviation[..., None]
    outer = deviation[..., :, None] * deviation[..., None, :]
    scaled = safe_divide(matrices, outer, 0.0)  # correlations: small variances keep their digits
    finite = np.isfinite(scaled).all(axis=(-1, -2), keepdims=True)
    values, vectors = np.linalg.eigh(np.where(finite, scaled, np.eye(matrices.shape[-1])))
    least = 4 * np.finfo(float).eps * matrices.shape[-1]
    root = vectors * np.sqrt(np.where(values > least, values, 0.0))[..., None, :]
    return np.asarray(np.where(finite, deviation[..., :, None] * root, np.nan))
