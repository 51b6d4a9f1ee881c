"""What is seen along lanes, for `lane_loops.py`: tiles of probabilities, and posteriors collected.

Tiles are laid out as there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats
from pgem.routines.elementary import LOWEST, exp, log
from pgem.routines.loops import _inline, compiled

ZERO, ONE, TWO, THREE, FOUR = (np.uint64(k) for k in (0, 1, 2, 3, 4))
SQUARES, PRODUCTS = ONE, TWO
"""Features of a block of columns z, beside z: z²; all z_i z_j, i ≤ j."""


class Seen(NamedTuple):
    """What is seen of K states in N steps, in one of three forms.

    Attributes:
        table: probabilities over their peaks [K, R]; logarithms [K, N] if all else is empty.
        peaks: logarithms of the peaks [R].
        rows: the row of the table of every step [N].
        values: columns of numbers, of which densities are made where they are needed.
        strides: what a row's number and a column's are multiplied by, to find a value.
        blocks: kind, first and last column of each block of columns [B, 3].
        centre: what is subtracted from each column [Q].
        theta: coefficients of the constant 1 and of the features [P, M K], P and K padded with
            zeros to multiples of four; M densities add up to that of a state.
        base: what is added to the logarithms of all states [N]; may be empty.
    """

    table: Floats
    peaks: Floats
    rows: NDArray[np.uint32]
    values: Floats = np.zeros(0)
    strides: NDArray[np.uint64] = np.zeros(2, dtype=np.uint64)
    blocks: NDArray[np.uint64] = np.zeros((0, 3), dtype=np.uint64)
    centre: Floats = np.zeros(0)
    theta: Floats = np.zeros((0, 0))
    base: Floats = np.zeros(0)


# --- products -----------------------------------------------------------------------------------


@_inline
def block(table, a, j):  # type: ignore[no-untyped-def]
    """Sixteen entries of a table, row by row."""
    b, c, d = a + ONE, a + TWO, a + THREE
    k, m, n = j + ONE, j + TWO, j + THREE
    return (
        table[a, j], table[a, k], table[a, m], table[a, n],
        table[b, j], table[b, k], table[b, m], table[b, n],
        table[c, j], table[c, k], table[c, m], table[c, n],
        table[d, j], table[d, k], table[d, m], table[d, n],
    )  # fmt: skip


# The first four and the others are functions of their own, and find all their places: where one
# loop has both, or places are found outside it, LLVM cannot tell that the rows are apart.


@_inline
def _put(table, given, at, out, to, width, active, a, j):  # type: ignore[no-untyped-def]
    """Fill four rows of `out` with the products of four rows of `given`."""
    o0, i0 = to + j * width, at + a * width
    o1, o2, o3 = o0 + width, o0 + TWO * width, o0 + THREE * width
    i1, i2, i3 = i0 + width, i0 + TWO * width, i0 + THREE * width
    (t00, t01, t02, t03, t10, t11, t12, t13,
     t20, t21, t22, t23, t30, t31, t32, t33) = block(table, a, j)  # fmt: skip
    for i in range(active):
        w, x, y, z = given[i0 + i], given[i1 + i], given[i2 + i], given[i3 + i]
        out[o0 + i] = t00 * w + t10 * x + t20 * y + t30 * z
        out[o1 + i] = t01 * w + t11 * x + t21 * y + t31 * z
        out[o2 + i] = t02 * w + t12 * x + t22 * y + t32 * z
        out[o3 + i] = t03 * w + t13 * x + t23 * y + t33 * z


@_inline
def _add(table, given, at, out, to, width, active, a, j):  # type: ignore[no-untyped-def]
    """Add the products of four rows of `given` to four rows of `out`."""
    o0, i0 = to + j * width, at + a * width
    o1, o2, o3 = o0 + width, o0 + TWO * width, o0 + THREE * width
    i1, i2, i3 = i0 + width, i0 + TWO * width, i0 + THREE * width
    (t00, t01, t02, t03, t10, t11, t12, t13,
     t20, t21, t22, t23, t30, t31, t32, t33) = block(table, a, j)  # fmt: skip
    for i in range(active):
        w, x, y, z = given[i0 + i], given[i1 + i], given[i2 + i], given[i3 + i]
        out[o0 + i] += t00 * w + t10 * x + t20 * y + t30 * z
        out[o1 + i] += t01 * w + t11 * x + t21 * y + t31 * z
        out[o2 + i] += t02 * w + t12 * x + t22 * y + t32 * z
        out[o3 + i] += t03 * w + t13 * x + t23 * y + t33 * z


@_inline
def multiply(table, given, at, out, to, width, active, last, j):  # type: ignore[no-untyped-def]
    """Fill rows j to j + 3 of the [K, W] at `to` with Σ_a table[a, j] given[a], a < `last`.

    `given` is the [A, W] at `at`.
    """
    if last > ZERO:
        _put(table, given, at, out, to, width, active, ZERO, j)
    for a in range(FOUR, last, FOUR):
        _add(table, given, at, out, to, width, active, a, j)


@compiled
def add_pairs(left, n_left, right, n_right, n_steps, width, active, found):  # type: ignore[no-untyped-def]
    """Add the products of all steps of two tiles [S, A, W] and [S, B, W] to `found` [A, B].

    A is even, B a multiple of four.
    """
    one, other = n_left * width, n_right * width
    if n_steps % TWO:  # steps are taken two at a time
        for k in range(n_steps * other, (n_steps + ONE) * other):
            right[k] = 0.0
    for s in range(ZERO, n_steps, TWO):
        for a in range(ZERO, n_left, TWO):
            for j in range(ZERO, n_right, FOUR):
                s00, s01, s02, s03, s10, s11, s12, s13 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                m0, p0 = s * one + a * width, s * other + j * width
                m1, p1, p2, p3 = m0 + width, p0 + width, p0 + TWO * width, p0 + THREE * width
                for i in range(active):
                    x, y = left[m0 + i], left[m1 + i]
                    v, w = left[m0 + one + i], left[m1 + one + i]
                    q0, q1, q2, q3 = right[p0 + i], right[p1 + i], right[p2 + i], right[p3 + i]
                    r0, r1 = right[p0 + other + i], right[p1 + other + i]
                    r2, r3 = right[p2 + other + i], right[p3 + other + i]
                    s00 += x * q0 + v * r0
                    s01 += x * q1 + v * r1
                    s02 += x * q2 + v * r2
                    s03 += x * q3 + v * r3
                    s10 += y * q0 + w * r0
                    s11 += y * q1 + w * r1
                    s12 += y * q2 + w * r2
                    s13 += y * q3 + w * r3
                found[a, j] += s00
                found[a, j + ONE] += s01
                found[a, j + TWO] += s02
                found[a, j + THREE] += s03
                found[a + ONE, j] += s10
                found[a + ONE, j + ONE] += s11
                found[a + ONE, j + TWO] += s12
                found[a + ONE, j + THREE] += s13


# --- tiles filled -------------------------------------------------------------------------------


@compiled
def read_table(b, b_peaks, seen, first, left, width, active, n_steps, size, tile, level):  # type: ignore[no-untyped-def]
    """Fill a tile with rows of b [K, R]; 1 where a lane has ended.  Adds the peaks to `level`."""
    n_states = np.uint64(len(b))
    rows, ends = np.empty(width, dtype=np.uint64), False
    for i in range(active):
        ends = ends or left[i] < n_steps
    for s in range(n_steps):
        for i in range(active):
            rows[i] = seen[first[i] + s] if s < left[i] else ZERO
            level[i] += b_peaks[rows[i]] if s < left[i] else 0.0
        for j in range(n_states):
            at = (s * size + j) * width
            for i in range(active):
                tile[at + i] = b[j, rows[i]]
            for i in range(active if ends else ZERO):
                tile[at + i] = tile[at + i] if s < left[i] else 1.0
        for k in range((s * size + n_states) * width, (s + ONE) * size * width):
            tile[k] = 0.0


@compiled
def read_logs(logs, first, left, width, active, n_steps, size, tile, level, least):  # type: ignore[no-untyped-def]
    """Fill a tile with exp of rows of logs [K, N] over their peaks; 1 where a lane has ended.

    Adds the peaks to `level`, and lowers `least` to the differences that are finite, by lane.
    """
    n_states, rows = np.uint64(len(logs)), np.empty(width, dtype=np.uint64)
    for s in range(n_steps):
        for i in range(active):
            rows[i] = first[i] + s if s < left[i] else ZERO
        for j in range(n_states):
            at = (s * size + j) * width
            for i in range(active):
                tile[at + i] = logs[j, rows[i]]
    _exponentiate(left, width, active, n_steps, n_states, size, size, tile, tile, level, least)


@_inline
def _find_peaks(scores, start, n_cells, n_states, size, left, s, width, active, peak, level):  # type: ignore[no-untyped-def]
    """Peaks of the scores of a step, added to `level`; 0 where a lane has ended, as all scores."""
    for i in range(active):
        peak[i] = -np.inf
    for first in range(ZERO, n_cells, size):
        for j in range(first, first + n_states):
            at = start + j * width
            for i in range(active):
                value = scores[at + i] if s < left[i] else 0.0
                scores[at + i] = value
                peak[i] = value if value > peak[i] else peak[i]
    for i in range(active):
        peak[i] = peak[i] if abs(peak[i]) < np.inf else 0.0
        level[i] += peak[i]


@compiled
def _exponentiate(  # type: ignore[no-untyped-def]
    left, width, active, n_steps, n_states, size, n_cells, scores, tile, level, least
):
    """Logarithms become numbers over their peaks (see `read_logs`), and a tile their sums.

    `scores` are the tile itself if a state has one each.
    """
    peak, lowest, mixed = np.empty(width), np.zeros(width), n_cells > size
    low = np.ones(width)
    for s in range(n_steps):
        start, own = s * n_cells * width, s * size * width
        _find_peaks(scores, start, n_cells, n_states, size, left, s, width, active, peak, level)
        for k in range(own, own + size * width if mixed else own):
            tile[k] = 0.0
        for first in range(ZERO, n_cells, size):
            for j in range(n_states):
                at, to = start + (first + j) * width, own + j * width
                for i in range(active):
                    value = scores[at + i] - peak[i]
                    lower = value < lowest[i] and value > -np.inf
                    lowest[i] = value if lower else lowest[i]
                    scores[at + i] = exp(value)
                for i in range(active if mixed else ZERO):
                    tile[to + i] += scores[at + i]
            for k in range(start + (first + n_states) * width, start + (first + size) * width):
                scores[k] = 0.0
        if mixed:
            _find_low(tile, own, n_states, left, s, width, active, low)
    for i in range(active):
        # a sum of what is finite may underflow
        value = (log(low[i]) if low[i] > 1e-307 else LOWEST) if mixed else lowest[i]
        least[i] = value if value < least[i] else least[i]


@_inline
def _find_low(tile, at, n_states, left, s, width, active, low):  # type: ignore[no-untyped-def]
    """Lower `low` to the least entries of a step of a tile; 1 where a lane has ended, as all."""
    for j in range(n_states):
        to = at + j * width
        for i in range(active):
            value = tile[to + i] if s < left[i] else 1.0
            tile[to + i] = value
            low[i] = value if value < low[i] else low[i]


@_inline
def _gather(seen, first, left, width, active, n_steps, features):  # type: ignore[no-untyped-def]
    """Features [P, W] of every step of a tile, after a 1; of any row where a lane has ended."""
    n_features, rows = np.uint64(len(seen.theta)), np.empty(width, dtype=np.uint64)
    by_row, by_column = seen.strides[ZERO], seen.strides[ONE]
    for s in range(n_steps):
        at = s * n_features * width
        for i in range(active):
            rows[i] = (first[i] + s if s < left[i] else ZERO) * by_row
            features[at + i] = 1.0
        at += width
        for block in range(np.uint64(len(seen.blocks))):
            kind, low = seen.blocks[block, ZERO], seen.blocks[block, ONE]
            high, start = seen.blocks[block, TWO], at
            for q in range(low, high):
                middle, column = seen.centre[q], q * by_column
                for i in range(active):
                    features[at + i] = seen.values[rows[i] + column] - middle
                at += width
            for a in range(high - low if kind != ZERO else ZERO):
                last = a + ONE if kind == SQUARES else high - low
                for b in range(a, last):
                    one, other = start + a * width, start + b * width
                    for i in range(active):
                        features[at + i] = features[one + i] * features[other + i]
                    at += width


@_inline
def _read_forms(  # type: ignore[no-untyped-def]
    seen, n_states, first, left, width, active, n_steps, size, features, shares, tile, level, least
):
    """`read_logs` of features times coefficients; fills the features of every step, too.

    Where several densities add up to that of a state, fills them, too, over the same peak.
    """
    _gather(seen, first, left, width, active, n_steps, features)
    n_features, n_cells = np.uint64(len(seen.theta)), np.uint64(seen.theta.shape[1])
    scores = shares if n_cells > size else tile
    for s in range(n_steps):
        at, to = s * n_features * width, s * n_cells * width
        for j in range(ZERO, n_cells, FOUR):
            multiply(seen.theta, features, at, scores, to, width, active, n_features, j)
        for i in range(active if len(seen.base) else ZERO):
            level[i] += seen.base[first[i] + s] if s < left[i] else 0.0
    _exponentiate(left, width, active, n_steps, n_states, size, n_cells, scores, tile, level, least)


@_inline
def _weigh(tile, posterior, width, active, n_steps, size, n_cells, shares):  # type: ignore[no-untyped-def]
    """Shares of a tile's sums become posteriors."""
    for s in range(n_steps):
        for c in range(ZERO, n_cells, size):
            for j in range(size):
                at, own = (s * n_cells + c + j) * width, (s * size + j) * width
                for i in range(active):
                    sum_ = tile[own + i]
                    over = 1.0 / sum_ if sum_ > 0.0 else 0.0
                    shares[at + i] *= posterior[own + i] * over


