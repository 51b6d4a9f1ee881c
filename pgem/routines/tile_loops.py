"""The loops behind `tiles.py`, compiled by Numba when first called and then kept on disk.

A tile is a few hundred rows: features, scores and posteriors of a tile stay in the processor's
cache, features and cells lie one a row, and the two matrix products go to BLAS.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from pgem.routines import eights
from pgem.routines.eights import EIGHT
from pgem.routines.elementary import exp, log
from pgem.routines.lookup_loops import add_up, count_rows

ZERO, ONE, TWO = np.uint64(0), np.uint64(1), np.uint64(2)
AS_GIVEN, SQUARES, PRODUCTS = ZERO, ONE, TWO
"""Features of a block of columns z: z; z and z²; z and all z_i z_j, i ≤ j."""


def _compiled(function: Any) -> Any:
    # no value is NaN or infinite here, which lets maxima and selections be vectorised
    fast = {"contract", "nnan", "ninf", "nsz"}
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath=fast)(function)


@_compiled
def _minus(column, middle, row):  # type: ignore[no-untyped-def]
    for b in range(len(row)):
        row[b] = column[b] - middle


@_compiled
def _times(left, right, row):  # type: ignore[no-untyped-def]
    for b in range(len(row)):
        row[b] = left[b] * right[b]


@nb.njit(error_model="numpy")
def _fill(columns, first, n, blocks, centre, features):  # type: ignore[no-untyped-def]
    """Features [P, n] of the rows `first` to `first + n` of columns [Q, N]."""
    at = 0
    for block in range(len(blocks)):
        kind, low, high = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        start = at
        for q in range(low, high):
            _minus(columns[q, first : first + n], centre[q], features[at])
            at += 1
        for i in range(high - low):
            z = features[start + i]
            last = i + 1 if kind == SQUARES else high - low
            for j in range(i, last if kind != AS_GIVEN else i):
                _times(z, features[start + j], features[at])
                at += 1


@nb.njit(error_model="numpy", fastmath={"contract", "reassoc"})
def _sum(row):  # type: ignore[no-untyped-def]
    total = 0.0
    for b in range(len(row)):
        total += row[b]
    return total


@_compiled
def _soften(scores, level, weights, log_p, peak, counts):  # type: ignore[no-untyped-def]
    """Scores [K, n] become weighted posteriors; their sums are added to `counts`."""
    n = scores.shape[1]
    for b in range(n):
        peak[b] = -1e300
    for k in range(len(scores)):
        row, add = scores[k], level[k]
        for b in range(n):
            value = row[b] + add
            row[b] = value
            peak[b] = max(peak[b], value)
    for b in range(n):
        log_p[b] = 0.0
    for k in range(len(scores)):
        row = scores[k]
        for b in range(n):
            share = exp(row[b] - peak[b])
            row[b] = share
            log_p[b] += share
    for b in range(n):
        total = log_p[b]
        log_p[b] = peak[b] + log(total)
        peak[b] = weights[b] / total
    for k in range(len(scores)):
        row = scores[k]
        for b in range(n):
            row[b] *= peak[b]
        counts[k] += _sum(row)


@_compiled
def _add_looked_up(codes, first, joint, buffer, scores):  # type: ignore[no-untyped-def]
    """Add what the rows from `first` on look up to their scores [K, n]."""
    n, width = np.uint64(scores.shape[1]), np.uint64(joint.shape[1])
    add_up(codes, np.uint64(first), n, joint, buffer)
    for k in range(np.uint64(len(scores))):
        for b in range(n):
            scores[k, b] += buffer[b * width + k]


@_compiled
def _count_looked_up(codes, first, scores, buffer, found):  # type: ignore[no-untyped-def]
    """Add the posteriors [K, n] of the rows from `first` on to the counts of what they look up."""
    n, width = np.uint64(scores.shape[1]), np.uint64(found.shape[1])
    for k in range(np.uint64(len(scores))):
        for b in range(n):
            buffer[b * width + k] = scores[k, b]
    count_rows(codes, np.uint64(first), n, buffer, found)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def soft(  # type: ignore[no-untyped-def]
    columns, weights, blocks, centre, level, theta, common, looked_up, tile, log_p, counts, total
):
    """Log-likelihoods [N], and counts [K] and features [P, K] summed under the posterior.

    Args:
        columns: [Q, N]. weights: [N]. blocks: kind, first and last column of each [B, 3].
        centre: what is subtracted from each column [Q].
        level: constants of the scores [K].
        theta: coefficients of the first features [K, V], `common` [P - V] those of the others,
            which are the same in all cells.
        looked_up: what each row looks up besides, group by group [groups, N]; log-densities behind
            these codes [codes, W ≥ K]; how often each was looked up, of the same shape, added to.
        tile: rows at a time.
        log_p: filled [N]. counts: added to [K]. total: added to [P, K].
    """
    codes, joint, found = looked_up
    n_cells, n_vary = theta.shape
    width = n_vary + len(common)
    n_rows = columns.shape[1]
    features, scores = np.empty((width, tile)), np.empty((n_cells, tile))
    part, peak = np.empty((width, n_cells)), np.empty(tile)
    buffer = np.zeros(tile * joint.shape[1])
    for first in range(0, n_rows, tile):
        n = min(tile, n_rows - first)
        if n < tile:
            features, scores, peak = np.empty((width, n)), np.empty((n_cells, n)), np.empty(n)
        _fill(columns, first, n, blocks, centre, features)
        np.dot(theta, features[:n_vary], scores)
        rows = slice(first, first + n)
        if len(codes) > 0:
            _add_looked_up(codes, first, joint, buffer, scores)
        _soften(scores, level, weights[rows], log_p[rows], peak, counts)
        if len(codes) > 0:
            _count_looked_up(codes, first, scores, buffer, found)
        _add_common(features[n_vary:], common, log_p[rows])
        np.dot(features, scores.T, part)
        total += part


@_compiled
def _add_common(features, common, log_p):  # type: ignore[no-untyped-def]
    """Add what is the same in all cells to `log_p` [n]."""
    for p in range(len(common)):
        row, factor = features[p], common[p]
        for b in range(len(log_p)):
            log_p[b] += factor * row[b]


@_compiled
def _peaks(scores, level, best, value):  # type: ignore[no-untyped-def]
    """The first cell of the greatest score [K, n], as a number, and that score."""
    n = scores.shape[1]
    for b in range(n):
        value[b] = -1e300
        best[b] = 0.0
    last = len(scores) - len(scores) % 4
    for k in range(0, last, 4):  # four at a time, so that the best is read and written less
        one, two, three, four = scores[k], scores[k + 1], scores[k + 2], scores[k + 3]
        a, b, c, d = level[k], level[k + 1], level[k + 2], level[k + 3]
        number = float(k)
        for r in range(n):
            v, w, x, y = one[r] + a, two[r] + b, three[r] + c, four[r] + d
            left, right = max(v, w), max(x, y)
            at_left = number + 1.0 if w > v else number
            at_right = number + 3.0 if y > x else number + 2.0
            high = max(left, right)
            place = at_right if right > left else at_left
            best[r] = place if high > value[r] else best[r]
            value[r] = max(value[r], high)
    for k in range(last, len(scores)):
        row, add, number = scores[k], level[k], float(k)
        for r in range(n):
            score = row[r] + add
            best[r] = number if score > value[r] else best[r]
            value[r] = max(value[r], score)


@_compiled
def _fill_rows(values, blocks, centre, rows):  # type: ignore[no-untyped-def]
    """The features of values [n, Q] row by row, `rows` [n, W]."""
    n, at = np.uint64(len(values)), ZERO
    for block in range(np.uint64(len(blocks))):
        kind, low = blocks[block, ZERO], blocks[block, ONE]
        start, size = at, blocks[block, TWO] - low
        for b in range(n):
            for q in range(size):
                rows[b, start + q] = values[b, low + q] - centre[low + q]
        at += size
        if kind == SQUARES:
            for b in range(n):
                for q in range(size):
                    rows[b, at + q] = rows[b, start + q] * rows[b, start + q]
            at += size
        elif kind == PRODUCTS:
            for b in range(n):
                after = at
                for i in range(size):
                    z = rows[b, start + i]
                    for q in range(size - i):
                        rows[b, after + q] = z * rows[b, start + i + q]
                    after += size - i
            at = after


@_compiled
def _assign(rows, weights, best, counts, total):  # type: ignore[no-untyped-def]
    """Add each row's features [n, W] to those of its cell, `total` [K, W]."""
    width, here, there = np.uint64(rows.shape[1]), total.reshape(-1), rows.reshape(-1)
    for b in range(np.uint64(len(best))):
        weight, cell = weights[b], np.uint64(best[b])
        counts[cell] += weight
        for p in range(ZERO, width, EIGHT):
            eights.add(here, cell * width + p, there, b * width + p, weight)


