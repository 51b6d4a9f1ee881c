"""The loops behind `segment_kernels.py`, compiled by Numba when first called and kept on disk.

All functions read the same things: `moves` the tables between two segments [R, U, J, K] and which
of them a row reads, `pairs` tables over two steps [N, U, J, K] if `two` is set, `lasts` and `ends`
log-probabilities of durations [G, U, K, D] and which of them a segment reads that starts at a row,
and, if `tied` is set, what `segment_pass.Tied` says of windows.
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
def _begin(  # type: ignore[no-untyped-def]
    mode, t, u, k, start, moves, reads, pairs, two, finishes, scales, tied, jumps, lands, terms
):
    """A segment of value k starts at row t, with what precedes it."""
    if t == start:
        first = moves[reads[t], u, 0, k]
        return first + pairs[t, u, 0, k] if two else first
    size = moves.shape[3]
    if tied and lands[t] >= 0:
        n, taken = 0, 0.0
        for lag in range(min(jumps.shape[2], t - start)):
            for j in range(size):
                terms[n] = finishes[t - 1 - lag, u, j] - taken + jumps[lands[t], u, lag, j, k]
                n += 1
            taken += scales[t - 1 - lag, u]
        return _reduce(mode, terms, n)
    for j in range(size):
        terms[j] = finishes[t - 1, u, j] + _move(t, u, j, k, moves, reads, pairs, two)
    return _reduce(mode, terms, size)


@_inline
def _grow(t, u, k, age, begin, emit, stay, window, covers, spans, running):  # type: ignore[no-untyped-def]
    """Segments of value k get one step older; return the largest."""
    for d in range(age - 1, 0, -1):
        running[k, d] = running[k, d - 1] + stay
    running[k, 0] = begin + emit[t, u, k]
    peak = -np.inf
    for d in range(age):
        if window >= 0 and d >= spans[window]:
            running[k, d] += covers[window, u, k]
        peak = max(peak, running[k, d])
    return peak


@_inline
def _finish(mode, t, u, k, least, age, running, lasts, group, terms):  # type: ignore[no-untyped-def]
    """A segment of value k ends at row t, having lasted more than `least` steps."""
    n = 0
    for d in range(least, age):
        terms[n] = running[k, d] + lasts[group[t - d], u, k, d]
        n += 1
    return _reduce(mode, terms, n)


@compiled
def forward(  # type: ignore[no-untyped-def]
    mode, starts, emit, moves, reads, pairs, two, lasts, ends, group, tied, jumps, lands, covers,
    spans, closes, least, begins, finishes, scales, message,
):  # fmt: skip
    """Fill where segments begin and end, what is taken off at each row, and the messages."""
    n_outer, size, n_long = lasts.shape[1], lasts.shape[2], lasts.shape[3]
    terms = np.empty(max(n_long, size, jumps.shape[2]) * size)
    running = np.empty((size, n_long))
    for s in range(len(starts) - 1):
        for u in range(n_outer):
            for t in range(starts[s], starts[s + 1]):
                age, peak = min(t - starts[s] + 1, n_long), -np.inf
                window, shortest = closes[t] if tied else -1, least[t] if tied else 0
                for k in range(size):
                    begin = _begin(
                        mode, t, u, k, starts[s], moves, reads, pairs, two, finishes, scales, tied,
                        jumps, lands, terms,
                    )  # fmt: skip
                    begins[t, u, k] = begin
                    stay = emit[t, u, k] + (pairs[t, u, k, k] if two else 0.0)
                    largest = _grow(t, u, k, age, begin, emit, stay, window, covers, spans, running)
                    peak = max(peak, largest)
                peak = peak if peak > -np.inf else 0.0
                scales[t, u] = peak
                for k in range(size):
                    for d in range(age):
                        running[k, d] -= peak
                    finishes[t, u, k] = _finish(
                        mode, t, u, k, shortest, age, running, lasts, group, terms
                    )
            last = starts[s + 1] - 1
            age = min(starts[s + 1] - starts[s], n_long)
            for k in range(size):
                for d in range(age):
                    terms[k * age + d] = running[k, d] + ends[group[last - d], u, k, d]
            message[s, u] = _reduce(mode, terms, size * age)


@_inline
def _outlast(  # type: ignore[no-untyped-def]
    u, k, g, steps, n, here, stay, next_one, window, least, covers, spans, lasts, ends, ahead,
    terms,
):  # fmt: skip
    """Segments of value k that start at row t, by duration, with what follows; return their sum."""
    for d in range(n - 1, 0, -1):
        ahead[k, d] = ahead[k, d - 1] + stay
    ahead[k, 0] = here + next_one
    for d in range(n):
        if window >= 0 and d >= spans[window]:
            ahead[k, d] += covers[window, u, k]
        terms[d] = -np.inf
        if d >= least:
            terms[d] = ahead[k, d] + (ends[g, u, k, d] if d == steps - 1 else lasts[g, u, k, d])
    return _reduce(SUM, terms, n)


@compiled
def expect(  # type: ignore[no-untyped-def]
    starts, emit, moves, reads, pairs, two, lasts, ends, group, tied, jumps, lands, covers, spans,
    closes, opens, left, begins, finishes, scales, message, weights, states, post_moves, post_pairs,
    post_lasts, cut, post_jumps, post_covers,
):  # fmt: skip
    """Add posterior expectations in the sum semiring."""
    n_outer, size, n_long = lasts.shape[1], lasts.shape[2], lasts.shape[3]
    ahead, after = np.empty((size, n_long)), np.zeros(size)
    n_back = jumps.shape[2]
    wholes = np.empty((n_back + 1, size))  # of the last rows, by row modulo their number
    terms = np.empty(max(n_long, size * n_back, size))
    for s in range(len(starts) - 1):
        for u in range(n_outer):
            weight, total = weights[s, u], message[s, u]
            if weight == 0.0 or not total > -np.inf:
                continue
            for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
                steps, g = starts[s + 1] - t, group[t]
                n, whole = min(steps, n_long), wholes[t % (n_back + 1)]
                window, least = opens[t] if tied else -1, left[t] if tied else 0
                for k in range(size):
                    here = emit[t, u, k] - scales[t, u]
                    stay = here + (pairs[t + 1, u, k, k] if two and steps > 1 else 0.0)
                    whole[k] = _outlast(
                        u, k, g, steps, n, here, stay, after[k] if steps > 1 else 0.0, window,
                        least, covers, spans, lasts, ends, ahead, terms,
                    )  # fmt: skip
                    offset = begins[t, u, k] - total
                    if whole[k] > -np.inf and offset > -np.inf:
                        reached = _count(
                            t, u, k, g, steps, n, weight, offset, whole[k] - FAINT, terms, two,
                            states, post_pairs, post_lasts, cut, tied, closes, spans, post_covers,
                        )  # fmt: skip
                        _before(
                            t, u, k, starts[s], reached, moves, reads, pairs, two, begins,
                            finishes, scales, tied, jumps, lands, post_moves, post_pairs,
                            post_jumps,
                        )  # fmt: skip
                for j in range(size if t > starts[s] else 0):
                    n_terms = _follow(
                        t, u, j, starts[s + 1], moves, reads, pairs, two, scales, tied, jumps,
                        lands, wholes, terms,
                    )  # fmt: skip
                    after[j] = _reduce(SUM, terms, n_terms)


@_inline
def _follow(  # type: ignore[no-untyped-def]
    t, u, j, stop, moves, reads, pairs, two, scales, tied, jumps, lands, wholes, terms
):
    """What follows a segment of value j that ends before row t; return the number of terms."""
    size = moves.shape[3]
    if not tied or lands[t] < 0:
        for k in range(size):
            terms[k] = _move(t, u, j, k, moves, reads, pairs, two) + wholes[t % len(wholes), k]
        return size
    n, taken = 0, 0.0
    for lag in range(min(jumps.shape[2], stop - t)):
        if lands[t + lag] < 0:
            break
        for k in range(size):
            following = wholes[(t + lag) % len(wholes), k]
            terms[n] = jumps[lands[t + lag], u, lag, j, k] + following - taken
            n += 1
        taken += scales[t + lag, u]
    return n


@_inline
def _count(  # type: ignore[no-untyped-def]
    t, u, k, g, left, n, weight, offset, least, terms, two, states, post_pairs, post_lasts, cut,
    tied, closes, spans, post_covers,
):  # fmt: skip
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
        if tied and closes[t + d] >= 0 and spans[closes[t + d]] <= d:
            post_covers[closes[t + d], u, k] += reached
    return reached


@_inline
def _before(  # type: ignore[no-untyped-def]
    t, u, k, start, reached, moves, reads, pairs, two, begins, finishes, scales, tied, jumps, lands,
    post_moves, post_pairs, post_jumps,
):  # fmt: skip
    """Add what the segment of value k that starts at row t follows."""
    if tied and lands[t] >= 0:
        taken = 0.0
        for lag in range(min(jumps.shape[2], t - start)):
            for j in range(moves.shape[2]):
                value = finishes[t - 1 - lag, u, j] - taken + jumps[lands[t], u, lag, j, k]
                post_jumps[lands[t], u, lag, j, k] += reached * np.exp(value - begins[t, u, k])
            taken += scales[t - 1 - lag, u]
        return
    for j in range(moves.shape[2]):
        share = reached if j == 0 else 0.0
        if t > start:
            value = finishes[t - 1, u, j] + _move(t, u, j, k, moves, reads, pairs, two)
            share = reached * np.exp(value - begins[t, u, k])
        post_moves[reads[t], u, j, k] += share
        if two:
            post_pairs[t, u, j, k] += share
