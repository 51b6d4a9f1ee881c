"""Steps of a chain by what lies ahead of them: steps that go on alike share their matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgem.arrays import Integers


@dataclass(eq=False)
class Nodes:
    """Steps of sequences by equal continuation to one end.

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


@dataclass(eq=False)
class ChainLayout:
    """A chain's rows by equal future (`back`), and by equal future and past (`forth`)."""

    starts: Integers
    lengths: Integers
    back: Nodes
    forth: Nodes


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
