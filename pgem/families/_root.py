"""Roots of increasing functions: one-dimensional equations of M-steps, batched and bracketed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgem.arrays import Floats

Function = Callable[[Floats], tuple[Floats, Floats]]
"""Points → (values, slopes), entry by entry."""


def increasing_root(function: Function, start: Floats, low: float, high: float) -> Floats:
    """The root between `low` and `high` of an increasing function, entry by entry.

    Newton steps that leave the bracket are replaced by its middle; without a change of sign the
    nearer end is approached.

    Args:
        function: values and slopes.
        start: first guesses.
        low: the least answer.
        high: the largest answer.
    """
    below, above = np.full_like(start, low), np.full_like(start, high)
    point = np.clip(start, low, high)
    for _ in range(200):
        value, slope = function(point)
        below, above = np.where(value < 0, point, below), np.where(value > 0, point, above)
        with np.errstate(all="ignore"):
            moved = point - value / slope
        inside = (moved >= below) & (moved <= above)
        moved = np.where(inside, moved, (below + above) / 2)
        moved = np.where(value == 0, point, moved)
        settled = np.abs(moved - point) <= 2e-15 * np.abs(point)
        point = moved
        if settled.all():
            break
    return point
