"""The Weibull family with a known shape."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma
from pgem.families._family import POSITIVE, Examples, Family, Slot, Slots
from pgem.families._roles import KNOWN
from pgem.families._roles import POSITIVE as POSITIVE_NUMBER


class Weibull(Family):
    r"""Times to failure with a known shape of the hazard.

    $$p(x) = (n / s) (x / s)^{n - 1} \exp\{-(x / s)^n\}$$

    $T(x) = x^n$, $\eta = -s^{-n}$, $A(\eta) = -\log(-\eta)$, $h(x) = n x^{n - 1}$.  With a free
    shape it is no exponential family.

    Args:
        shape: shape n > 0, a value, or `pg.constant([...])[gate]`; never estimated.
        scale: scale s, the value exceeded with probability 1 / e.
    """

    slots = (Slot("shape", KNOWN, per_cell=True, positive=True), Slot("scale", POSITIVE_NUMBER))
    support = POSITIVE
    formula = r"\log n - n \log s + (n - 1) \log x - (x / s)^n"
    examples: ClassVar[Examples] = {"shape": (1.5, 0.8, 3.0)}

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x ** known["shape"],)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-(slots["scale"] ** -slots["shape"]),)

    def log_partition(self, *eta: Floats, **known: Floats) -> Floats:
        return -np.log(-eta[0])

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.log(known["shape"]) + (known["shape"] - 1) * np.log(x)

    def from_mean(self, *mean: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (mean[0] ** (1 / known["shape"]),)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        shape, scale = self.aligned(slots, "shape", "scale")
        mean = scale * np.exp(log_gamma(1 + 1 / shape))
        return mean, scale**2 * np.exp(log_gamma(1 + 2 / shape)) - mean**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        shape, scale = self.aligned(slots, "shape", "scale")
        return np.maximum(scale * generator.weibull(shape, scale.shape), 1e-300)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.weibull_min(slots["shape"], scale=slots["scale"])
