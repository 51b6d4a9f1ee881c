"""The equations of a Dirichlet: digamma(a_k) - digamma(Σ a) = mean logarithm of coordinate k."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask

SMALLEST = 1e-8
LARGEST = 1e10
"""Concentrations stop here where the likelihood grows without bound (all rows equal)."""


def dirichlet_newton(
    mean_logs: Floats, start: Floats | None = None, fixed: Mask | None = None
) -> Floats:
    """Concentrations [..., K] of maximal likelihood from mean logarithms [..., K].

    Newton's method on a concave function (Minka 2000, "Estimating a Dirichlet distribution"): the
    Hessian is a diagonal plus a multiple of the matrix of ones.  Steps are shortened until entries
    stay positive and the function does not fall.

    Args:
        mean_logs: means of log x_k.
        start: where to begin; found from the means if there is none.
        fixed: entries that stay at their start.
    """
    point = _start(mean_logs) if start is None else start.astype(float)
    free = np.ones(point.shape, dtype=bool) if fixed is None else ~fixed
    value = _likelihood(point, mean_logs)
    for _ in range(100):
        step = np.where(free, _step(point, mean_logs, free), 0.0)
        shrink = np.max(np.where(step < 0, -step / (0.9 * point), 0.0), axis=-1, keepdims=True)
        step = step / np.maximum(1.0, shrink)
        moved, reached = _backtrack(point, value, step, mean_logs)
        settled = np.abs(moved - point) <= 1e-14 * point
        point, value = moved, reached
        if settled.all():
            break
    return point


def _likelihood(point: Floats, mean_logs: Floats) -> Floats:
    from scipy.special import gammaln

    gain = (point * mean_logs - gammaln(point)).sum(axis=-1) + gammaln(point.sum(axis=-1))
    return np.asarray(gain)


def _step(point: Floats, mean_logs: Floats, free: Mask) -> Floats:
    from scipy.special import digamma, polygamma

    total = point.sum(axis=-1, keepdims=True)
    slope = mean_logs - digamma(point) + digamma(total)
    diagonal = polygamma(1, point)
    share = np.where(free, 1 / diagonal, 0.0)
    inner = 1 / polygamma(1, total) - share.sum(axis=-1, keepdims=True)
    shared = (share * slope).sum(axis=-1, keepdims=True) / np.where(inner > 0, inner, 1e-300)
    return np.asarray((slope + shared) / diagonal)


def _backtrack(
    point: Floats, value: Floats, step: Floats, mean_logs: Floats
) -> tuple[Floats, Floats]:
    """The longest of the halved steps that does not lose, row by row."""
    for _ in range(40):
        moved = np.clip(point + step, SMALLEST, LARGEST)
        reached = _likelihood(moved, mean_logs)
        good = reached >= value - 1e-15 * (1 + np.abs(value))
        if good.all():
            return moved, reached
        step = np.where(good[..., None], step, step / 2)
    return np.where(good[..., None], moved, point), np.where(good, reached, value)


def _start(mean_logs: Floats) -> Floats:
    """From geometric means p_k: log Σ exp(mean log x_k) is near -(K - 1) / (2 Σ a)."""
    size = mean_logs.shape[-1]
    geometric = np.exp(mean_logs - mean_logs.max(axis=-1, keepdims=True))
    total = geometric.sum(axis=-1, keepdims=True)
    gap = -np.log(total) - mean_logs.max(axis=-1, keepdims=True)
    strength = (size - 1) / (2 * np.clip(gap, 1e-12, 1e8))
    return np.asarray(np.clip(geometric / total * strength, 1e-4, LARGEST))
