"""The loops behind `tree_kernels.py`, compiled by Numba when first called and then kept on disk.

They make the same moves as those of `loops.py`, from a member to its parent instead of from a step
to the next.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.loops import (
    ONE,
    _find_rows,
    _inline,
    _last_back,
    _move,
    _move_back,
    _move_log,
    _undo_log,
    compiled,
)


@_inline
def _hand_up(u, r, above, n_state, message, before, after, scales, shrunk, products):  # type: ignore[no-untyped-def]
    """Scale a message to a maximum of 1 and multiply it into what lies before the parent.

    Returns the faintest entry that is left.
    """
    first, faintest = u * n_state, 1.0
    scale = message[first]
    for j in range(first, first + n_state):
        scale = max(scale, message[j]) if above >= 0 else scale
    scales[r, u] = scale
    top = 0.0
    for j in range(first, first + n_state):
        value = message[j] / scale
        after[r, j] = value
        faintest = min(faintest, value if value > 0.0 else 1.0)
        if above >= 0:
            before[above, j] *= value
            top = max(top, before[above, j])
    if above >= 0:
        shrunk[r, u] = top
        products[above, u] *= top
        for j in range(first, first + n_state):
            value = before[above, j] / top
            before[above, j] = value
            faintest = min(faintest, value if value > 0.0 else 1.0)
    return faintest


@compiled
def up(  # type: ignore[no-untyped-def]
    order, parents, index, flat, offsets, widths, moves, source, place, size, n_state, before,
    after, scales, shrunk, products,
):  # fmt: skip
    """Fill the products of messages before each member, the messages after it, and scales.

    `order` has parents before children; `before`, `shrunk` and `products` begin as ones.  A
    message is divided by its maximum (at roots by its first entry, which is all that counts):
    `scales`; a product of messages by its own: `shrunk`, by child, and `products`, by parent.
    Returns the faintest entry.
    """
    n_moves, width, n_outer = np.uint64(len(moves)), before.shape[1], scales.shape[1]
    tables = np.empty((n_moves + ONE, size))
    rows = np.empty(len(offsets), dtype=np.uint64)
    faintest = 1.0
    for k in range(len(order) - 1, -1, -1):
        r, above = order[k], parents[order[k]]
        _find_rows(r, index, offsets, widths, rows)
        for j in range(width):
            tables[0, j] = before[r, j]
        for m in range(n_moves):
            _move(m, tables, flat, rows, moves, source, place)
        for u in range(n_outer):
            faint = _hand_up(
                u, r, above, n_state, tables[n_moves], before, after, scales, shrunk, products
            )
            faintest = min(faintest, faint)
    return faintest


@compiled
def down(  # type: ignore[no-untyped-def]
    order, parents, owner, index, flat, offsets, widths, moves, source, place, size, n_state,
    before, after, scales, products, posterior, most, passed, found,
):  # fmt: skip
    """Add the posterior (in moves with `kept`, over the entry's value) of every entry to `found`.

    What goes down is the derivative of log p by the product of messages before a member
    (`passed`); where that product is 0, a bound of it up to `most`.  Returns the largest.
    """
    top, width = np.uint64(len(moves) - 1), before.shape[1]
    tables, slopes = np.empty((top + ONE, size)), np.empty((top + ONE + ONE, size))
    rows = np.empty(len(offsets), dtype=np.uint64)
    here, post = np.empty(width), np.empty(width)
    largest = 0.0
    for k in range(len(order)):
        r, above = order[k], parents[order[k]]
        _find_rows(r, index, offsets, widths, rows)
        for j in range(width):
            u = j // n_state
            tables[0, j] = before[r, j]
            if above < 0:
                post[j] = posterior[owner[r], u] if j == u * n_state else 0.0
                here[j] = post[j] / scales[r, u]
            else:
                post[j] = before[above, j] * passed[above, j]
                here[j] = post[j] / (after[r, j] * scales[r, u])
                if after[r, j] == 0.0:  # the brothers' part of the product is at most 1
                    bound = passed[above, j] / (products[above, u] * scales[r, u])
                    largest = max(largest, bound)
                    here[j] = bound if bound < most else 0.0
        _last_back(top, post, here, slopes, flat, rows, moves, source, place, found)
        for m in range(max(top, ONE) - ONE):
            _move(m, tables, flat, rows, moves, source, place)
        for m in range(top):
            _move_back(top - ONE - m, tables, slopes, flat, rows, moves, source, place, found)
        for j in range(width):
            passed[r, j] = slopes[0, j]
            largest = max(largest, slopes[0, j] / products[r, j // n_state])
    return largest


@compiled
def up_log(  # type: ignore[no-untyped-def]
    mode, order, parents, owner, index, flat, offsets, widths, moves, source, place, size, n_state,
    before, total,
):  # fmt: skip
    """Add log messages to what lies before each parent, and roots (and maxima) to the total.

    `order` has parents before children.
    """
    n_moves, width = np.uint64(len(moves)), before.shape[1]
    tables, joint = np.empty((n_moves + ONE, size)), np.empty(moves[:, 2].max())
    rows = np.empty(len(offsets), dtype=np.uint64)
    for k in range(len(order) - 1, -1, -1):
        r, above = order[k], parents[order[k]]
        _find_rows(r, index, offsets, widths, rows)
        for j in range(width):
            tables[0, j] = before[r, j]
        for m in range(n_moves):
            _move_log(mode, m, tables, joint, flat, rows, moves, source, place)
        for u in range(total.shape[1]):
            peak = -np.inf
            for j in range(u * n_state, (u + 1) * n_state):
                peak = max(peak, tables[n_moves, j])
            if above < 0:
                total[owner[r], u] += tables[n_moves, u * n_state]
                continue
            peak = peak if peak > -np.inf else 0.0
            total[owner[r], u] += peak
            for j in range(u * n_state, (u + 1) * n_state):
                before[above, j] += tables[n_moves, j] - peak


@compiled
def down_log(  # type: ignore[no-untyped-def]
    mode, order, parents, owner, index, flat, offsets, widths, moves, source, place, size, n_state,
    before, posterior, uniform, passed, found,
):  # fmt: skip
    """Add the posterior of every table entry to `found`; `passed` holds what children receive."""
    top, width = np.uint64(len(moves) - 1), before.shape[1]
    tables, weights = np.empty((top + ONE, size)), np.empty((top + ONE + ONE, size))
    rows, joint = np.empty(len(offsets), dtype=np.uint64), np.empty(moves[:, 2].max())
    for k in range(len(order)):
        r, above = order[k], parents[order[k]]
        _find_rows(r, index, offsets, widths, rows)
        for j in range(width):
            tables[0, j] = before[r, j]
            weights[top + ONE, j] = 0.0 if above < 0 else passed[above, j]
        if above < 0:
            for u in range(posterior.shape[1]):
                weights[top + ONE, u * n_state] = posterior[owner[r], u]
        for m in range(top):
            _move_log(mode, m, tables, joint, flat, rows, moves, source, place)
        _undo_log(mode, r, tables, weights, joint, flat, rows, moves, source, place, uniform, found)
        for j in range(width):
            passed[r, j] = weights[0, j]
