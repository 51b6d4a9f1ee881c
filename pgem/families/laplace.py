"""The Laplace family with a known location."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._family import REALS, Examples, Family, Slot, Slots, Statistics
from pgem.families._roles import KNOWN, SCALE


class Laplace(Family):
    r"""A two-sided exponential around a known location.

    $$p(x) = \exp(-|x - m| / s) / 2s$$

    $T(x) = |x - m|$, $\eta = -1 / s$, $A(\eta) = \log 2s$, $h = 1$.  With a free location it is no
    exponential family.

    Args:
        scale: mean distance s from the location.
        location: location m, a value or a covariate; never estimated.
    """

    slots = (Slot("scale", SCALE), Slot("location", KNOWN))
    support = REALS
    formula = r"-\log 2s - |x - m| / s"
    examples: ClassVar[Examples] = {"location": (0.0, 1.5, -2.0)}

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (np.abs(x - known["location"]),)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-1 / slots["scale"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return np.log(-2 / eta[0])

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (distance,) = self.totals(stats)
        return count, distance

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        scale, location = self.aligned(slots, "scale", "location")
        return location, 2 * scale**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        scale, location = self.aligned(slots, "scale", "location")
        return generator.laplace(location, scale)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.laplace(slots["location"], slots["scale"])
