"""Members of a plate of one length that read rows of one table: several at a time.

What a member reads changes from unit to unit, but not from iteration to iteration.  So members are
taken together beforehand: every combination of rows that a few of them may read has a code.  A
product over the members is then a sum of few rows of a table over these codes, and the way back
counts by them.  Nothing of size members × states is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats, Integers

if TYPE_CHECKING:
    from pgem.routines.collect import ScopeData

MOST_TOGETHER = 640
"""Combinations up to which members are taken together, so that their table stays in the cache."""
MOST_CODES = 1 << 16
"""Codes in all, so that one takes two bytes."""
COMPILED_FROM = 1_000_000
"""Rows × members × states from which compiled loops are used: some milliseconds of NumPy."""


@dataclass(frozen=True, eq=False)
class Tally:
    """Which rows of a table the members of every parent row read.

    Attributes:
        codes: the joint code of every group of members, numbered over all groups [groups, n].
        rows: the table's rows behind a code [codes, members of a group]; beyond the last where a
            group has fewer members.
        n_members: members of a parent row.
    """

    codes: np.ndarray[Any, np.dtype[np.uint16]]
    rows: Integers
    n_members: int

    def total(self, table: Floats) -> Floats:
        """The table's rows [R, axes...], summed over the members [n, axes...]."""
        axes = table.shape[1:]
        wide = np.zeros((len(table) + 1, math.prod(axes)))
        wide[:-1] = table.reshape(len(table), -1)
        joint = np.ascontiguousarray(wide[self.rows].sum(axis=1).T)
        out = np.empty((wide.shape[1], self.codes.shape[1]))
        if self._is_large(out):
            from pgem.routines.tally_loops import total

            total(self.codes, joint, out)
        else:
            for state, column in zip(out, joint, strict=True):
                np.take(column, self.codes[0], out=state)
                for codes in self.codes[1:]:
                    state += column.take(codes)
        return np.moveaxis(out.reshape(*axes, -1), -1, 0)

    def count(self, posterior: Floats, n_rows: int) -> Floats:
        """The posterior of the parent rows [n, axes...], summed by what they read [R, axes...]."""
        axes = posterior.shape[1:]
        weights = np.ascontiguousarray(np.moveaxis(posterior, 0, -1)).reshape(-1, len(posterior))
        joint = np.zeros((len(self.rows), len(weights)))
        if self._is_large(weights):
            from pgem.routines.tally_loops import count

            count(self.codes, weights, joint)
        else:
            for column, state in zip(joint.T, weights, strict=True):
                for codes in self.codes:
                    column += np.bincount(codes, state, len(joint))
        out = np.empty((n_rows, len(weights)))
        places, width = self.rows.ravel(), self.rows.shape[1]
        for k, column in enumerate(joint.T):
            out[:, k] = np.bincount(places, np.repeat(column, width), n_rows + 1)[:-1]
        return out.reshape(n_rows, *axes)

    def _is_large(self, by_state: Floats) -> bool:
        return by_state.size * self.n_members >= COMPILED_FROM


def make_tally(reads: np.ndarray[Any, np.dtype[Any]], n_rows: int) -> Tally | None:
    """Codes for what the members read, if they are few enough.

    Args:
        reads: row of the table that each member of each parent row reads [n, members].
        n_rows: rows of the table.
    """
    n, n_members = reads.shape
    if n * n_members * n_rows == 0:
        return None
    seen = np.zeros((n_members, n_rows), dtype=bool)
    for own, column in zip(seen, reads.T, strict=True):
        own[column] = True
    sizes = seen.sum(axis=1)
    groups = _group(sizes, max(2, min(MOST_TOGETHER, n // 2)))
    n_codes = [math.prod(int(sizes[j]) for j in group) for group in groups]
    if sum(n_codes) > MOST_CODES:
        return None
    number = seen.cumsum(axis=1) - 1
    widest = max(map(len, groups))
    codes = np.empty((len(groups), n), dtype=np.uint16)
    rows = np.full((sum(n_codes), widest), n_rows)
    first = 0
    for k, (group, count) in enumerate(zip(groups, n_codes, strict=True)):
        joint = np.zeros(n, dtype=np.int64)
        for j in group:
            joint = joint * sizes[j] + number[j].take(reads[:, j])
        codes[k] = first + joint
        places = np.unravel_index(np.arange(count), [int(sizes[j]) for j in group])
        for i, j in enumerate(group):
            rows[first : first + count, i] = np.flatnonzero(seen[j])[places[i]]
        first += count
    return Tally(codes, rows, n_members)


def _group(sizes: Integers, most: int) -> list[list[int]]:
    """Members in runs whose combinations are not too many."""
    groups: list[list[int]] = []
    combinations = most + 1
    for j, size in enumerate(sizes.tolist()):
        if combinations * size > most:
            groups.append([])
            combinations = 1
        groups[-1].append(j)
        combinations *= size
    return groups


@dataclass(eq=False)
class Spread:
    """A posterior that every member has from its parent row, not yet repeated.

    Attributes:
        parent: the posterior of the parent rows [n or 1, axes...].
        scope: the members.
    """

    parent: Floats
    scope: ScopeData

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the members' table."""
        inner = (1,) * (self.scope.n_dims - self.parent.ndim)
        return self.scope.n_rows, *self.parent.shape[1:], *inner

    @property
    def ndim(self) -> int:
        """Dimensions of the members' table."""
        return self.scope.n_dims

    @cached_property
    def array(self) -> Floats:
        """The members' table."""
        n_parents = len(self.scope.lengths)
        whole = np.broadcast_to(self.parent, (n_parents, *self.parent.shape[1:]))
        return whole.take(self.scope.parent, axis=0).reshape(self.shape)

    def by_parent(self) -> Floats:
        """One row per parent row [n, axes...]."""
        return np.broadcast_to(self.parent, (len(self.scope.lengths), *self.parent.shape[1:]))

    def sum(self, axis: tuple[int, ...], keepdims: bool) -> Spread:
        """Axes of the parent row summed out, kept with size 1."""
        assert keepdims
        return Spread(self.parent.sum(axis=axis, keepdims=True), self.scope)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Floats:
        """For NumPy."""
        del copy
        return self.array.astype(dtype, copy=False)

    def __mul__(self, other: Floats) -> Floats:
        """For what is eliminated inside the members."""
        return self.array * other
