"""Checks of values against a family's support, some rows at a time."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.families import Family

BLOCK = 1 << 17
"""Numbers that are checked at a time, so that no copy of all of them is made."""


def outside_support(family: Family, x: Floats, known: dict[str, Floats]) -> Mask:
    """Which rows have a value outside the support [N]; missing ones have none.

    Args:
        family: the family.
        x: values [N, ...].
        known: values of the known slots [N, ...], on which the support may depend.
    """
    size = max(1, BLOCK * len(x) // max(1, x.size))
    if len(x) <= size:
        return family.check_values(x, known)
    parts = []
    for first in range(0, len(x), size):
        rows = slice(first, first + size)
        here = {name: value[rows] for name, value in known.items()}
        parts.append(family.check_values(x[rows], here))
    return np.concatenate(parts)
