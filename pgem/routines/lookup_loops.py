"""The loops behind `lookups.py`, compiled by Numba when first called and then kept on disk.

Here the classes of a row lie side by side, padded to a multiple of eight, so that what a row looks
up is added, multiplied and counted eight numbers at a time.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from pgem.routines import eights
from pgem.routines.column_loops import softmax
from pgem.routines.eights import EIGHT
from pgem.routines.elementary import exp, log
from pgem.routines.loops import compiled

ZERO, ONE = np.uint64(0), np.uint64(1)
TILE_NUMBERS = np.uint64(4096)
"""Numbers of a tile of rows, so that they stay in the processor's first cache."""
SMALLEST = 1e-200
"""Sums of products above this have lost nothing: what underflows is below 1e-307."""


@compiled
def join(table, level, rows, first_codes, joint):  # type: ignore[no-untyped-def]
    """Sums of the rows of `table` [R, K] behind every code, with `level` [K] in the first group."""
    n_classes = np.uint64(len(level))
    for code in range(np.uint64(len(rows))):
        for k in range(n_classes):
            joint[code, k] = level[k] if code < first_codes else 0.0
        for place in range(np.uint64(rows.shape[1])):
            row = np.uint64(rows[code, place])
            if row < np.uint64(len(table)):
                for k in range(n_classes):
                    joint[code, k] += table[row, k]
        for k in range(n_classes, np.uint64(joint.shape[1])):
            joint[code, k] = -np.inf


@nb.njit(error_model="numpy", nogil=True)
def _take_apart(joint, peaks, shares):  # type: ignore[no-untyped-def]
    """The greatest entry of each row of `joint` [codes, W], and exp of what the others are less."""
    for code in range(len(joint)):
        peak = -np.inf
        for k in range(joint.shape[1]):
            peak = max(peak, joint[code, k])
        peaks[code] = peak if abs(peak) < np.inf else 0.0
        for k in range(joint.shape[1]):
            shares[code, k] = exp(joint[code, k] - peaks[code])


@compiled
def sum_counts(counts, rows, first_codes, table, total):  # type: ignore[no-untyped-def]
    """Counts of codes [codes, W] as counts of the table's rows [R, K], and of all rows [K]."""
    n_classes = np.uint64(len(total))
    for code in range(np.uint64(len(rows))):
        for place in range(np.uint64(rows.shape[1])):
            row = np.uint64(rows[code, place])
            if row < np.uint64(len(table)):
                for k in range(n_classes):
                    table[row, k] += counts[code, k]
        if code < first_codes:
            for k in range(n_classes):
                total[k] += counts[code, k]


@compiled
def _multiply_out(codes, first, n, peaks, shares, rows, high):  # type: ignore[no-untyped-def]
    """Products [n × W] of the shares that the codes look up, and sums [n] of their peaks."""
    width = np.uint64(shares.shape[1])
    flat = shares.reshape(-1)
    for b in range(n):
        high[b] = 0.0
    for b in range(n * width):
        rows[b] = 1.0
    for group in range(np.uint64(len(codes))):
        for b in range(n):
            code = np.uint64(codes[group, first + b])
            high[b] += peaks[code]
            for k in range(ZERO, width, EIGHT):
                eights.multiply(rows, b * width + k, flat, code * width + k, 1.0)


@compiled
def add_up(codes, first, n, joint, rows):  # type: ignore[no-untyped-def]
    """Sums [n × W] of what the codes look up."""
    width = np.uint64(joint.shape[1])
    flat = joint.reshape(-1)
    for b in range(n * width):
        rows[b] = 0.0
    for group in range(np.uint64(len(codes))):
        for b in range(n):
            code = np.uint64(codes[group, first + b])
            for k in range(ZERO, width, EIGHT):
                eights.add(rows, b * width + k, flat, code * width + k, 1.0)


@compiled
def count_rows(codes, first, n, rows, counts):  # type: ignore[no-untyped-def]
    """Add the rows [n × W] to the counts [codes, W] of what they look up."""
    width = np.uint64(counts.shape[1])
    flat = counts.reshape(-1)
    for group in range(np.uint64(len(codes))):
        for b in range(n):
            code = np.uint64(codes[group, first + b])
            for k in range(ZERO, width, EIGHT):
                eights.add(flat, code * width + k, rows, b * width + k, 1.0)


