"""Checks of values against a family's support, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.families import Family
from pgem.run.stored import Numbers, blocks_of


def outside_support(
    family: Family, x: Numbers, known: Callable[[slice], dict[str, Floats]]
) -> Mask:
    """Which rows have a value outside the support [N]; missing ones have none.

    Args:
        family: the family.
        x: values [N, ...].
        known: gives values of the known slots of some rows, on which the support may depend.
    """
    beside = sum(value.size for value in known(slice(0, 1)).values())
    bad = np.zeros(len(x), dtype=bool)
    for rows in blocks_of(len(x), x.width + beside):
        bad[rows] = family.check_values(x[rows], known(rows))
    return bad