@nb.njit(error_model="numpy", fastmath={"contract", "reassoc"})
def _add_common_rows(rows, first, common, log_p):  # type: ignore[no-untyped-def]
    """Add what is the same in all cells, features [n, W] from the `first` on, to `log_p` [n]."""
    for b in range(np.uint64(len(log_p))):
        total = 0.0
        for p in range(np.uint64(len(common))):
            total += common[p] * rows[b, first + p]
        log_p[b] += total


@nb.njit(cache=True, nogil=True, error_model="numpy")
def hard(  # type: ignore[no-untyped-def]
    columns, weights, blocks, centre, level, theta, common, looked_up, tile, log_p, counts, total
):
    """`soft` with all of a row's weight on its most probable cell; `total` is [K, P]."""
    codes, joint, found = looked_up
    n_cells, n_vary = theta.shape
    n_features = n_vary + len(common)
    width = (n_features + 7) // 8 * 8
    n_rows = columns.shape[1]
    varying = blocks.copy()
    if len(common) > 0:
        varying[0, 0] = AS_GIVEN
    features, scores = np.empty((n_vary, tile)), np.empty((n_cells, tile))
    rows, sums, best = np.zeros((tile, width)), np.zeros((n_cells, width)), np.empty(tile)
    buffer = np.empty(tile * joint.shape[1])
    for first in range(0, n_rows, tile):
        n = min(tile, n_rows - first)
        if n < tile:
            features, scores = np.empty((n_vary, n)), np.empty((n_cells, n))
            rows, best = np.zeros((n, width)), np.empty(n)
        here = slice(first, first + n)
        _fill(columns, first, n, varying, centre, features)
        np.dot(theta, features, scores)
        if len(codes) > 0:
            _add_looked_up(codes, first, joint, buffer, scores)
        _peaks(scores, level, best, log_p[here])
        _fill_rows(columns.T[here], blocks, centre, rows)
        _add_common_rows(rows, np.uint64(n_vary), common, log_p[here])
        _assign(rows, weights[here], best, counts, sums)
        for group in range(len(codes)):
            for b in range(n):
                found[codes[group, first + b], int(best[b])] += weights[first + b]
    total += sums[:, :n_features]
