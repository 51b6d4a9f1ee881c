"""A sum over one variable of a large table whose rows lie side by side."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats
from pgem.routines.column_loops import softmax


def softmax_by_columns(table: Floats, axis: int) -> tuple[Floats, Floats]:
    """log sum exp of a table [N, ...] along an axis, which stays with size 1, and the shares.

    Both have their rows side by side in memory, one cell after the other.
    """
    cells = np.moveaxis(table, 0, -1)
    shares = np.array(cells, dtype=float, order="C")
    before = int(np.prod(cells.shape[: axis - 1], dtype=np.int64))
    flat = shares.reshape(before, cells.shape[axis - 1], -1)
    logs = np.empty((before, flat.shape[2]))
    softmax(flat, logs)
    shape = (*cells.shape[: axis - 1], 1, *cells.shape[axis:])
    return np.moveaxis(logs.reshape(shape), -1, 0), np.moveaxis(shares, -1, 0)
