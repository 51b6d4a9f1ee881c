"""The loops behind `tree_kernels.py`, compiled by Numba when first called and then kept on disk.

They make the same moves as those of `loops.py`, from a member to its parent instead of from a step
to the next.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.loops import ONE, _find_rows, _jit, _move_log, _undo_log


@_jit
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


@_jit
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
