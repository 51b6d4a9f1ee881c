"""How many steps the segments of a sampled chain have left."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families import Family
from pgem.families._tails import steps_before


class Clock:
    """Steps that are left after each row of the segment that it is in.

    Where values are given, one that differs ends a segment early, and one that is the same after
    a segment is over begins another.

    Args:
        n_rows: rows of the sequence.
    """

    def __init__(self, n_rows: int) -> None:
        self.left = np.zeros(n_rows, dtype=np.int64)
        self.known = np.zeros(n_rows, dtype=bool)

    def going_on(self, rows: Integers) -> Integers:
        """Those of these rows whose segment began earlier and is not over."""
        inside = rows[rows > 0]
        return inside[self.known[inside - 1] & (self.left[inside - 1] > 0)]

    def begin(self, rows: Integers, going: Integers, codes: Integers) -> Integers:
        """Count a step down; those rows at which a segment begins."""
        self.known[rows] = True
        kept = going[codes[going] == codes[going - 1]]
        self.left[kept] = self.left[kept - 1] - 1
        return np.setdiff1d(rows, kept)

    def start(self, rows: Integers, drawn: Floats, family: Family) -> None:
        """Set the clock where segments begin, from values of the durations' family."""
        steps = drawn + steps_before(family)
        self.left[rows] = np.minimum(steps, 2.0**62).astype(np.int64) - 1
