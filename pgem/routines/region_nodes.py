"""Steps of a chain, or members of a tree, by what lies ahead of them: equal ones share matrices.

A chain is eliminated from its last steps backwards and a tree from its leaves upwards, one *level*
of nodes at a time.  Going back, a node is told by those that follow it; going forth, by the one
that comes before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.collect import ScopeData
from pgem.routines.levels import Level, make_levels
from pgem.routines.region_groups import sum_groups


@dataclass(eq=False)
class Nodes:
    """Steps of sequences by equal continuation to one end, or members of trees by equal ancestry.

    Attributes:
        ids: node of each row.
        keys: what distinguishes the step itself, by node.
        next: node of the neighbouring step, which comes before this one in number; in the first
            level the number that the sequence was given to begin with.
        levels: first node of each level (steps from the end), and the number of nodes.
    """

    ids: Integers
    keys: Integers
    next: Integers
    levels: list[int]

    @property
    def n_first(self) -> int:
        """Number of nodes in the first level."""
        return self.levels[1] if len(self.levels) > 1 else 0

    def told(self, messages: Floats, level: int) -> Floats:
        """What the neighbours of a level's nodes tell them [G, nodes of the level, ...].

        Args:
            messages: of all nodes [G, nodes, ...].
            level: any but the first.
        """
        return messages[:, self.next[self.levels[level] : self.levels[level + 1]]]


@dataclass(eq=False)
class Branches(Nodes):
    """Members of trees by equal subtrees; the levels are heights, leaves first.

    Attributes:
        owner: the node above each branch, in order.
        below: the node that each branch leads to.
    """

    owner: Integers
    below: Integers

    def told(self, messages: Floats, level: int) -> Floats:
        first, last = self.levels[level : level + 2]
        branches = slice(*np.searchsorted(self.owner, [first, last]))
        owner = self.owner[branches] - first
        return sum_groups(messages[:, self.below[branches]], owner, last - first)


@dataclass(eq=False)
class ChainLayout:
    """The rows of a chain or tree by equal future (`back`), and by equal future and past (`forth`).

    In a tree the future of a member is its subtree, and its past are its ancestors.
    """

    data: ScopeData
    back: Nodes
    forth: Nodes

    @cached_property
    def levels(self) -> list[Level]:
        """The rows by their number of ancestors, which in a sequence is the step."""
        return make_levels(self.data.earlier(1), self.data.depth)

    @property
    def branches(self) -> bool:
        """Whether it is a tree."""
        return self.data.parents is not None

    @property
    def roots(self) -> Integers:
        """The rows that have none before them."""
        return self.levels[0].rows if self.levels else np.zeros(0, dtype=np.int64)


def number_nodes(keys: Integers, starts: Integers, initial: Integers, *, from_last: bool) -> Nodes:
    """Number the steps so that equal numbers have equal keys all the way to one end.

    Args:
        keys: what distinguishes a step itself [rows].
        starts: first row of each sequence, and the end.
        initial: a number of each sequence that distinguishes its end.
        from_last: whether that end is the last step, and not the first.
    """
    lengths, ids = np.diff(starts), np.empty(len(keys), dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    before, found_keys, found_next, alive = initial.copy(), [none], [none], none
    levels = [0]
    for k in range(int(lengths.max(initial=0))):
        alive = np.flatnonzero(lengths > k)
        if len(alive) == 1:
            break
        rows = starts[alive + 1] - 1 - k if from_last else starts[alive] + k
        width = int(before.max(initial=0)) + 1
        pairs, inverse = np.unique(keys[rows] * width + before[alive], return_inverse=True)
        before[alive] = ids[rows] = levels[-1] + inverse
        key, follows = np.divmod(pairs, width)
        found_keys.append(key)
        found_next.append(follows)
        levels.append(levels[-1] + len(pairs))
    if len(alive) == 1:  # the rest of the longest sequence
        n = int(lengths[alive[0]]) - k
        rows = starts[alive[0]] + k + np.arange(n)
        rows = starts[alive[0] + 1] - 1 - k - np.arange(n) if from_last else rows
        ids[rows] = levels[-1] + np.arange(n)
        found_keys.append(keys[rows])
        found_next.append(np.append(before[alive], ids[rows[:-1]]))
        levels += (ids[rows] + 1).tolist()
    return Nodes(ids, np.concatenate(found_keys), np.concatenate(found_next), levels)


def number_branches(keys: Integers, data: ScopeData) -> Branches:
    """Number the members of trees so that equal numbers have equal subtrees.

    Args:
        keys: what distinguishes a member itself [rows].
        data: the members with their parents.
    """
    assert data.parents is not None
    parents, n = data.parents, len(keys)
    rows = np.argsort(parents, kind="stable")
    children = rows[np.searchsorted(parents[rows], 0) :]
    n_children = np.bincount(parents[children], minlength=n)
    first = np.cumsum(n_children) - n_children
    ids, total = np.empty(n, dtype=np.int64), 0
    none = np.zeros(0, dtype=np.int64)
    found_keys, owner, below, levels = [none], [none], [none], [0]
    height = _heights(data.levels, n)
    for k in range(int(height.max(initial=-1)) + 1):
        level = np.flatnonzero(height == k)
        for count in np.unique(n_children[level]).tolist():
            chosen = level[n_children[level] == count]
            branches = ids[children[first[chosen][:, None] + np.arange(count)]]
            table = np.column_stack([keys[chosen], np.sort(branches, axis=1)])
            distinct, inverse = np.unique(table, axis=0, return_inverse=True)
            ids[chosen] = total + inverse.reshape(-1)
            found_keys.append(distinct[:, 0])
            owner.append(total + np.repeat(np.arange(len(distinct)), count))
            below.append(distinct[:, 1:].ravel())
            total += len(distinct)
        levels.append(total)
    made = map(np.concatenate, (found_keys, owner, below))
    whole, owners, leads = made
    return Branches(ids, whole, none, levels, owners, leads)


def _heights(levels: list[Level], n_rows: int) -> Integers:
    """Steps from each member down to its farthest descendant."""
    height = np.zeros(n_rows, dtype=np.int64)
    for level in reversed(levels[1:]):
        highest = np.maximum.reduceat(height[level.rows], level.starts)
        height[level.parents] = np.maximum(height[level.parents], highest + 1)
    return height


def number_ancestries(keys: Integers, levels: list[Level], initial: Integers) -> Nodes:
    """Number the members of trees so that equal numbers have equal keys all the way to the root.

    Args:
        keys: what distinguishes a member itself [rows].
        levels: the members by depth.
        initial: a number of each root that distinguishes where it stands.
    """
    ids, none = np.empty(len(keys), dtype=np.int64), np.zeros(0, dtype=np.int64)
    found_keys, found_next, bounds = [none], [none], [0]
    for k, level in enumerate(levels):
        before = ids[level.parents][level.place] if k else initial
        width = int(before.max(initial=0)) + 1
        pairs, inverse = np.unique(keys[level.rows] * width + before, return_inverse=True)
        ids[level.rows] = bounds[-1] + inverse
        key, follows = np.divmod(pairs, width)
        found_keys.append(key)
        found_next.append(follows)
        bounds.append(bounds[-1] + len(pairs))
    return Nodes(ids, np.concatenate(found_keys), np.concatenate(found_next), bounds)