@_inline
def read(  # type: ignore[no-untyped-def]
    seen, n_states, first, left, width, active, n_steps, size, features, shares, tile, level, least
):
    """Fill a tile with what is seen, in the form that it has."""
    if len(seen.rows):
        read_table(
            seen.table, seen.peaks, seen.rows, first, left, width, active, n_steps, size, tile,
            level,
        )  # fmt: skip
    elif len(seen.theta):
        _read_forms(
            seen, n_states, first, left, width, active, n_steps, size, features, shares, tile,
            level, least,
        )  # fmt: skip
    else:
        read_logs(seen.table, first, left, width, active, n_steps, size, tile, level, least)


# --- posteriors collected -----------------------------------------------------------------------


@_inline
def collect(  # type: ignore[no-untyped-def]
    seen, tile, posterior, features, shares, first, left, width, active, n_steps, size, found
):
    """Add the posteriors of a tile to `found`, in the form that suits what is seen.

    To rows of the table [R, K]; to sums of the features [P, K]; or steps are put into [K, N].
    """
    if len(seen.rows):
        add_by_row(posterior, seen.rows, first, left, width, active, n_steps, size, found)
    elif len(seen.theta):
        n_features, n_cells = np.uint64(len(seen.theta)), np.uint64(seen.theta.shape[1])
        if n_cells > size:
            _weigh(tile, posterior, width, active, n_steps, size, n_cells, shares)
            add_pairs(features, n_features, shares, n_cells, n_steps, width, active, found)
        else:
            add_pairs(features, n_features, posterior, size, n_steps, width, active, found)
    else:
        put_rows(posterior, first, left, width, active, n_steps, size, found)


@compiled
def add_by_row(tile, seen, first, left, width, active, n_steps, size, found):  # type: ignore[no-untyped-def]
    """Add posteriors to the rows of a table [R, K] that the steps read."""
    n_states = np.uint64(found.shape[1])
    for s in range(n_steps):
        for i in range(active):
            if s < left[i]:
                row, at = seen[first[i] + s], s * size * width + i
                for j in range(n_states):
                    found[row, j] += tile[at + j * width]


@compiled
def put_rows(tile, first, left, width, active, n_steps, size, found):  # type: ignore[no-untyped-def]
    """Write posteriors to the steps' own rows of a table [K, N]."""
    n_states = np.uint64(len(found))
    for j in range(n_states):
        for s in range(n_steps):
            at = (s * size + j) * width
            for i in range(active):
                if s < left[i]:
                    found[j, first[i] + s] = tile[at + i]
