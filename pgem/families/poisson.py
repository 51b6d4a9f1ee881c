"""The Poisson family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma, safe_log
from pgem.families._family import COUNTS, Family, Multiplier, Slot, Slots, Statistics
from pgem.families._roles import RATE


class Poisson(Family):
    r"""Counts of independent events.

    $$p(x) = e^{-r} r^x / x!$$

    $T(x) = x$, $\eta = \log r$, $A(\eta) = e^\eta$, $h(x) = 1 / x!$.

    Args:
        rate: expected count, zero or above.
        log_rate: its logarithm, a sum of terms, instead of `rate` or multiplied with it.
    """

    slots = (Slot("rate", RATE, multiplier=Multiplier(scaled=(0,), power=1), link="log_rate"),)
    support = COUNTS
    formula = r"x \log r - r - \log x!"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (safe_log(slots["rate"]),)

    def log_partition(self, *eta: Floats) -> Floats:
        return np.exp(eta[0])

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -log_gamma(x + 1)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (total,) = self.totals(stats)
        return total, count

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["rate"], slots["rate"]

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return generator.poisson(slots["rate"]).astype(float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.poisson(slots["rate"])
