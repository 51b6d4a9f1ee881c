"""Weighted sums of squares and products of rows, by group."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.region_groups import Groups, sum_groups

BLOCK = 1 << 16
"""Numbers in a block of rows."""


def gram(codes: Groups, n_codes: int, weights: Floats, a: Floats, b: Floats) -> Floats:
    """Σ w a bᵀ by code [G, K, p, q]; rows of weight 0 are left out."""
    out = np.zeros((len(a), n_codes, a.shape[-1], b.shape[-1]))
    for g, w in enumerate(weights):
        if not codes.few:
            kept = np.flatnonzero(w)
            part = (w[kept, None] * a[g, kept])[:, :, None] * b[g, kept][:, None, :]
            out[g] = sum_groups(part[None], codes.ids[kept], n_codes)[0]
            continue
        for k, rows in codes.slices:
            chosen = _positive(w, rows)
            out[g, k] = a[g, chosen].T @ (b[g, chosen] * w[chosen, None])
    return out


def square_sums(codes: Groups, n_codes: int, weights: Floats, e: Floats) -> Floats:
    """Σ w e² by code [G, K, d]."""
    out = np.zeros((len(e), n_codes, e.shape[-1]))
    for g, w in enumerate(weights):
        if not codes.few:
            kept = np.flatnonzero(w)
            part = w[kept, None] * e[g, kept] ** 2
            out[g] = sum_groups(part[None], codes.ids[kept], n_codes)[0]
            continue
        for k, rows in codes.slices:
            chosen = _positive(w, rows)
            out[g, k] = _sum_squares(w[chosen], e[g, chosen])
    return out


def _sum_squares(weights: Floats, e: Floats) -> Floats:
    """Σ w e² [d], in blocks of rows that stay in the cache."""
    total = np.zeros(e.shape[1])
    size = max(1, BLOCK // max(1, e.shape[1]))
    for first in range(0, len(e), size):
        part = e[first : first + size]
        total += weights[first : first + size] @ (part * part)
    return total


def _positive(weights: Floats, rows: Integers | slice) -> Integers | slice:
    """Those of the rows that have a weight."""
    if (weights[rows] > 0).all():
        return rows
    whole = np.arange(len(weights))[rows]
    return whole[weights[whole] > 0]


def weighted_squares(e: Floats, weights: Floats) -> Floats:
    """Σ_d weight e² [G, R], in blocks of rows that stay in the cache."""
    out = np.empty(e.shape[:2])
    size = max(1, BLOCK // max(1, e.shape[0] * e.shape[2]))
    for first in range(0, e.shape[1], size):
        part = e[:, first : first + size]
        mine = weights if weights.shape[1] == 1 else weights[:, first : first + size]
        np.einsum("grd,grd->gr", part * mine, part, out=out[:, first : first + size])
    return out
