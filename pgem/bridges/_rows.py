"""Rows of a long table → members of nested scopes: who belongs to whom, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Integers, factorise, missing


@dataclass(frozen=True, eq=False)
class Groups:
    """The members of one scope, parents in order, and the rows of the table that tell of each.

    Attributes:
        of_row: member that each row tells of, -1 for none.
        n: number of members.
        counts: members per parent, one array per scope from the outermost inwards.
        regular: whether every scope so far has a fixed size.
    """

    of_row: Integers
    n: int
    counts: tuple[Integers, ...] = ()
    regular: bool = True

    def inner(self, rank: Integers, size: int | None) -> Groups:
        """Members of a scope inside, ordered by `rank` (-1: the row tells of none).

        With a size, the rank is the member's place, and absent members are members without rows.
        """
        member = (self.of_row >= 0) & (rank >= 0)
        if size is not None:
            of_row = np.where(member, self.of_row * size + rank, -1)
            counts = np.full(self.n, size)
            return Groups(of_row, self.n * size, (*self.counts, counts), self.regular)
        width = int(rank.max(initial=0)) + 1
        found, index = np.unique(self.of_row[member] * width + rank[member], return_inverse=True)
        of_row = np.full(len(rank), -1)
        of_row[member] = index
        counts = np.bincount(found // width, minlength=self.n)
        return Groups(of_row, len(found), (*self.counts, counts), False)

    def first_rows(self) -> Integers:
        """The first row that tells of each member, -1 where none does."""
        rows = np.full(self.n, -1)
        member = np.flatnonzero(self.of_row >= 0)[::-1]
        rows[self.of_row[member]] = member
        return rows

    @property
    def is_plain(self) -> bool:
        """Whether row k tells of member k, and of no other."""
        same = self.n == len(self.of_row)
        return same and bool((self.of_row == np.arange(self.n)).all())

    def repeated(self) -> int | None:
        """A row whose member an earlier row has told of already."""
        rows = np.flatnonzero(self.of_row >= 0)
        again = self.first_rows()[self.of_row[rows]] != rows
        return int(rows[np.argmax(again)]) if again.any() else None

    def nest(self, values: Any) -> Any:
        """Values [members, ...] as an array, or as nested lists where lengths differ."""
        if not self.counts or not self.n:
            return values
        if self.regular:
            shape = [len(self.counts[0]), *(int(c[0]) for c in self.counts)]
            return values.reshape(*shape, *values.shape[1:])
        for counts in reversed(self.counts):
            ends = np.cumsum(counts).tolist()
            values = [values[end - n : end] for n, end in zip(counts.tolist(), ends, strict=True)]
        return values


def by_appearance(parent: Integers, codes: Integers) -> Integers:
    """For each row, the first row with the same parent and code: an order of first appearance."""
    width = int(codes.max(initial=0)) + 1
    keys = np.where((parent >= 0) & (codes >= 0), parent * width + codes, -1)
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return np.where(keys < 0, -1, first[index])


def differing(values: Any, groups: Groups) -> int | None:
    """A row whose values differ from those of the first row of its member."""
    rows = np.flatnonzero(groups.of_row >= 0)
    first = groups.first_rows()[groups.of_row[rows]]
    here, there = values[rows], values[first]
    gone = missing(here), missing(there)
    equal = np.asarray((here == there) & ~gone[0] & ~gone[1] | gone[0] & gone[1])
    wrong = ~equal.reshape(len(rows), -1).all(axis=1)
    return int(rows[np.argmax(wrong)]) if wrong.any() else None


def pick(values: Any, rows: Integers) -> Any:
    """Values of these rows; a missing value for row -1."""
    gone = rows < 0
    if not gone.any():
        return values[rows]
    if values.dtype.kind in "iufb":
        values = values.astype(values.dtype if values.dtype.kind == "f" else float)
        empty: Any = np.nan
    else:
        values, empty = values.astype(object), None
    picked = values[np.where(gone, 0, rows)]
    picked[gone] = empty
    return picked


def within_groups(own: Any, others: Any, counts: Integers) -> tuple[Integers, int | None]:
    """Where in its own group another member's key stands; -1 where it is missing.

    Args:
        own: keys of the members, group by group.
        others: for each member, a key of its group.
        counts: members of each group.

    Returns:
        Places within the groups, and the first member whose key no member of its group has.
    """
    n, group = len(own), np.repeat(np.arange(len(counts)), counts)
    codes, levels = factorise(np.concatenate([own.astype(object), others.astype(object)]))
    keys = group * (len(levels) + 1) + codes[:n]
    wanted = group * (len(levels) + 1) + codes[n:]
    order = np.argsort(keys)
    found = order[np.minimum(np.searchsorted(keys[order], wanted), n - 1)]
    root = codes[n:] < 0
    unknown = np.flatnonzero(~root & (keys[found] != wanted))
    starts = np.cumsum(counts) - counts
    return np.where(root, -1, found - starts[group]), int(unknown[0]) if len(unknown) else None
