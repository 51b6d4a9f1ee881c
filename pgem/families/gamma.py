"""The gamma family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma, safe_log
from pgem.families._family import POSITIVE, Family, Slot, Slots, Statistics
from pgem.families._roles import RATE, SHAPE
from pgem.families._shape import solve_shape


class Gamma(Family):
    r"""A positive quantity.

    $$p(x) = b^a x^{a - 1} e^{-b x} / \Gamma(a)$$

    $T(x) = (\log x, x)$, $\eta = (a, -b)$, $A(\eta) = \log \Gamma(a) - a \log b$, $h(x) = 1 / x$.
    The likelihood of values that are all equal grows without bound; the shape then stops at 1e10.

    Args:
        shape: shape a.
        rate: rate b; the mean is a / b.
    """

    slots = (Slot("shape", SHAPE), Slot("rate", RATE))
    support = POSITIVE
    formula = r"a \log b - \log \Gamma(a) + (a - 1) \log x - b x"
    rung = "Newton"

    conjugate_to = RATE

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return slots["shape"] - 1, slots["rate"]

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.log(x), x

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return slots["shape"], -slots["rate"]

    def log_partition(self, *eta: Floats) -> Floats:
        return np.asarray(log_gamma(eta[0]) - eta[0] * safe_log(-eta[1]))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -np.log(x)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        mean_log, level = mean
        shape = solve_shape(np.log(level) - mean_log)
        return shape, shape / level

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs, total) = self.totals(stats)
        if slot == "shape":
            return count, logs + count * safe_log(slots["rate"])
        return count * slots["shape"], total

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            return slots["shape"] / slots["rate"], slots["shape"] / slots["rate"] ** 2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        # a tiny shape underflows to 0, which is outside the support
        return np.maximum(generator.standard_gamma(slots["shape"]) / slots["rate"], 1e-300)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.gamma(slots["shape"], scale=1 / slots["rate"])
