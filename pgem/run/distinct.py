"""Distinct values of a column and which of them each row has, some thousand rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from pgem.arrays import Floats
from pgem.run.stored import Codes, blocks_of, codes_type

Found: TypeAlias = tuple[Floats, Codes]

FEW = 4
"""Rows per distinct value, at least, so that it pays to look at these instead."""


def few_distinct(n_rows: int, width: int, read: Callable[[slice], Floats]) -> Found | None:
    """Distinct rows [U, width] in order and which of them each row is, or None if there are many.

    Args:
        n_rows: number of rows.
        width: numbers in a row.
        read: gives some of the rows [n, width]; of those with NaN none is distinct.
    """
    blocks, most = list(blocks_of(n_rows, width)), n_rows // FEW
    if width > 1:  # a first look that is much faster than a comparison of whole rows
        mixing, mixed = np.sqrt(np.arange(2.0, 2.0 + width)), np.zeros(0)
        for rows in blocks:
            mixed = np.union1d(mixed, np.nan_to_num(read(rows)) @ mixing)
            if len(mixed) > most:
                return None
    distinct = np.zeros((0, width))
    for rows in blocks:
        table = read(rows)
        fresh = _distinct(table[np.asarray(~np.isnan(table).any(axis=1))])
        distinct = _distinct(np.concatenate([distinct, fresh]))
        if len(distinct) > most:
            return None
    if not len(distinct):
        distinct = np.full((1, width), np.nan)  # something to look at, where nothing is seen
    codes = np.empty(n_rows, dtype=codes_type(len(distinct)))
    for rows in blocks:
        codes[rows] = _places(read(rows), distinct)
    return distinct, Codes(codes, is_own=True)


def _distinct(rows: Floats) -> Floats:
    """Distinct rows in order."""
    if rows.shape[1] == 1:  # much faster than by rows
        return np.unique(rows[:, 0])[:, None]
    return np.unique(rows, axis=0)


def _places(rows: Floats, distinct: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Which of the distinct rows each row is, -1 of those with NaN."""
    missing = np.asarray(np.isnan(rows).any(axis=1))
    if rows.shape[1] == 1:
        found = np.searchsorted(distinct[:, 0], rows[:, 0])
    else:
        both = np.concatenate([distinct, np.where(missing[:, None], distinct[:1], rows)])
        found = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)[len(distinct) :]
    return np.asarray(np.where(missing, -1, found))
