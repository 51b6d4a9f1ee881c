"""Gaussian densities and moments, over all cells at once or about each cell's own mean.

About a common centre, the log-densities of all cells are one matrix product with the features
`(1, z, z zᵀ)`, and so are their moments.  That loses the digits by which the largest of the summed
terms exceeds the result; these terms are bounded beforehand, and where the bound is too large (a
narrow component, values far from all means), deviations are taken from each cell's mean before they
are squared, so that neither a large offset of the data nor a narrow component costs digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.families._parts import value_range
from pgem.families._tiles import PRODUCTS, SQUARES, TileForm

LOG_2PI = float(np.log(2 * np.pi))
NO_DIGITS = 1e-6
"""An expected square this far below zero, per row, is rounding that has eaten all digits."""
LARGEST_TERM = 3e5
"""Bound on the terms of a log-density about the common centre: their rounding stays below 1e-10."""
WIDEST = 24
"""Coordinates up to which full covariances are evaluated about a common centre."""
WIDEST_TILED = 128
"""The same where rows are taken a few at a time."""
Span = tuple[Floats, Floats]
"""Least and greatest value of each coordinate."""
BLOCK = 1 << 18
"""Features that are made at a time, so that they stay in the processor's cache."""


# --- independent coordinates --------------------------------------------------------------------


def coordinate_log_density(
    x: Floats, observed: Mask | None, mean: Floats, var: Floats, span: Span | None = None
) -> Floats:
    """Independent Gaussian coordinates: x [N, D], mean and var [C, D] -> [N, C].

    Args:
        x: rows.
        observed: which coordinates are there [N, D]; None if all are.
        mean: one row per cell.
        var: one row per cell.
        span: range of complete rows, if it is known.
    """
    gone = _gaps(observed)
    centre = _common_centre(x, mean, 1 / var, span) if gone is None else None
    if centre is not None:
        return _evaluate(x, centre, *_coordinate_coefficients(mean, var, centre))
    constant = LOG_2PI + np.log(var)
    out = np.empty((len(mean), len(x)))
    for rows in _blocks(x):
        shown = None if gone is None else gone[rows]
        filled = x[rows] if shown is None else np.where(shown, x[rows], 0.0)
        for cell in range(len(mean)):
            squares, level = (filled - mean[cell]) ** 2, constant[cell].sum()
            if shown is not None:
                squares, level = squares * shown, shown @ constant[cell]
            out[cell, rows] = squares @ (1 / var[cell]) + level
    out *= -0.5
    return out.T


def coordinate_form(
    x: Floats, mean: Floats, var: Floats, span: Span | None = None
) -> TileForm | None:
    """Complete rows evaluated a few at a time; None where that would cost digits."""
    centre = _common_centre(x, mean, 1 / var, span, tiled=True)
    if centre is None:
        return None
    shift, size = mean - centre, x.shape[1]

    def settle(count: Floats, total: Floats) -> tuple[Floats, Floats, Floats]:
        return _coordinate_settled(count[:, None], total, shift, size)

    level, theta = _coordinate_coefficients(mean, var, centre)
    return TileForm(SQUARES, x.T, centre, level, theta, settle)


