"""The von Mises family of angles."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._bessel import concentration_of, log_partition
from pgem.families._family import Family, Slot, Slots, Statistics, Support
from pgem.families._roles import ANGLE, CONCENTRATION

ANGLES = Support(
    "angles in radians from -π to π (others: (x + π) % (2 π) - π)", lambda x: np.abs(x) <= np.pi
)


class VonMises(Family):
    r"""An angle that gathers around a mean direction.

    $$p(x) = \exp\{k \cos(x - m)\} / 2 \pi I_0(k)$$

    $T(x) = (\cos x, \sin x)$, $\eta = (k \cos m, k \sin m)$, $A(\eta) = \log 2 \pi I_0(|\eta|)$,
    $h = 1$ on the circle.  Angles that are all equal have no maximum: k stops at 1e8.

    Args:
        mean: mean angle m, in radians.
        concentration: concentration k, zero (uniform) or above.
    """

    slots = (Slot("mean", ANGLE, free_of=("concentration",)), Slot("concentration", CONCENTRATION))
    support = ANGLES
    formula = r"k \cos(x - m) - \log 2 \pi I_0(k)"
    written: ClassVar[Mapping[str, str]] = {
        "A": "log(2 * pi * bessel(0, norm(eta1, eta2)))",
    }
    rung = "Newton"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.cos(x), np.sin(x)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        mean, k = slots["mean"], slots["concentration"]
        return k * np.cos(mean), k * np.sin(mean)

    def log_partition(self, *eta: Floats) -> Floats:
        return log_partition(np.hypot(*eta), 2)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return np.arctan2(mean[1], mean[0]), concentration_of(np.hypot(*mean), 2)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (cosine, sine) = self.totals(stats)
        if slot == "mean":
            weight = 1.0 if cancel else slots["concentration"]
            return weight * cosine, weight * sine
        along = cosine * np.cos(slots["mean"]) + sine * np.sin(slots["mean"])
        return count, along, 2 * count

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return np.clip(generator.vonmises(slots["mean"], slots["concentration"]), -np.pi, np.pi)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        whole = stats.vonmises(slots["concentration"], loc=slots["mean"])
        return SimpleNamespace(
            logpdf=lambda x: np.where(np.abs(x) <= np.pi, whole.logpdf(x), -np.inf)
        )
