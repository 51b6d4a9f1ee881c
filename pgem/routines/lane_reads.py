"""What is seen along lanes, for `lane_loops.py`: tiles of probabilities, and posteriors collected.

Tiles are laid out as there.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.elementary import exp
from pgem.routines.loops import compiled

ZERO, ONE = np.uint64(0), np.uint64(1)


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
    n_states = np.uint64(len(logs))
    peak, rows = np.empty(width), np.empty(width, dtype=np.uint64)
    for s in range(n_steps):
        start = s * size * width
        for i in range(active):
            rows[i] = first[i] + s if s < left[i] else ZERO
            peak[i] = -np.inf
        for j in range(n_states):
            at = start + j * width
            for i in range(active):
                tile[at + i] = logs[j, rows[i]]
            for i in range(active):
                value = tile[at + i] if s < left[i] else 0.0
                tile[at + i] = value
                peak[i] = value if value > peak[i] else peak[i]
        for i in range(active):
            peak[i] = peak[i] if abs(peak[i]) < np.inf else 0.0
            level[i] += peak[i]
        for j in range(n_states):
            at = start + j * width
            for i in range(active):
                value = tile[at + i] - peak[i]
                lower = value < least[i] and value > -np.inf
                least[i] = value if lower else least[i]
                tile[at + i] = exp(value)
        for k in range(start + n_states * width, start + size * width):
            tile[k] = 0.0


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
