"""The inverse gamma family."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma, safe_log
from pgem.families._family import POSITIVE, Examples, Family, Slot, Slots, Statistics
from pgem.families._roles import RATE, SHAPE, VARIANCE
from pgem.families._shape import solve_shape


class InverseGamma(Family):
    r"""The inverse of a gamma variable: variances, times to a level.

    $$p(x) = b^a x^{-a - 1} e^{-b / x} / \Gamma(a)$$

    $T(x) = (\log x, 1 / x)$, $\eta = (-a, -b)$, $A = \log \Gamma(a) - a \log b$, $h(x) = 1 / x$.
    Values that are all equal have no maximum: the shape then stops at 1e10.

    Args:
        shape: shape a.
        scale: scale b; the mode is b / (a + 1).
    """

    slots = (Slot("shape", SHAPE), Slot("scale", RATE))
    support = POSITIVE
    formula = r"a \log b - \log \Gamma(a) - (a + 1) \log x - b / x"
    rung = "Newton"
    conjugate_to = VARIANCE

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return 2 * (slots["shape"] + 1), 2 * slots["scale"]

    examples: ClassVar[Examples] = {"shape": (7.0, 5.5, 12.0)}

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.log(x), 1 / x

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return -slots["shape"], -slots["scale"]

    def log_partition(self, *eta: Floats) -> Floats:
        return np.asarray(log_gamma(-eta[0]) + eta[0] * safe_log(-eta[1]))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -np.log(x)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        mean_log, inverse = mean
        shape = solve_shape(np.log(inverse) + mean_log)
        return shape, shape / inverse

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs, inverses) = self.totals(stats)
        if slot == "shape":
            return count, count * safe_log(slots["scale"]) - logs
        return count * slots["shape"], inverses

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        shape, scale = slots["shape"], slots["scale"]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(shape > 1, scale / (shape - 1), np.inf)
            variance = np.where(shape > 2, mean**2 / (shape - 2), np.inf)
        return mean, variance

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return slots["scale"] / np.maximum(generator.standard_gamma(slots["shape"]), 1e-300)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.invgamma(slots["shape"], scale=slots["scale"])
