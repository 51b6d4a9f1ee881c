"""The inverse Gaussian family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._family import POSITIVE, Family, Slot, Slots, Statistics
from pgem.families._roles import LEVEL, RATE


class InverseGaussian(Family):
    r"""The time at which a Brownian motion with drift first reaches a level.

    $$p(x) = \sqrt{b / 2 \pi x^3} \exp\{-b (x - m)^2 / 2 m^2 x\}$$

    $T(x) = (x, 1 / x)$, $\eta = (-b / 2m^2, -b / 2)$,
    $A(\eta) = -2 \sqrt{\eta_1 \eta_2} - \tfrac12 \log(-2 \eta_2)$, $h(x) = (2 \pi x^3)^{-1/2}$.

    Args:
        mean: mean m.
        shape: shape b; the variance is m³ / b.
    """

    slots = (Slot("mean", LEVEL, free_of=("shape",)), Slot("shape", RATE))
    support = POSITIVE
    formula = r"\tfrac12 \log b - \tfrac12 \log 2 \pi x^3 - b (x - m)^2 / 2 m^2 x"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return x, 1 / x

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return -slots["shape"] / (2 * slots["mean"] ** 2), -slots["shape"] / 2

    def log_partition(self, *eta: Floats) -> Floats:
        return np.asarray(-2 * np.sqrt(eta[0] * eta[1]) - 0.5 * np.log(-2 * eta[1]))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.asarray(-0.5 * np.log(2 * np.pi) - 1.5 * np.log(x))

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return mean[0], 1 / np.maximum(mean[1] - 1 / mean[0], 1e-10 * mean[1])

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (total, inverses) = self.totals(stats)
        if slot == "mean":
            weight = 1.0 if cancel else slots["shape"]
            return count * weight, total * weight
        excess = (total / slots["mean"] - 2 * count) / slots["mean"] + inverses
        return count / 2, np.maximum(excess, 1e-10 * inverses) / 2

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            return slots["mean"], slots["mean"] ** 3 / slots["shape"]

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return np.maximum(generator.wald(slots["mean"], slots["shape"]), 1e-300)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.invgauss(slots["mean"] / slots["shape"], scale=slots["shape"])
