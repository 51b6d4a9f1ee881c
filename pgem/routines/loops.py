"""The loops behind `kernels.py`, compiled by Numba when first called and then kept on disk.

Index arithmetic is unsigned throughout: signed indices may be negative in Python, and the check
for that keeps inner loops from being vectorised.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

ONE = np.uint64(1)
SUM, MAX, SAMPLE = 0, 1, 2
"""Modes of the log loops."""


def compiled(function: Any) -> Any:
    """Compile a loop without the interpreter's lock, and keep it on disk."""
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(
        function
    )


def _inline(function: Any) -> Any:
    # a call would pass every array by its seven fields, which costs more than the loops inside
    return nb.njit(error_model="numpy", inline="always")(function)


@compiled
def subtract_peaks(values, out, peaks):  # type: ignore[no-untyped-def]
    """Fill `out` and the rows' peaks; return the least difference that is finite."""
    lowest = 0.0
    for r in range(len(values)):
        peak = -np.inf
        for c in range(values.shape[1]):
            peak = max(peak, values[r, c])
        peak = peak if abs(peak) < np.inf else 0.0
        peaks[r] = peak
        for c in range(values.shape[1]):
            value = values[r, c] - peak
            out[r, c] = value
            lowest = min(lowest, value if value > -np.inf else 0.0)
    return lowest


@_inline
def _find_rows(t, index, offsets, widths, rows):  # type: ignore[no-untyped-def]
    """Where in the flat tables the row of each factor begins that step t reads."""
    for f in range(len(rows)):
        rows[f] = offsets[f] + index[f, t] * widths[f]


@_inline
def _move(m, tables, flat, rows, moves, source, place):  # type: ignore[no-untyped-def]
    """The table after move m, from the one before."""
    start, n_out, n_sum, kept = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
    new, f0, f1, p = moves[m, 4], moves[m, 5], moves[m, 6], moves[m, 7]
    after, n_entries = m + ONE, n_out * n_sum
    for b in range(kept):
        first = b * new
        row = rows[f0] + place[p + first * n_sum]
        for c in range(new):
            tables[after, first + c] = 0.0
        for a in range(n_sum):
            w = tables[m, source[start + first * n_sum + a]]
            for c in range(new):
                tables[after, first + c] += w * flat[row + a * new + c]
    if kept == 0:
        for o in range(n_out):
            total = 0.0
            for a in range(n_sum):
                e = o * n_sum + a
                value = tables[m, source[start + e]]
                for f in range(f0, f1):
                    value *= flat[rows[f] + place[p + (f - f0) * n_entries + e]]
                total += value
            tables[after, o] = total


@_inline
def _move_back(  # type: ignore[no-untyped-def]
    m, tables, slopes, flat, rows, moves, source, place, found
):
    """Derivatives by the entries before move m, from those by the entries after it."""
    start, n_out, n_sum, kept = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
    new, f0, f1, p = moves[m, 4], moves[m, 5], moves[m, 6], moves[m, 7]
    after, n_entries = m + ONE, n_out * n_sum
    for b in range(kept):
        first = b * new
        row = rows[f0] + place[p + first * n_sum]
        for a in range(n_sum):
            i = source[start + first * n_sum + a]
            w = tables[m, i]
            cell = row + a * new
            total = 0.0
            for c in range(new):
                total += flat[cell + c] * slopes[after, first + c]
            for c in range(new):
                found[cell + c] += w * slopes[after, first + c]
            slopes[m, i] += total
    if kept == 0:
        for o in range(n_out):
            for a in range(n_sum):
                e = o * n_sum + a
                value = slopes[after, o]
                for f in range(f0, f1):
                    value *= flat[rows[f] + place[p + (f - f0) * n_entries + e]]
                i = source[start + e]
                slopes[m, i] += value
                value *= tables[m, i]
                for f in range(f0, f1):
                    found[rows[f] + place[p + (f - f0) * n_entries + e]] += value


@_inline
def _last_back(  # type: ignore[no-untyped-def]
    top, post, here, slopes, flat, rows, moves, source, place, found
):
    """`_move_back` of the last move, which sums nothing: the posterior of its entries is known."""
    start, n_out, f0, f1 = moves[top, 0], moves[top, 1], moves[top, 5], moves[top, 6]
    for f in range(f0, f1):
        first = moves[top, 7] + (f - f0) * n_out
        for j in range(n_out):
            cell = rows[f] + place[first + j]
            found[cell] += post[j]
            here[j] *= flat[cell]
    slopes[: top + ONE] = 0.0
    for j in range(n_out):
        slopes[top, source[start + j]] += here[j]


