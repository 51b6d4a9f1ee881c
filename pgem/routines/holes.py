"""Where holes tie steps of a sequence, or members of a tree, together.

A value that is missing ties its own step to those that look back at it.  Such steps hang together
in stretches, which what is seen cuts off from one another; in a tree a hole ties its member to its
children.  What nothing that is seen follows is tied to nothing that is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pgem.arrays import Integers, Mask
from pgem.routines.collect import ScopeData


class Holes(NamedTuple):
    """What is missing of the nodes that are integrated out together.

    Attributes:
        gone: which rows of each node have a missing coordinate.
        shown: which rows of each node have one that is seen.
        reach: how far later steps (in a tree 1: children) look back at each node, 0 if only its own
            row depends on it, -1 if nothing does.
    """

    gone: Mapping[str, Mask]
    shown: Mapping[str, Mask]
    reach: Mapping[str, int]

    def tied(self, *, leaves: bool) -> Integers:
        """How many further steps each row's holes tie to it, -1 where there are none to tie.

        Args:
            leaves: also where nothing looks back at what is missing.
        """
        found = np.full(len(next(iter(self.gone.values()))), -1)
        for name, gone in self.gone.items():
            far = max(self.reach[name], 0) if leaves else self.reach[name]
            found = np.maximum(found, np.where(gone, far, -1))
        return found

    def shows(self) -> Mask:
        """Of which rows something is seen."""
        return np.asarray(np.stack(list(self.shown.values())).any(axis=0))


class Places(NamedTuple):
    """Where stretches are.

    Attributes:
        first: first row of each, in order; in a tree the row of the member above all others.
        length: their numbers of rows.
        rows: all of their rows, stretch by stretch, in a tree parents before children.
    """

    first: Integers
    length: Integers
    rows: Integers

    @classmethod
    def of(cls, first: Integers, length: Integers) -> Places:
        """Stretches of a sequence."""
        starts = np.cumsum(length) - length
        rows = np.repeat(first - starts, length) + np.arange(int(length.sum()))
        return cls(first, length, rows)

    def between(self, low: int, high: int) -> Places:
        """Those that lie in some rows, which are counted from the first of these."""
        begin, end = np.searchsorted(self.first, [low, high]).tolist()
        ends = np.append(0, np.cumsum(self.length))
        own = self.rows[ends[begin] : ends[end]] - low
        return Places(self.first[begin:end] - low, self.length[begin:end], own)


def find_stretches(
    starts: Integers, holes: Holes, *, leaves: bool = False, ends: Mask | None = None
) -> Places:
    """Every stretch of steps that holes tie together.

    Args:
        starts: first row of each sequence, and the end.
        holes: what is missing.
        leaves: also where nothing looks back at what is missing.
        ends: sequences in which also what nothing that is seen follows is taken in.
    """
    rows, lengths = np.arange(int(starts[-1])), np.diff(starts)
    latest = last_seen(starts, holes)
    if ends is not None:
        latest = np.where(ends, starts[1:] - 1, latest)
    last = np.repeat(latest, lengths)
    tied = holes.tied(leaves=leaves)
    end = np.minimum(rows + tied, last)
    begin = np.flatnonzero((tied >= 0) & (end >= rows))
    if not len(begin):
        return Places.of(begin, begin)
    furthest = np.maximum.accumulate(end[begin])
    breaks = np.flatnonzero(begin[1:] > furthest[:-1])
    first = begin[np.append(0, breaks + 1)]
    return Places.of(first, furthest[np.append(breaks, len(begin) - 1)] - first + 1)


def last_seen(starts: Integers, holes: Holes) -> Integers:
    """The last row of each sequence of which something is seen (before its first: nothing is)."""
    lengths, some = np.diff(starts), holes.shows()
    latest = starts[:-1] - 1
    rows = np.where(some, np.arange(len(some)), -1)
    np.maximum.at(latest, np.repeat(np.arange(len(lengths)), lengths), rows)
    return latest


def find_branches(
    scope: ScopeData, holes: Holes, *, leaves: bool = False, ends: Mask | None = None
) -> Places:
    """Members of trees that holes tie together, each with those above it.

    Args:
        scope: the rows of the trees.
        holes: what is missing.
        leaves: also where nothing looks back at what is missing.
        ends: rows that are taken in also if nothing that is seen is below.
    """
    parents, levels = scope.earlier(1), scope.levels
    below = shows_below(scope, holes)
    if ends is not None:
        below |= ends
    tied = holes.tied(leaves=leaves)
    top = np.where(below & (tied >= 0), np.arange(scope.n_rows), -1)
    for level in levels[1:]:
        above = parents[level.rows]
        joined = below[level.rows] & (tied[above] > 0) & (top[above] >= 0)
        top[level.rows[joined]] = top[above[joined]]
    rows = np.flatnonzero(top >= 0)
    rows = rows[np.lexsort((rows, scope.depth[rows], top[rows]))]
    first, length = np.unique(top[rows], return_counts=True)
    return Places(first, length, rows)


def shows_below(scope: ScopeData, holes: Holes) -> Mask:
    """Whether something is seen of a member of a tree or of those below it."""
    found = holes.shows()
    for level in reversed(scope.levels[1:]):
        np.logical_or.at(found, scope.earlier(1)[level.rows], found[level.rows])
    return found


# --- what nothing that is seen follows --------------------------------------------------------


class Tail(NamedTuple):
    """Steps at the ends of sequences of which nothing is seen, equally far from their first.

    Attributes:
        rows: the rows.
        origin: for each the number of the row before it (in a tree its parent) among those that
            are one step less far; empty for the first ones.
    """

    rows: Integers
    origin: Integers


def find_tails(scope: ScopeData, holes: Holes) -> list[Tail]:
    """What nothing that is seen follows, and does not look back at anything that is missing before.

    Args:
        scope: the rows of the sequences or trees.
        holes: what is missing.

    Returns:
        The steps by how far they are from the first ones; empty if there are none.
    """
    if scope.parents is not None:
        return _find_twigs(scope, holes)
    starts = scope.starts
    first = last_seen(starts, holes) + 1
    length = starts[1:] - first
    for name, gone in holes.gone.items():
        for lag in range(1, holes.reach[name] + 1):
            before = first - lag
            there = before >= starts[:-1]
            length = np.where(there & gone[np.maximum(before, 0)], 0, length)
    found: list[Tail] = []
    going = np.flatnonzero(length > 0)
    origin = np.zeros(0, dtype=np.int64)
    while len(going):
        found.append(Tail(first[going] + len(found), origin))
        origin = np.flatnonzero(length[going] > len(found))
        going = going[origin]
    return found


def _find_twigs(scope: ScopeData, holes: Holes) -> list[Tail]:
    """`find_tails` in a tree."""
    parents, hidden = scope.earlier(1), ~shows_below(scope, holes)
    tied = holes.tied(leaves=False) > 0
    distance = np.where(hidden & (parents < 0), 0, -1)  # from the first; -1: not in a tail
    for level in scope.levels[1:]:
        above = parents[level.rows]
        ahead = hidden[level.rows] & ((distance[above] >= 0) | ~tied[above])
        distance[level.rows] = np.where(ahead, distance[above] + 1, -1)
    rows = np.flatnonzero(distance >= 0)
    rows = rows[np.argsort(distance[rows], kind="stable")]
    counts = np.bincount(distance[rows])
    parts = np.split(rows, np.cumsum(counts)[:-1]) if len(rows) else []
    place, found = np.full(scope.n_rows, -1), list[Tail]()
    for part in parts:
        found.append(Tail(part, place[parents[part]] if found else part[:0]))
        place[part] = np.arange(len(part))
    return found
