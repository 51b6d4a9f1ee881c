"""Weighted maximum likelihood of all slots: from a mean map, by roles in turn, or by Newton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats, safe_divide
from pgem.families import _derived, _numeric

if TYPE_CHECKING:
    from pgem.families._family import Family, Slots, Statistics


def by_roles(
    family: Family, stats: Statistics, previous: Slots, rounds: int
) -> dict[str, Floats] | None:
    """The conditional maximisers in turn until nothing moves; None where one is missing.

    One pass suffices where no slot depends on a later one; a second confirms it.
    """
    current = {name: previous[name] for name in family.estimable}
    for _ in range(rounds):
        before = dict(current)
        for name, old in before.items():
            inputs = {**previous, **current}
            statistic = family.role_statistics(name, stats, inputs, previous, cancel=True)
            if statistic is None:
                return None
            free = np.zeros(old.shape, dtype=bool)
            current[name] = family.role_of(name).maximise(statistic, old, free)
        moved = [
            not np.allclose(current[k], before[k], rtol=1e-13, atol=0, equal_nan=True)
            for k in current
        ]
        if len(current) < 2 or not any(moved):
            break
    return current


def by_mean(family: Family, stats: Statistics, previous: Slots) -> dict[str, Floats]:
    """The slots whose expected statistics are the averages."""
    count, sums = family.totals(stats)
    empty = ~(count > 0)
    means = [
        safe_divide(total, count if total.ndim == count.ndim else count[:, None], 1.0)
        for total in sums
    ]
    solve: Any = family.from_mean  # takes known slots where it has them per cell
    with np.errstate(all="ignore"):
        values = solve(*means, **family.known_of_cells(previous, count.ndim))
    result = {}
    for name, value in zip(family.estimable, values, strict=True):
        mask = empty.reshape(empty.shape + (1,) * (value.ndim - empty.ndim))
        result[name] = np.where(mask, previous[name], value)
    return result


def by_newton(family: Family, stats: Statistics, previous: Slots) -> dict[str, Floats]:
    """Climb Q = Σ (T·η - A) in the roles' free coordinates, from the previous values."""
    (table,) = stats
    weight = np.abs(table).max(axis=1)
    scaled = table / np.where(weight > 0, weight, 1.0)[:, None]

    def gain(free: Floats) -> Floats:
        with np.errstate(all="ignore"):
            theta = family.coefficients({**previous, **family.from_free(free, previous)})
            value = _derived.inner(scaled, theta)
        return np.where(np.isnan(value), -np.inf, value)

    found = family.from_free(_numeric.climb(gain, family.to_free(previous)), previous)
    empty = ~(weight > 0)
    return {
        name: np.where(empty.reshape(-1, *(1,) * (value.ndim - 1)), previous[name], value)
        for name, value in found.items()
    }