@compiled
def forward(  # type: ignore[no-untyped-def]
    starts, index, flat, offsets, widths, moves, source, place, size, n_state, before, last, scales
):
    """Fill messages before each step, the last ones, and scales; return the faintest entry."""
    n_moves, width, n_outer = np.uint64(len(moves)), before.shape[1], scales.shape[1]
    tables = np.empty((n_moves + ONE, size))
    rows = np.empty(len(offsets), dtype=np.uint64)
    faintest = 1.0
    for s in range(len(starts) - 1):
        for j in range(width):
            tables[0, j] = 1.0 if j % n_state == 0 else 0.0
        for t in range(starts[s], starts[s + 1]):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                before[t, j] = tables[0, j]
            for m in range(n_moves):
                _move(m, tables, flat, rows, moves, source, place)
            for u in range(n_outer):
                scale = 0.0
                for j in range(u * n_state, (u + 1) * n_state):
                    scale += tables[n_moves, j]
                scales[t, u] = scale
                inverse = 1.0 / scale
                for j in range(u * n_state, (u + 1) * n_state):
                    value = tables[n_moves, j] * inverse
                    tables[0, j] = value
                    faintest = min(faintest, value if value > 0.0 else 1.0)
        for j in range(width):
            last[s, j] = tables[0, j]
    return faintest


