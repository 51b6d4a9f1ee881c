"""The parents of a tree's members: indices within the unit → rows, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pgem.arrays import Integers, Mask
from pgem.errors import DataError
from pgem.graph import ScopeOutline
from pgem.routines.levels import depths
from pgem.run.values import to_numbers


def to_parents(
    array: Any, scope: ScopeOutline, starts: Integers, place: Callable[[int], str]
) -> Integers:
    """Row of each member's parent, -1 for roots.

    Args:
        array: index of each member's parent among the members of its tree, -1 for roots.
        scope: the tree.
        starts: first row of each tree, and the end.
        place: a row in words, for errors.

    Raises:
        DataError: an index that is no member of the same tree, or members in a circle.
    """
    what, key = f"tree '{scope.name}'", f"'{scope.name}.parent'"
    if array.ndim != 1 or array.dtype.kind == "b":
        raise DataError(
            f"{what}: {key} holds no indices of members",
            where=scope.origin,
            expected="one integer per member",
            received="true and false" if array.ndim == 1 else f"values of shape '{array.shape}'",
        )
    values = to_numbers(array, f"{what}: {key}", scope.origin)[:]
    lengths = np.repeat(np.diff(starts), np.diff(starts))

    def refuse(bad: Mask, problem: str, expected: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{what}: {problem} in {place(row)}",
                where=scope.origin,
                expected=expected.format(last=int(lengths[row]) - 1),
                received=f"'{values[row]:g}'",
            )

    indices = "the index of a member of the same tree, 0 to {last}, or -1 for a root"
    refuse(np.isnan(values), "the parent is missing", f"{indices} (parents may not be missing)")
    refuse(values != np.floor(values), "the parent is no whole number", indices)
    refuse((values < -1) | (values >= lengths), "the parent is no member", indices)
    parents = values.astype(np.int64)
    parents += np.where(parents >= 0, np.repeat(starts[:-1], np.diff(starts)), 0)
    row = _on_circle(parents)
    if row is not None:
        raise DataError(
            f"{what}: the parents go round in a circle in {place(row)}",
            where=scope.origin,
            expected="parents that lead to a root, whose parent is -1",
            received=f"'{values[row]:g}'",
        )
    return parents


def _on_circle(parents: Integers) -> int | None:
    """The first member on a circle that can be reached from the first that leads to no root."""
    lost = np.flatnonzero(depths(parents) < 0)
    if not len(lost):
        return None
    seen: dict[int, None] = {}
    row = int(lost[0])
    while row not in seen:
        seen[row] = None
        row = int(parents[row])
    rows = list(seen)
    return min(rows[rows.index(row) :])


def within_trees(parents: Integers, starts: Integers) -> Integers:
    """The inverse of `to_parents`: rows → indices within the tree."""
    first = np.repeat(starts[:-1], np.diff(starts))
    return np.where(parents >= 0, parents - first, -1)
