"""The loops behind `segment_kernels.py`, compiled by Numba when first called and kept on disk.

All functions read the same things: `moves` the tables between two segments [R, U, J, K] and which
of them a row reads, `pairs` tables over two steps [N, U, J, K] if `two` is set, `lasts` and `ends`
log-probabilities of durations [G, U, K, D] and which of them a segment reads that starts at a row.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.loops import _inline, compiled

SUM, MAX = 0, 1
FAINT = 60.0
"""Terms that are smaller than the largest of their sum by this many nats are left out."""


@_inline
def _reduce(mode, terms, n):  # type: ignore[no-untyped-def]
    """log sum exp of the first n terms, or their maximum."""
    top = -np.inf
    for k in range(n):
        top = max(top, terms[k])
    if mode == SUM and top > -np.inf:
        total = 0.0
        for k in range(n):
            if terms[k] > top - FAINT:
                total += np.exp(terms[k] - top)
        top += np.log(total)
    return top


@_inline
def _move(t, u, j, k, moves, reads, pairs, two):  # type: ignore[no-untyped-def]
    """The table between a segment of value j and one of value k that starts at row t."""
    if j == k:
        return -np.inf
    value = moves[reads[t], u, j, k]
    return value + pairs[t, u, j, k] if two else value


@_inline
def _begin(mode, t, u, k, start, moves, reads, pairs, two, finishes, terms):  # type: ignore[no-untyped-def]
    """A segment of value k starts at row t, with what precedes it."""
    if t == start:
        first = moves[reads[t], u, 0, k]
        return first + pairs[t, u, 0, k] if two else first
    size = moves.shape[3]
    for j in range(size):
        terms[j] = finishes[t - 1, u, j] + _move(t, u, j, k, moves, reads, pairs, two)
    return _reduce(mode, terms, size)


@compiled
def forward(  # type: ignore[no-untyped-def]
    mode, starts, emit, moves, reads, pairs, two, lasts, ends, group, begins, finishes, scales,
    message,
):  # fmt: skip
    """Fill where segments begin and end, what is taken off at each row, and the messages."""
    n_outer, size, n_long = lasts.shape[1], lasts.shape[2], lasts.shape[3]
    running, terms = np.empty((size, n_long)), np.empty(max(n_long, size) * size)
    for s in range(len(starts) - 1):
        for u in range(n_outer):
            for t in range(starts[s], starts[s + 1]):
                age, peak = min(t - starts[s] + 1, n_long), -np.inf
                for k in range(size):
                    begin = _begin(
                        mode, t, u, k, starts[s], moves, reads, pairs, two, finishes, terms
                    )
                    begins[t, u, k] = begin
                    stay = emit[t, u, k] + (pairs[t, u, k, k] if two else 0.0)
                    for d in range(age - 1, 0, -1):
                        running[k, d] = running[k, d - 1] + stay
                        peak = max(peak, running[k, d])
                    running[k, 0] = begin + emit[t, u, k]
                    peak = max(peak, running[k, 0])
                peak = peak if peak > -np.inf else 0.0
                scales[t, u] = peak
                for k in range(size):
                    for d in range(age):
                        running[k, d] -= peak
                        terms[d] = running[k, d] + lasts[group[t - d], u, k, d]
                    finishes[t, u, k] = _reduce(mode, terms, age)
            last = starts[s + 1] - 1
            age = min(starts[s + 1] - starts[s], n_long)
            for k in range(size):
                for d in range(age):
                    terms[k * age + d] = running[k, d] + ends[group[last - d], u, k, d]
            message[s, u] = _reduce(mode, terms, size * age)


@compiled
def expect(  # type: ignore[no-untyped-def]
    starts, emit, moves, reads, pairs, two, lasts, ends, group, begins, finishes, scales, message,
    weights, states, post_moves, post_pairs, post_lasts, cut,
):  # fmt: skip
    """Add posterior expectations in the sum semiring."""
    n_outer, size, n_long = lasts.shape[1], lasts.shape[2], lasts.shape[3]
    ahead, after, whole = np.empty((size, n_long)), np.zeros(size), np.empty(size)
    terms = np.empty(max(n_long, size))
    for s in range(len(starts) - 1):
        for u in range(n_outer):
            weight, total = weights[s, u], message[s, u]
            if weight == 0.0 or not total > -np.inf:
                continue
            for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
                left, g = starts[s + 1] - t, group[t]
                n = min(left, n_long)
                for k in range(size):
                    here = emit[t, u, k] - scales[t, u]
                    stay = here + (pairs[t + 1, u, k, k] if two and left > 1 else 0.0)
                    for d in range(n - 1, 0, -1):
                        ahead[k, d] = ahead[k, d - 1] + stay
                    ahead[k, 0] = here + (after[k] if left > 1 else 0.0)
                    for d in range(n):
                        lasting = ends[g, u, k, d] if d == left - 1 else lasts[g, u, k, d]
                        terms[d] = ahead[k, d] + lasting
                    whole[k] = _reduce(SUM, terms, n)
                    offset = begins[t, u, k] - total
                    if whole[k] > -np.inf and offset > -np.inf:
                        reached = _count(
                            t, u, k, g, left, n, weight, offset, whole[k] - FAINT, terms, two,
                            states, post_pairs, post_lasts, cut,
                        )  # fmt: skip
                        _before(
                            t, u, k, starts[s], reached, moves, reads, pairs, two, begins,
                            finishes, post_moves, post_pairs,
                        )  # fmt: skip
                for j in range(size if t > starts[s] else 0):
                    for k in range(size):
                        terms[k] = _move(t, u, j, k, moves, reads, pairs, two) + whole[k]
                    after[j] = _reduce(SUM, terms, size)


@_inline
def _count(  # type: ignore[no-untyped-def]
    t, u, k, g, left, n, weight, offset, least, terms, two, states, post_pairs, post_lasts, cut
):
    """Add the segments of value k that start at row t, by duration; return their number."""
    reached = 0.0
    for d in range(n - 1, -1, -1):
        if terms[d] > least:
            share = weight * np.exp(terms[d] + offset)
            reached += share
            if d == left - 1:
                cut[g, u, k, d] += share
            else:
                post_lasts[g, u, k, d] += share
        states[t + d, u, k] += reached
        if two and d > 0:
            post_pairs[t + d, u, k, k] += reached
    return reached


@_inline
def _before(  # type: ignore[no-untyped-def]
    t, u, k, start, reached, moves, reads, pairs, two, begins, finishes, post_moves, post_pairs
):
    """Add what the segment of value k that starts at row t follows."""
    for j in range(moves.shape[2]):
        share = reached if j == 0 else 0.0
        if t > start:
            value = finishes[t - 1, u, j] + _move(t, u, j, k, moves, reads, pairs, two)
            share = reached * np.exp(value - begins[t, u, k])
        post_moves[reads[t], u, j, k] += share
        if two:
            post_pairs[t, u, j, k] += share