@compiled
def backward(  # type: ignore[no-untyped-def]
    starts, index, flat, offsets, widths, moves, source, place, size, before, last, scales, ends,
    found,
):  # fmt: skip
    """Add the posterior (in moves with `kept`, over the entry's value) of every entry to `found`.

    What goes backwards is the derivative of log p by the scaled message.  Returns the largest.
    """
    top, width = np.uint64(len(moves) - 1), ends.shape[1]
    n_state = width // scales.shape[1]
    tables, slopes = np.empty((top + ONE, size)), np.empty((top + ONE + ONE, size))
    rows = np.empty(len(offsets), dtype=np.uint64)
    after, here, post = np.empty(width), np.empty(width), np.empty(width)
    largest = 0.0
    for s in range(len(starts) - 1):
        for j in range(width):
            slopes[0, j] = ends[s, j]
            after[j] = last[s, j]
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                post[j] = after[j] * slopes[0, j]
                here[j] = slopes[0, j] / scales[t, j // n_state]
                after[j] = before[t, j]
                tables[0, j] = before[t, j]
            _last_back(top, post, here, slopes, flat, rows, moves, source, place, found)
            for m in range(max(top, ONE) - ONE):
                _move(m, tables, flat, rows, moves, source, place)
            for k in range(top):
                _move_back(top - ONE - k, tables, slopes, flat, rows, moves, source, place, found)
            for j in range(width):
                largest = max(largest, slopes[0, j])
    return largest


@_inline
def _joint(m, o, tables, joint, flat, rows, moves, source, place):  # type: ignore[no-untyped-def]
    """Fill the log entries that are summed into entry o of move m; return their maximum."""
    n_sum, f0, f1 = moves[m, 2], moves[m, 5], moves[m, 6]
    first, n_entries = o * n_sum, moves[m, 1] * n_sum
    peak = -np.inf
    for a in range(n_sum):
        value = tables[m, source[moves[m, 0] + first + a]]
        for f in range(f0, f1):
            value += flat[rows[f] + place[moves[m, 7] + (f - f0) * n_entries + first + a]]
        joint[a] = value
        if value > peak or np.isnan(value):
            peak = value
    return peak


@_inline
def _move_log(mode, m, tables, joint, flat, rows, moves, source, place):  # type: ignore[no-untyped-def]
    """`_move` for log tables: log sum exp, or the maximum."""
    for o in range(moves[m, 1]):
        peak = _joint(m, o, tables, joint, flat, rows, moves, source, place)
        if mode != MAX and moves[m, 2] > ONE and peak > -np.inf:
            total = 0.0
            for a in range(moves[m, 2]):
                total += np.exp(joint[a] - peak)
            peak += np.log(total)
        tables[m + ONE, o] = peak


@_inline
def _condition(mode, joint, n_sum, peak, uniform):  # type: ignore[no-untyped-def]
    """Turn log entries into the conditional of what is summed out: softmax, or one-hot."""
    total = 0.0
    for a in range(n_sum):
        if mode == MAX:
            joint[a] = 1.0 if joint[a] == peak and total == 0.0 else 0.0
        else:
            joint[a] = np.exp(joint[a] - peak) if peak > -np.inf else 0.0
        total += joint[a]
    if mode == SAMPLE:
        edge, left, chosen = 0.0, uniform * total, n_sum - ONE
        for a in range(n_sum):
            if joint[a] > 0.0 and edge <= left:
                chosen = a
            edge += joint[a]
            joint[a] = 0.0
        joint[chosen] = 1.0
    elif total > 0.0:
        for a in range(n_sum):
            joint[a] /= total


@_inline
def _undo_log(  # type: ignore[no-untyped-def]
    mode, t, tables, weights, joint, flat, rows, moves, source, place, uniform, found
):
    """Spread the weights after the last move over all tables before it, and over the factors."""
    top = np.uint64(len(moves) - 1)
    weights[: top + ONE] = 0.0
    for back in range(top + ONE):
        m = top - back
        n_sum, n_entries = moves[m, 2], moves[m, 1] * moves[m, 2]
        for o in range(moves[m, 1]):
            weight = weights[m + ONE, o]
            if weight == 0.0:
                continue
            peak = _joint(m, o, tables, joint, flat, rows, moves, source, place)
            _condition(mode, joint, n_sum, peak, uniform[t, m] if mode == SAMPLE else 0.0)
            for a in range(n_sum):
                e = o * n_sum + a
                share = weight * joint[a]
                weights[m, source[moves[m, 0] + e]] += share
                for f in range(moves[m, 5], moves[m, 6]):
                    cell = place[moves[m, 7] + (f - moves[m, 5]) * n_entries + e]
                    found[rows[f] + cell] += share


@compiled
def forward_log(  # type: ignore[no-untyped-def]
    mode, starts, index, flat, offsets, widths, moves, source, place, size, n_state, before, last,
    shift,
):  # fmt: skip
    """Fill log messages before each step (maximum 0), the last ones, and what was taken off."""
    n_moves, width = np.uint64(len(moves)), before.shape[1]
    tables, joint = np.empty((n_moves + ONE, size)), np.empty(moves[:, 2].max())
    rows = np.empty(len(offsets), dtype=np.uint64)
    for s in range(len(starts) - 1):
        for j in range(width):
            tables[0, j] = 0.0 if j % n_state == 0 else -np.inf
        for t in range(starts[s], starts[s + 1]):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                before[t, j] = tables[0, j]
            for m in range(n_moves):
                _move_log(mode, m, tables, joint, flat, rows, moves, source, place)
            for u in range(shift.shape[1]):
                peak = -np.inf
                for j in range(u * n_state, (u + 1) * n_state):
                    peak = max(peak, tables[n_moves, j])
                peak = peak if peak > -np.inf else 0.0
                for j in range(u * n_state, (u + 1) * n_state):
                    tables[0, j] = tables[n_moves, j] - peak
                shift[s, u] += peak
        for j in range(width):
            last[s, j] = tables[0, j]


@compiled
def backward_log(  # type: ignore[no-untyped-def]
    mode, starts, index, flat, offsets, widths, moves, source, place, size, before, ends, uniform,
    found,
):  # fmt: skip
    """Add the posterior of every table entry to `found`."""
    top, width = np.uint64(len(moves) - 1), before.shape[1]
    tables, weights = np.empty((top + ONE, size)), np.empty((top + ONE + ONE, size))
    rows, joint = np.empty(len(offsets), dtype=np.uint64), np.empty(moves[:, 2].max())
    for s in range(len(starts) - 1):
        for j in range(width):
            weights[0, j] = ends[s, j]
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                weights[top + ONE, j] = weights[0, j]
                tables[0, j] = before[t, j]
            for k in range(top):
                _move_log(mode, k, tables, joint, flat, rows, moves, source, place)
            _undo_log(
                mode, t, tables, weights, joint, flat, rows, moves, source, place, uniform, found
            )