@compiled
def _normalise(first, n, width, weights, rows, high, total, log_p):  # type: ignore[no-untyped-def]
    """Products become weighted posteriors; return how many rows have lost digits."""
    for b in range(n):
        value = 0.0
        for k in range(b * width, (b + ONE) * width):
            value += rows[k]
        total[b] = value
    late = 0
    for b in range(n):
        value = total[b]
        log_p[first + b] = high[b] + log(value)
        total[b] = weights[first + b] / value
        late += 0 if value > SMALLEST else 1  # also where it is no number
    for b in range(n):
        factor = total[b]
        for k in range(b * width, (b + ONE) * width):
            rows[k] *= factor
    return late


@nb.njit(error_model="numpy", nogil=True)
def _by_logarithms(codes, first, n, joint, weights, rows, n_classes, log_p):  # type: ignore[no-untyped-def]
    """Posteriors of a tile once more, without products."""
    width = np.uint64(joint.shape[1])
    add_up(codes, first, n, joint, rows)
    scores, found = np.empty((1, n_classes, n)), np.empty((1, n))
    for b in range(n):
        for k in range(n_classes):
            scores[0, k, b] = rows[b * width + k]
    softmax(scores, found)
    for b in range(n):
        weight = weights[first + b]
        log_p[first + b] = found[0, b]
        for k in range(n_classes):
            rows[b * width + k] = weight * scores[0, k, b] if weight != 0.0 else 0.0
        for k in range(n_classes, width):
            rows[b * width + k] = 0.0


@compiled
def _choose(first, n, width, n_classes, weights, rows, log_p):  # type: ignore[no-untyped-def]
    """Sums become the weight at the first greatest of each row, and 0 elsewhere."""
    for b in range(n):
        start = b * width
        place, peak, wrong = ZERO, -np.inf, 0.0
        for k in range(n_classes):
            value = rows[start + k]
            wrong = wrong if value == value else value
            place = np.uint64(k) if value > peak else place
            peak = max(peak, value)
        log_p[first + b] = peak + wrong
        for k in range(width):
            rows[start + k] = 0.0
        rows[start + place] = weights[first + b]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def look_up(codes, places, first_codes, table, level, weights, is_hard, log_p, counts, total):  # type: ignore[no-untyped-def]
    """Log-likelihoods, and the counts of what was looked up under the posterior.

    Args:
        codes: what each row looks up, group by group [groups, N].
        places: rows of the table behind a code [codes, members]; R where there is none.
        first_codes: codes of the first group.
        table: log-densities [R, K].
        level: constants [K].
        weights: [N].
        is_hard: give all of a row's weight to its most probable class.
        log_p: filled [N]. counts: added to [R, K]. total: added to [K].
    """
    n_rows, n_classes = np.uint64(codes.shape[1]), np.uint64(len(level))
    width = (n_classes + EIGHT - ONE) // EIGHT * EIGHT
    joint = np.empty((len(places), width))
    peaks, shares, found = np.empty(len(joint)), np.empty_like(joint), np.zeros_like(joint)
    join(table, level, places, first_codes, joint)
    if not is_hard:
        _take_apart(joint, peaks, shares)
    tile = np.uint64(max(TILE_NUMBERS // width, EIGHT))
    rows, high, sums = np.empty(tile * width), np.empty(tile), np.empty(tile)
    for first in range(ZERO, n_rows, tile):
        n = np.uint64(min(tile, n_rows - first))
        if is_hard:
            add_up(codes, first, n, joint, rows)
            _choose(first, n, width, n_classes, weights, rows, log_p)
        else:
            _multiply_out(codes, first, n, peaks, shares, rows, high)
            if _normalise(first, n, width, weights, rows, high, sums, log_p):
                _by_logarithms(codes, first, n, joint, weights, rows, n_classes, log_p)
        count_rows(codes, first, n, rows, found)
    sum_counts(found, places, first_codes, counts, total)
