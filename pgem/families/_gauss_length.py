"""What lengths of Gaussian vectors share: half-normal, Rayleigh and Maxwell variables."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma
from pgem.families._family import Family, Slot, Slots, Statistics
from pgem.families._roles import ROOTSCALE


class GaussLength(Family):
    """The length of a vector of `dimensions` independent Normal(0, scale²) coordinates.

    T(x) = x², η = -1 / 2s², A(η) = k log s for k dimensions; a subclass gives the base measure.
    """

    slots: ClassVar[tuple[Slot, ...]] = (Slot("scale", ROOTSCALE),)
    dimensions: ClassVar[int]

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x**2,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-0.5 / slots["scale"] ** 2,)

    def log_partition(self, *eta: Floats) -> Floats:
        return -0.5 * self.dimensions * np.log(-2 * eta[0])

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (squares,) = self.totals(stats)
        return self.dimensions * count, squares

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        half = np.array(self.dimensions / 2)
        mean = slots["scale"] * np.sqrt(2) * np.exp(log_gamma(half + 0.5) - log_gamma(half))
        return mean, self.dimensions * slots["scale"] ** 2 - mean**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        scale = slots["scale"]
        return np.asarray(scale * np.sqrt(generator.chisquare(self.dimensions, scale.shape)))
