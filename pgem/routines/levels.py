"""The members of trees by their distance from the root: what is passed up and down in one go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Integers


def depths(parents: Integers) -> Integers:
    """Number of ancestors of each member; -1 for members on a cycle, and below one.

    Args:
        parents: row of each member's parent, -1 for roots.
    """
    distance, above = (parents >= 0).astype(np.int64), parents.copy()
    for _ in range(len(parents).bit_length()):  # every round doubles how far `above` is
        rows = np.flatnonzero(above >= 0)
        if not len(rows):
            break
        distance[rows] += distance[above[rows]]
        above[rows] = above[above[rows]]
    return np.where(above >= 0, -1, distance)


@dataclass(frozen=True, eq=False)
class Level:
    """Members that are equally far from their roots, brothers side by side.

    Attributes:
        rows: the members.
        parents: their different parents, in order (none at the roots).
        starts: where each parent's children begin among `rows`.
        place: for each member, its parent's place in `parents`.
    """

    rows: Integers
    parents: Integers
    starts: Integers
    place: Integers

    def to_parents(self, values: Floats) -> Floats:
        """Add up the members' values [members, ...] by parent [parents, ...]."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=0))


def make_levels(parents: Integers, depth: Integers) -> list[Level]:
    """All levels, the roots first."""
    order = np.lexsort((parents, depth))
    cuts = np.searchsorted(depth[order], np.arange(1, int(depth.max(initial=-1)) + 1))
    levels = []
    for rows in np.split(order, cuts) if len(order) else []:
        above = parents[rows]
        new = np.concatenate([[True], above[1:] != above[:-1]])
        starts = np.flatnonzero(new)
        levels.append(Level(rows, above[starts], starts, np.cumsum(new) - 1))
    return levels
