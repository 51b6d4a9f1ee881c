"""The exponential family of waiting times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._family import NON_NEGATIVE, Family, Multiplier, Slot, Slots, Statistics
from pgem.families._roles import RATE


class Exponential(Family):
    r"""A waiting time without memory.

    $$p(x) = r e^{-r x}, \quad x \ge 0$$

    $T(x) = x$, $\eta = -r$, $A(\eta) = -\log(-\eta)$, $h = 1$.  Data that are all zero have no
    maximum: the rate keeps its value.

    Args:
        rate: events per unit of x, the inverse of the mean.
        log_rate: its logarithm, a sum of terms, instead of `rate` or multiplied with it.
    """

    slots = (Slot("rate", RATE, multiplier=Multiplier(scaled=(1,), power=0), link="log_rate"),)
    support = NON_NEGATIVE
    formula = r"\log r - r x"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-slots["rate"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return -np.log(-eta[0])

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (total,) = self.totals(stats)
        return count, total

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            return 1 / slots["rate"], 1 / slots["rate"] ** 2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return generator.standard_exponential(slots["rate"].shape) / slots["rate"]

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.expon(scale=1 / slots["rate"])
