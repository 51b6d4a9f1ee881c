"""Gaussian densities and moments about a cell's own mean.

Deviations are taken from the cell's current mean before they are squared, so that neither a
large offset of the data nor a narrow component costs digits.
"""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask

LOG_2PI = float(np.log(2 * np.pi))


def coordinate_log_density(x: Floats, observed: Mask, mean: Floats, var: Floats) -> Floats:
    """Independent Gaussian coordinates: x [N, D], mean and var [C, D] -> [N, C]."""
    whole = bool(observed.all())
    filled = x if whole else np.where(observed, x, 0.0)
    out = np.empty((len(x), len(mean)))
    constant = LOG_2PI + np.log(var)
    for cell in range(len(mean)):
        squares = (filled - mean[cell]) ** 2
        if whole:
            out[:, cell] = squares @ (1 / var[cell]) + constant[cell].sum()
        else:
            out[:, cell] = (squares * observed) @ (1 / var[cell]) + observed @ constant[cell]
    out *= -0.5
    return out


def coordinate_moments(
    x: Floats, observed: Mask, weights: Floats, origin: Floats
) -> tuple[Floats, Floats, Floats]:
    """Count, first and second moment about `origin` [C, D], per coordinate: [C, D] each."""
    whole = bool(observed.all())
    filled = x if whole else np.where(observed, x, 0.0)
    if whole:
        count = np.repeat(weights.sum(axis=0)[:, None], x.shape[1], axis=1)
    else:
        count = weights.T @ observed
    first, second = np.empty_like(origin), np.empty_like(origin)
    for cell in range(len(origin)):
        deviation = filled - origin[cell]
        if not whole:
            deviation = deviation * observed
        weight = weights[:, cell]
        first[cell] = weight @ deviation
        second[cell] = weight @ deviation**2
    return count, first, second


def full_log_density(x: Floats, mean: Floats, cov: Floats) -> Floats:
    """Multivariate Gaussian: x [N, D], mean [C, D], cov [C, D, D] -> [N, C]."""
    out = np.empty((len(x), len(mean)))
    lower = np.linalg.cholesky(cov)
    whiten = np.linalg.inv(lower)
    logdet = 2 * np.log(np.einsum("cdd->cd", lower)).sum(axis=1)
    for cell in range(len(mean)):
        z = (x - mean[cell]) @ whiten[cell].T
        out[:, cell] = np.einsum("nd,nd->n", z, z) + logdet[cell]
    out += x.shape[1] * LOG_2PI
    out *= -0.5
    return out


def full_moments(x: Floats, weights: Floats, origin: Floats) -> tuple[Floats, Floats, Floats]:
    """Count [C], first [C, D] and second [C, D, D] moment about `origin` [C, D]."""
    cells, size = origin.shape
    count = weights.sum(axis=0)
    first, second = np.empty((cells, size)), np.empty((cells, size, size))
    for cell in range(cells):
        deviation = x - origin[cell]
        weighted = deviation * weights[:, cell, None]
        first[cell] = weighted.sum(axis=0)
        second[cell] = weighted.T @ deviation
    return count, first, second


def recentre(first: Floats, second: Floats, count: Floats, shift: Floats) -> Floats:
    """Second moments about `origin + shift`, per coordinate."""
    return np.maximum(second - 2 * shift * first + count * shift**2, 0.0)


def recentre_full(first: Floats, second: Floats, count: Floats, shift: Floats) -> Floats:
    """Second moments [C, D, D] about `origin + shift`."""
    cross = np.einsum("ci,cj->cij", first, shift)
    outer = np.einsum("c,ci,cj->cij", count, shift, shift)
    return np.asarray(second - cross - np.swapaxes(cross, 1, 2) + outer)
