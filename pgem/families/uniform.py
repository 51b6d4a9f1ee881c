"""The uniform family on a known interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.families._family import REALS, Examples, Family, Slot, Slots
from pgem.families._roles import KNOWN


class Uniform(Family):
    r"""Equally likely values of a known interval: a background component.

    $$p(x) = 1 / (b - a), \quad a \le x \le b$$

    $T$ is empty, $A = 0$, $h(x) = 1 / (b - a)$: nothing is estimated but the count of a cell.

    Args:
        low: lower end a, a value or a covariate.
        high: upper end b, a value or a covariate.
    """

    slots = (Slot("low", KNOWN), Slot("high", KNOWN))
    support = replace(REALS, name="numbers from `low` to `high`")
    formula = r"-\log(\text{high} - \text{low})"
    examples: ClassVar[Examples] = {"low": (-1.0, 0.0, -4.0), "high": (2.0, 3.0, 2.5)}

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Numbers between the ends."""
        if not {"low", "high"} <= known.keys():
            return REALS.contains(x)
        return (x >= known["low"]) & (x <= known["high"])

    def inside(self, **known: Floats) -> Floats:
        return (known["low"] + known["high"]) / 2

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return ()

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return ()

    def coefficients(self, slots: Slots) -> Floats:
        n_cells = len(next(iter(slots.values()))) if slots else 1
        return np.zeros((n_cells, self.coordinates or 1))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            level = -np.log(known["high"] - known["low"])
        return np.where(self.possible(x, **known), level, -np.inf)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return ()

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        low, high = self.aligned(slots, "low", "high")
        return (low + high) / 2, (high - low) ** 2 / 12

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        low, high = self.aligned(slots, "low", "high")
        shape = low.shape if self.coordinates is None else (len(low), self.coordinates)
        return low + (high - low) * generator.random(shape)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.uniform(slots["low"], slots["high"] - slots["low"])
