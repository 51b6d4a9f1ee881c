"""The loop behind `columns.py`, compiled by Numba when first called and then kept on disk."""

from __future__ import annotations

import numba as nb
import numpy as np

from pgem.routines.elementary import exp, log

BLOCK = 512
"""Columns of a table at a time, so that they stay in the processor's first cache."""


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def softmax(table, logs):  # type: ignore[no-untyped-def]
    """Replace scores [P, K, M] by their shares along K, and fill `logs` [P, M] with log Σ exp.

    Scores may be -inf: the sum of nothing is -inf, and the shares in it are 0.
    """
    n = table.shape[2]
    peak, total = np.empty(BLOCK), np.empty(BLOCK)
    for p in range(len(table)):
        for first in range(0, n, BLOCK):
            size = min(BLOCK, n - first)
            for b in range(size):
                peak[b] = -np.inf
                total[b] = 0.0
            for k in range(table.shape[1]):
                row = table[p, k, first : first + size]
                for b in range(size):
                    peak[b] = row[b] if row[b] > peak[b] else peak[b]
            for b in range(size):
                peak[b] = peak[b] if abs(peak[b]) < np.inf else 0.0
            for k in range(table.shape[1]):
                row = table[p, k, first : first + size]
                for b in range(size):
                    share = exp(row[b] - peak[b])
                    row[b] = share
                    total[b] += share
            for b in range(size):
                value = total[b]
                found = peak[b] + log(value)
                logs[p, first + b] = found if value > 0.0 else (-np.inf if value == 0.0 else value)
                total[b] = 1.0 / value if value != 0.0 else 0.0
            for k in range(table.shape[1]):
                row = table[p, k, first : first + size]
                for b in range(size):
                    row[b] *= total[b]
