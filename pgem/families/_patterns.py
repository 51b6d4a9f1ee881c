"""Vectors with missing coordinates under a full covariance: one small computation per pattern.

For the rows that miss the coordinates m and show o, the missing ones are Gaussian given the shown,

    E[x_m | x_o] = μ_m + V_mo V_oo⁻¹ (x_o - μ_o),   Cov[x_m | x_o] = V_mm - V_mo V_oo⁻¹ V_om,

so the expected second moments of whole rows are those of x_o, mapped by the regression on x_o,
plus the conditional covariance (Little & Rubin 2002, section 11.2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.families._gaussian import full_log_density, full_moments
from pgem.families._parts import Observations


def patterns(data: Observations) -> Iterator[tuple[Mask, Integers]]:
    """Which coordinates are shown [D], and the rows [n] that show just these; kept."""
    kept = data.__dict__.get("_patterns")
    if kept is None:
        shown, owner = np.unique(data.observed, axis=0, return_inverse=True)
        owner = owner.reshape(-1)
        order = np.argsort(owner, kind="stable")
        cuts = np.searchsorted(owner[order], np.arange(1, len(shown)))
        kept = list(zip(shown, np.split(order, cuts), strict=True))
        data.__dict__["_patterns"] = kept
    yield from kept


def log_density_of_shown(data: Observations, mean: Floats, cov: Floats) -> Floats:
    """log p(shown coordinates | cell) [N, C]; 0 where nothing is shown."""
    out = np.zeros((len(data.x), len(mean)))
    for shown, rows in patterns(data):
        if shown.any():
            x, block = data.x[rows][:, shown], cov[:, shown][:, :, shown]
            out[rows] = full_log_density(x, mean[:, shown], block)
    return out


def expected_moments(
    data: Observations, weights: Floats, mean: Floats, cov: Floats
) -> tuple[Floats, Floats, Floats]:
    """Expected count [C], first [C, D] and second moment [C, D, D] about `mean`.

    Rows that show nothing add nothing.
    """
    cells, size = mean.shape
    count, first = np.zeros(cells), np.zeros((cells, size))
    second = np.zeros((cells, size, size))
    for shown, rows in patterns(data):
        if not shown.any():
            continue
        block = cov[:, shown][:, :, shown]
        n, one, two = full_moments(data.x[rows][:, shown], weights[rows], mean[:, shown], block)
        to_whole, spread = regression(shown, cov)
        count += n
        first += np.einsum("cio,co->ci", to_whole, one)
        second += to_whole @ two @ np.swapaxes(to_whole, 1, 2) + n[:, None, None] * spread
    return count, first, second


def regression(shown: Mask, cov: Floats) -> tuple[Floats, Floats]:
    """Map from deviations of shown coordinates to those of all [C, D, o], and what it leaves.

    Returns:
        The map (the identity on the shown ones), and the conditional covariance [C, D, D].
    """
    cells, size = cov.shape[:2]
    to_whole = np.zeros((cells, size, int(shown.sum())))
    to_whole[:, shown] = np.eye(int(shown.sum()))
    spread = np.zeros_like(cov)
    if not shown.all():
        cross = cov[:, ~shown][:, :, shown]
        inner = np.linalg.inv(cov[:, shown][:, :, shown])
        to_whole[:, ~shown] = cross @ inner
        left = cov[:, ~shown][:, :, ~shown] - cross @ inner @ np.swapaxes(cross, 1, 2)
        gone = np.flatnonzero(~shown)
        spread[:, gone[:, None], gone] = (left + np.swapaxes(left, 1, 2)) / 2
    return to_whole, spread
