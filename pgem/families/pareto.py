"""The Pareto family with a known scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask, safe_log
from pgem.families._family import POSITIVE, Examples, Family, Slot, Slots, Statistics
from pgem.families._roles import KNOWN, RATE


class Pareto(Family):
    r"""Values above a known threshold with a power-law tail.

    $$p(x) = r n^r x^{-r - 1}, \quad x \ge n$$

    $T(x) = \log(x / n)$, $\eta = -r$, $A(\eta) = -\log r$, $h(x) = 1 / x$.

    Args:
        shape: tail exponent r.
        scale: threshold n > 0, a value or a covariate; never estimated.
    """

    slots = (Slot("shape", RATE), Slot("scale", KNOWN, positive=True))
    support = replace(POSITIVE, name="numbers of at least `scale`, which is above zero")
    formula = r"\log r + r \log n - (r + 1) \log x"
    examples: ClassVar[Examples] = {"shape": (7.0, 5.5, 12.0), "scale": (1.0, 2.5, 0.3)}

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Numbers of at least `scale`."""
        scale = known.get("scale")
        fits = POSITIVE.contains(x)
        return fits if scale is None else fits & (x >= scale) & (scale > 0)

    def inside(self, **known: Floats) -> Floats:
        return 2 * known["scale"]

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (np.log(x / known["scale"]),)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-slots["shape"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return -safe_log(-eta[0])

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.where(x >= known["scale"], -np.log(x), -np.inf)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs,) = self.totals(stats)
        return count, logs

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        shape, scale = self.aligned(slots, "shape", "scale")
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(shape > 1, shape * scale / (shape - 1), np.inf)
            variance = shape * scale**2 / ((shape - 1) ** 2 * (shape - 2))
        return mean, np.where(shape > 2, variance, np.inf)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        shape, scale = self.aligned(slots, "shape", "scale")
        return np.asarray(scale * (1 + generator.pareto(shape)))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.pareto(slots["shape"], scale=slots["scale"])