def _coordinate_coefficients(mean: Floats, var: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """Constants [C], and coefficients of z and z² [C, 2 D]."""
    shift = mean - centre
    level = -0.5 * (LOG_2PI + np.log(var) + shift**2 / var).sum(axis=1)
    return level, np.concatenate([shift / var, -0.5 / var], axis=1)


def _coordinate_settled(
    count: Floats, total: Floats, shift: Floats, size: int
) -> tuple[Floats, Floats, Floats]:
    """Moments about the cells from sums of z and z² about the centre."""
    first, second = total[:, :size], total[:, size:]
    return (
        np.repeat(count, size, axis=1),
        first - count * shift,
        recentre(first, second, count, shift),
    )


def _blocks(x: Floats) -> Iterator[slice]:
    """Rows in runs of about `BLOCK` numbers."""
    size = max(64, BLOCK // max(1, x.shape[1]))
    return (slice(first, min(first + size, len(x))) for first in range(0, len(x), size))


def _gaps(observed: Mask | None) -> Mask | None:
    """Which coordinates are there, or None if all are."""
    return None if observed is None or observed.all() else observed


def coordinate_moments(
    x: Floats,
    observed: Mask | None,
    weights: Floats,
    origin: Floats,
    var: Floats,
    span: Span | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Count, first and second moment about `origin` [C, D], per coordinate: [C, D] each.

    `var` [C, D] are the cells' current variances, which tell what digits are worth; the other
    arguments are those of `coordinate_log_density`.
    """
    size, observed = x.shape[1], _gaps(observed)
    centre = _common_centre(x, origin, 1 / var, span) if observed is None else None
    if centre is not None:
        total = _accumulate(x, centre, weights, 1 + 2 * size)
        return _coordinate_settled(total[:, :1], total[:, 1:], origin - centre, size)
    count, first, second = np.zeros((3, *origin.shape))
    for rows in _blocks(x):
        shown = None if observed is None else observed[rows]
        filled = x[rows] if shown is None else np.where(shown, x[rows], 0.0)
        here = np.ones(filled.shape) if shown is None else shown.astype(float)
        count += weights[rows].T @ here
        for cell in range(len(origin)):
            deviation = filled - origin[cell]
            if shown is not None:
                deviation *= shown
            first[cell] += weights[rows, cell] @ deviation
            second[cell] += weights[rows, cell] @ deviation**2
    return count, first, second


# --- full covariances ---------------------------------------------------------------------------


def full_log_density(x: Floats, mean: Floats, cov: Floats, span: Span | None = None) -> Floats:
    """Multivariate Gaussian: x [N, D], mean [C, D], cov [C, D, D] -> [N, C].

    `span` is the range of the rows, if it is known.
    """
    if are_diagonal(cov):  # fewer features do
        return coordinate_log_density(x, None, mean, np.einsum("cdd->cd", cov), span)
    whiten, level = _whiten(cov)
    precision = np.swapaxes(whiten, 1, 2) @ whiten
    centre = _common_centre(x, mean, precision, span)
    if centre is not None:
        return _evaluate(x, centre, *_full_coefficients(mean, precision, level, centre))
    out = np.empty((len(mean), len(x)))
    for rows in _blocks(x):
        for cell in range(len(mean)):
            z = (x[rows] - mean[cell]) @ whiten[cell].T
            out[cell, rows] = np.einsum("nd,nd->n", z, z) + level[cell]
    out *= -0.5
    return out.T


def full_form(x: Floats, mean: Floats, cov: Floats, span: Span | None = None) -> TileForm | None:
    """Rows evaluated a few at a time; None where that would cost digits."""
    whiten, level = _whiten(cov)
    precision = np.swapaxes(whiten, 1, 2) @ whiten
    centre = _common_centre(x, mean, precision, span, tiled=True)
    if centre is None:
        return None
    shift, size = mean - centre, x.shape[1]

    def settle(count: Floats, total: Floats) -> tuple[Floats, Floats, Floats]:
        return _full_settled(count, total, shift, size)

    level, theta = _full_coefficients(mean, precision, level, centre)
    return TileForm(PRODUCTS, x.T, centre, level, theta, settle)


def held_form(x: Floats, mean: Floats, cov: Floats, span: Span | None = None) -> TileForm | None:
    """The same for diagonal matrices that are not learned: no products of coordinates."""
    form = coordinate_form(x, mean, np.einsum("cdd->cd", cov), span)
    if form is None:
        return None

    def settle(count: Floats, total: Floats) -> tuple[Floats, ...]:
        _, first, squares = form.settle(count, total)
        return count, first, squares[:, :, None] * np.eye(x.shape[1])

    return replace(form, settle=settle)


def are_diagonal(cov: Floats) -> bool:
    """Whether all matrices [C, D, D] are diagonal, with positive entries."""
    var = np.einsum("cdd->cd", cov)
    return bool(np.count_nonzero(cov) == var.size and (var > 0).all())


def _full_coefficients(
    mean: Floats, precision: Floats, level: Floats, centre: Floats
) -> tuple[Floats, Floats]:
    """Constants [C], and coefficients of z and the products [C, D + D (D + 1) / 2]."""
    shift = mean - centre
    linear = np.einsum("cij,cj->ci", precision, shift)
    level = -0.5 * (level + np.einsum("ci,ci->c", shift, linear))
    return level, np.concatenate([linear, -_packed(precision)], axis=1)


def _full_settled(
    count: Floats, total: Floats, shift: Floats, size: int
) -> tuple[Floats, Floats, Floats]:
    """Moments about the cells from sums of z and the products about the centre."""
    first = total[:, :size]
    second = recentre_full(first, _unpacked(total[:, size:], size), count, shift)
    return count, first - count[:, None] * shift, second


def full_expected_log_density(count: Floats, outer: Floats, cov: Floats) -> float:
    """Σ over cells of expected log-densities from outer products about the mean [C, D, D].

    -inf where a covariance is singular, or so nearly that a trace comes out below zero.
    """
    sign, logdet = np.linalg.slogdet(2 * np.pi * cov)
    if not (sign > 0).all():
        return -np.inf
    try:
        traces = np.einsum("cii->c", np.linalg.solve(cov, outer))
    except np.linalg.LinAlgError:
        return -np.inf
    if (traces < -NO_DIGITS * (1 + count)).any():
        return -np.inf
    return float(-0.5 * (count * logdet + traces).sum())


def full_moments(
    x: Floats, weights: Floats, origin: Floats, cov: Floats, span: Span | None = None
) -> tuple[Floats, Floats, Floats]:
    """Count [C], first [C, D] and second [C, D, D] moment about `origin` [C, D].

    `cov` [C, D, D] are the cells' current covariances, which tell what digits are worth; `span` is
    the range of the rows, if it is known.
    """
    cells, size = origin.shape
    centre = _common_centre(x, origin, _precision(cov), span)
    if centre is not None:
        total = _accumulate(x, centre, weights, 1 + size + size * (size + 1) // 2)
        return _full_settled(total[:, 0], total[:, 1:], origin - centre, size)
    count = weights.sum(axis=0)
    first, second = np.zeros((cells, size)), np.zeros((cells, size, size))
    for rows in _blocks(x):
        for cell in range(cells):
            deviation = x[rows] - origin[cell]
            weighted = deviation * weights[rows, cell, None]
            first[cell] += weighted.sum(axis=0)
            second[cell] += weighted.T @ deviation
    return count, first, second


def _whiten(cov: Floats) -> tuple[Floats, Floats]:
    """Inverse Cholesky factors, and log |2π cov|."""
    lower = np.linalg.cholesky(cov)
    logdet = 2 * np.log(np.einsum("cdd->cd", lower)).sum(axis=1)
    return np.linalg.inv(lower), logdet + cov.shape[1] * LOG_2PI


def log_determinant(cov: Floats) -> Floats:
    """log |V| of positive definite matrices [C, D, D] -> [C].

    Raises:
        LinAlgError: one is not positive definite.
    """
    return np.asarray(2 * np.log(np.einsum("cdd->cd", np.linalg.cholesky(cov))).sum(axis=1))


def _precision(cov: Floats) -> Floats:
    """Inverses, or NaN if one does not exist."""
    try:
        return np.asarray(np.linalg.inv(cov), dtype=float)
    except np.linalg.LinAlgError:
        return np.full_like(cov, np.nan)


@lru_cache(maxsize=64)
def _triangle(size: int) -> tuple[Integers, Integers, Floats]:
    """Rows and columns of the upper triangle, and ½ where they are the same, 1 elsewhere."""
    rows, columns = np.triu_indices(size)
    return rows, columns, np.where(rows == columns, 0.5, 1.0)


def _packed(matrices: Floats) -> Floats:
    """Coefficients of z_i z_j, i ≤ j, in ½ zᵀ M z, row by row of the upper triangle."""
    rows, columns, halves = _triangle(matrices.shape[1])
    return matrices[:, rows, columns] * halves


def _unpacked(upper: Floats, size: int) -> Floats:
    """Symmetric matrices from the upper triangle, row by row."""
    rows, columns, _ = _triangle(size)
    out = np.empty((len(upper), size, size))
    out[:, rows, columns] = out[:, columns, rows] = upper
    return out


# --- about a common centre ----------------------------------------------------------------------


def _common_centre(
    x: Floats,
    mean: Floats,
    precision: Floats,
    span: Span | None = None,
    *,
    tiled: bool = False,
) -> Floats | None:
    """The middle of the rows' range, if it pays and no term of a log-density is too large about it.

    In a row z from the centre these are ½ |z|ᵀ|P||z|, |z|·|P d| and ½ |dᵀ P d| for a cell at d,
    with precision P [C, D, D], or [C, D] if diagonal.
    """
    size = x.shape[1]
    if tiled:
        pays = precision.ndim == 2 or size <= WIDEST_TILED
    else:
        pays = len(mean) > 2 and size <= WIDEST if precision.ndim == 3 else len(mean) * size >= 4
    if len(x) == 0 or not pays:
        return None
    low, high = span or value_range(x)
    centre, radius = (low + high) / 2, (high - low) / 2
    shift = mean - centre
    if precision.ndim == 3:
        linear = np.einsum("cij,cj->ci", precision, shift)
        square = np.abs(precision) @ radius
    else:
        linear, square = precision * shift, precision * radius
    terms = (0.5 * square + np.abs(linear)) @ radius + 0.5 * np.abs(shift * linear).sum(axis=1)
    return centre if terms.max() <= LARGEST_TERM else None


def _features(x: Floats, centre: Floats, n_features: int) -> Iterator[tuple[slice, Floats]]:
    """(1, z) and z² or z zᵀ (upper triangle, row by row) of some rows at a time: [P, rows]."""
    n_rows, size = x.shape
    block = max(64, BLOCK // n_features)
    buffer = np.empty((n_features, min(block, n_rows)))
    for first in range(0, n_rows, block):
        rows = slice(first, min(first + block, n_rows))
        out = buffer[:, : rows.stop - first]
        out[0] = 1.0
        z = np.subtract(x[rows].T, centre[:, None], out=out[1 : 1 + size])
        if n_features == 1 + 2 * size:
            np.square(z, out=out[1 + size :])
        else:
            start = 1 + size
            for i in range(size):
                np.multiply(z[i], z[i:], out=out[start : start + size - i])
                start += size - i
        yield rows, out


def _evaluate(x: Floats, centre: Floats, level: Floats, theta: Floats) -> Floats:
    """Features times coefficients, constants [C] and others [C, P - 1] -> [N, C]."""
    coefficients = np.concatenate([level[:, None], theta], axis=1)
    out = np.empty((len(coefficients), len(x)))  # one cell a row, as what follows likes it
    for rows, features in _features(x, centre, coefficients.shape[1]):
        np.matmul(coefficients, features, out=out[:, rows])
    return out.T


def _accumulate(x: Floats, centre: Floats, weights: Floats, n_features: int) -> Floats:
    """Features summed under weights [N, C] -> [C, P]."""
    total = np.zeros((n_features, weights.shape[1]))
    for rows, features in _features(x, centre, n_features):
        total += features @ weights[rows]
    return total.T


# --- another origin -----------------------------------------------------------------------------


def recentre(first: Floats, second: Floats, count: Floats, shift: Floats) -> Floats:
    """Second moments about `origin + shift`, per coordinate."""
    return np.maximum(second - 2 * shift * first + count * shift**2, 0.0)


def recentre_full(first: Floats, second: Floats, count: Floats, shift: Floats) -> Floats:
    """Second moments [C, D, D] about `origin + shift`."""
    cross = first[:, :, None] * shift[:, None, :]
    outer = (count[:, None] * shift)[:, :, None] * shift[:, None, :]
    return np.asarray(second - cross - cross.swapaxes(1, 2) + outer)
