"""Rows in groups: what does not depend on the row is computed once per group.

Arrays of a region have the gate configuration as their first axis: vectors are [G, rows, size],
matrices [G, groups, rows of the matrix, columns].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.collect import ScopeData

FEW = 8
"""Rows per group from which one matrix product per group is faster than one per row."""


LONG = 400
"""Numbers in the messages' rows of a composition from which one product for all is faster."""
BLOCK = 1 << 19
"""Numbers in a block of matrices, so that many rows do not need much room at a time."""


def block_size(size: int) -> int:
    """Number of matrices with so many numbers that make a block."""
    return max(1, BLOCK // max(1, size))


def number_rows(n_rows: int, columns: Iterable[Floats | Integers | Mask]) -> Integers:
    """Number the distinct combinations of columns [n_rows], in the order in which they occur.

    Returns:
        The number of each row's combination.
    """
    ids = np.zeros(n_rows, dtype=np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        if len(values) > 1:
            _, ids = np.unique(ids * len(values) + inverse, return_inverse=True)
    rank = np.empty(int(ids.max(initial=-1)) + 1, dtype=np.int64)
    rank[np.argsort(Groups(ids).first)] = np.arange(len(rank))
    return rank[ids]


def as_slice(rows: Integers) -> Integers | slice:
    """The same rows as a slice, which makes views, where they stand together."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


class Groups:
    """Rows by group.

    Attributes:
        ids: group of each row.
        n: number of groups.
    """

    def __init__(self, ids: Integers, n: int | None = None) -> None:
        self.ids = ids
        self.n = int(ids.max(initial=-1)) + 1 if n is None else n

    @cached_property
    def first(self) -> Integers:
        """One row of each group; every group must occur."""
        rows = np.empty(self.n, dtype=np.int64)
        rows[self.ids[::-1]] = np.arange(len(self.ids))[::-1]
        return rows

    @cached_property
    def slices(self) -> list[tuple[int, Integers | slice]]:
        """The groups that occur, with their rows."""
        if (np.diff(self.ids) >= 0).all():
            order = None
            ordered = self.ids
        else:
            order = np.argsort(self.ids, kind="stable")
            ordered = self.ids[order]
        bounds = np.searchsorted(ordered, np.arange(self.n + 1))
        return [
            (k, slice(a, b) if order is None else order[a:b])
            for k, (a, b) in enumerate(pairwise(bounds.tolist()))
            if b > a
        ]

    @property
    def few(self) -> bool:
        """Whether groups are large enough for one product each."""
        return self.n * FEW <= len(self.ids)

    def times(self, vectors: Floats, matrices: Floats) -> Floats:
        """Row vector times the matrix of its group: [G, R, a], [G, n, a, b] → [G, R, b]."""
        if self.n == 1:
            return np.asarray(vectors @ matrices[:, 0])
        if not self.few:
            return np.asarray(np.einsum("gra,grab->grb", vectors, self.spread(matrices)))
        out = np.empty((len(matrices), vectors.shape[1], matrices.shape[3]))
        for k, rows in self.slices:
            out[:, rows] = vectors[:, rows] @ matrices[:, k]
        return out

    def spread(self, values: Floats) -> Floats:
        """What each row's group has [G, n, ...] → [G, R, ...], or with one row where all agree."""
        if self.n == 1 or self._is_identity:
            return values[:, : self.n]
        return values[:, self.ids]

    def totals(self, values: Floats, n: int | None = None) -> Floats:
        """Sum of rows by group: [G, R] → [G, n], n being the number of groups by default."""
        n = self.n if n is None else n
        if n == 1:
            return np.asarray(values.sum(axis=1, keepdims=True))
        if n == len(self.ids) and self._is_identity:
            return values
        return np.array([np.bincount(self.ids, row, n) for row in values])

    @cached_property
    def _is_identity(self) -> bool:
        return len(self.ids) == self.n and np.array_equal(self.ids, np.arange(self.n))


def sum_groups(values: Floats, ids: Integers, n_groups: int) -> Floats:
    """Sum along the second axis by group: [G, n, ...] → [G, n_groups, ...]."""
    if n_groups == 1:
        return np.asarray(values.sum(axis=1, keepdims=True))
    if len(ids) == n_groups and np.array_equal(ids, np.arange(n_groups)):
        return values
    out = np.zeros((len(values), n_groups, *values.shape[2:]))
    if len(ids):
        if not (np.diff(ids) >= 0).all():
            order = np.argsort(ids, kind="stable")
            ids, values = ids[order], values[:, order]
        starts = np.flatnonzero(np.diff(ids, prepend=-1))
        out[:, ids[starts]] = np.add.reduceat(values, starts, axis=1)
    return out


def sum_members(scope: ScopeData, values: Floats) -> Floats:
    """Sum over the members of each parent row: [G, rows, ...] → [G, parents, ...]."""
    n_parents = len(scope.lengths)
    filled = scope.lengths > 0
    if len(scope.parent) == n_parents and filled.all():
        return values
    out = np.zeros((len(values), n_parents, *values.shape[2:]))
    if filled.any():
        out[:, filled] = np.add.reduceat(values, scope.starts[:-1][filled], axis=1)
    return out


class Composition:
    """Which groups of members each parent row has, and how many of each.

    Attributes:
        ids: composition of each parent row.
        n: number of compositions.
    """

    def __init__(self, ids: Integers, n: int, owner: Integers, group: Integers, count: Floats):
        self.ids, self.n = ids, n
        self._owner, self._group, self._count = owner, group, count

    @classmethod
    def of_members(cls, scope: ScopeData, groups: Groups) -> Composition:
        """The members of a plate."""
        ids = _equal_multisets(scope, groups)
        n = int(ids.max(initial=-1)) + 1
        example = Groups(ids, n).first
        chosen = np.zeros(len(ids), dtype=bool)
        chosen[example] = True
        rows = np.flatnonzero(chosen[scope.parent])
        pair = ids[scope.parent[rows]] * max(groups.n, 1) + groups.ids[rows]
        pairs, counts = np.unique(pair, return_counts=True)
        owner, group = np.divmod(pairs, max(groups.n, 1))
        return cls(ids, n, owner, group, counts.astype(float))

    @classmethod
    def of_some(cls, scope: ScopeData, rows: Integers, nodes: Integers) -> Composition:
        """Some members of a plate, in order (the roots of trees), by their nodes."""
        counts = np.bincount(scope.parent[rows], minlength=len(scope.lengths))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        found, ids = np.unique(nodes[rows], return_inverse=True)
        some = ScopeData(scope.name, starts, scope.n_dims, scope.parent_dims)
        made = cls.of_members(some, Groups(ids, len(found)))
        made._group = found[made._group]
        return made

    @classmethod
    def of_chains(cls, scope: ScopeData, nodes: Integers) -> Composition:
        """The first step of a sequence."""
        filled = scope.lengths > 0
        first = np.full(len(filled), -1)
        first[filled] = nodes[scope.starts[:-1][filled]]
        found, ids = np.unique(first, return_inverse=True)
        owner = np.flatnonzero(found >= 0)
        return cls(ids, len(found), owner, found[owner], np.ones(len(owner)))

    def is_long(self, size: int) -> bool:
        """Whether compositions have so many groups that one product each is faster.

        Args:
            size: number of rows of a message.
        """
        return 0 < LONG * self.n <= len(self._group) * size

    def parts(self) -> Iterator[tuple[Integers, Floats]]:
        """The groups of each composition, and how many of each."""
        bounds = np.searchsorted(self._owner, np.arange(self.n + 1))
        for a, b in pairwise(bounds.tolist()):
            yield self._group[a:b], self._count[a:b]

    def total(self, message: Callable[[Integers], Floats], step: int | None = None) -> Floats:
        """Sum the members' messages [G, compositions, ...].

        Args:
            message: gives the messages of some groups [G, len(groups), ...].
            step: number of groups to ask for at a time; None: all.
        """
        blocks = range(0, max(len(self._group), 1), step or max(len(self._group), 1))
        found: Floats | None = None
        for first in blocks:
            block = slice(first, first + step if step else None)
            part = message(self._group[block])
            part = part * self._count[block].reshape(1, -1, *(1,) * (part.ndim - 2))
            if len(blocks) == 1:
                return sum_groups(part, self._owner[block], self.n)
            if found is None:
                found = np.zeros((len(part), self.n, *part.shape[2:]))
            owners, place = np.unique(self._owner[block], return_inverse=True)
            found[:, owners] += sum_groups(part, place, len(owners))
        assert found is not None
        return found


def _equal_multisets(scope: ScopeData, groups: Groups) -> Integers:
    """Number parent rows so that equal numbers have members of the same groups."""
    n_parents = len(scope.lengths)
    if groups.n <= 1:
        return number_rows(n_parents, [scope.lengths])
    if not groups.few:
        return np.arange(n_parents)
    ordered = groups.ids[np.lexsort((groups.ids, scope.parent))]
    found: dict[bytes, int] = {}
    bounds = scope.starts.tolist()
    return np.array(
        [found.setdefault(ordered[a:b].tobytes(), len(found)) for a, b in pairwise(bounds)],
        dtype=np.int64,
    )
